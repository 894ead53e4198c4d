"""Resampling by cropping or padding the spectrum."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from scipy import fft

FloatImage = npt.NDArray[np.float32]


def workers() -> int:
    """Threads for a Fourier transform: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resampled_shape(
    shape: tuple[int, int], pixel_size: float, new_pixel_size: float
) -> tuple[int, int]:
    """Shape of an image brought to another pixel size.

    Parameters
    ----------
    shape : (int, int)
        Rows, columns.
    pixel_size, new_pixel_size : float
        Å per pixel.

    Returns
    -------
    (int, int)
        Even numbers of rows and columns. An axis is therefore resampled to
        `new_pixel_size` within a pixel of its length, and coordinates are to be
        scaled by the ratio of the shapes.
    """
    factor = pixel_size / new_pixel_size
    rows, cols = (max(2, 2 * round(n * factor / 2)) for n in shape)
    return rows, cols


def fourier_resample(image: FloatImage, new_shape: tuple[int, int]) -> FloatImage:
    """Image of another size over the same field of view.

    The spectrum is cropped (no aliasing) or padded with zeros. The mean is kept
    and so is the position of the centre of the first pixel.

    Parameters
    ----------
    image : ndarray of float32, shape (rows, cols)
    new_shape : (int, int)
        Even rows and columns.

    Returns
    -------
    ndarray of float32, shape `new_shape`

    Raises
    ------
    ValueError
        If a side of `new_shape` is odd or not positive.
    """
    if any(n < 2 or n % 2 for n in new_shape):
        raise ValueError(f"new shape must be even and positive, not {new_shape}")
    if tuple(image.shape) == tuple(new_shape):
        return image
    spectrum = fft.rfft2(image, workers=workers())
    # the Nyquist row and column of the smaller image are left out: they have no sign
    rows = min(image.shape[0], new_shape[0])
    half = (rows - 1) // 2
    cols = (min(image.shape[1], new_shape[1]) - 1) // 2 + 1
    cropped = np.zeros((new_shape[0], new_shape[1] // 2 + 1), spectrum.dtype)
    cropped[: half + 1, :cols] = spectrum[: half + 1, :cols]
    cropped[-half:, :cols] = spectrum[-half:, :cols] if half else 0
    cropped *= np.prod(new_shape) / np.prod(image.shape)
    return fft.irfft2(cropped, s=new_shape, workers=workers()).astype(np.float32, copy=False)
