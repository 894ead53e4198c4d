"""Resampling by cropping or padding the spectrum."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from apbc.system.cores import workers

FloatImage = npt.NDArray[np.float32]

STRIP = 512  # rows transformed at once, which bounds the memory


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
    rows, cols = image.shape
    threads = workers()
    # The rows are cropped strip by strip, before the columns: the whole spectrum is never there.
    narrow = np.empty((rows, new_shape[1] // 2 + 1), np.result_type(image.dtype, np.complex64))
    for top in range(0, rows, STRIP):
        strip = fft.rfft(image[top : top + STRIP], workers=threads)
        narrow[top : top + STRIP] = crop_spectrum(strip, (cols,), new_shape[1:])
    spectrum = fft.fft(narrow, axis=0, workers=threads, overwrite_x=True)
    cropped = crop_spectrum(spectrum, (rows, new_shape[1]), new_shape)
    small = fft.irfft2(cropped, s=new_shape, workers=threads, overwrite_x=True)
    return small.astype(np.float32, copy=False)


def fourier_resample_centred(images: FloatImage, box: int, dimensions: int) -> FloatImage:
    """Boxed particles or volumes with another number of pixels over the same field of view.

    As `fourier_resample`, but the centre of a box of n pixels, pixel ``n // 2``,
    stays the centre, whether n is even or odd before and after.

    Parameters
    ----------
    images : ndarray of float32
        The last `dimensions` axes are the sides of a square or a cube; those before
        them count images.
    box : int
        Pixels along a side of the result, at least 1.
    dimensions : {2, 3}
        2 for images, 3 for volumes.

    Returns
    -------
    ndarray of float32
        The mean grey value of each image is kept.

    Raises
    ------
    ValueError
        If the sides differ, or `box` is not positive.
    """
    shape = images.shape[-dimensions:]
    old = shape[0]
    if len(set(shape)) != 1:
        raise ValueError(f"the sides of a box must be equal, not {shape}")
    if box < 1:
        raise ValueError(f"a box must have at least 1 pixel, not {box}")
    if box == old:
        return images
    axes = tuple(range(-dimensions, 0))
    spectrum = fft.rfftn(images, axes=axes, workers=workers())
    spectrum = crop_spectrum(spectrum, shape, (box,) * dimensions)
    moved = box // 2 - (old // 2) * box / old
    if moved:
        for axis in axes:
            frequency = fft.rfftfreq(box) if axis == -1 else fft.fftfreq(box)
            phases = np.exp(-2j * np.pi * frequency * moved).astype(spectrum.dtype)
            spectrum *= phases.reshape((-1,) + (1,) * (-axis - 1))
    new_shape = (box,) * dimensions
    resampled = fft.irfftn(spectrum, s=new_shape, axes=axes, workers=workers())
    return resampled.astype(np.float32, copy=False)


def crop_spectrum(
    spectrum: npt.NDArray[np.complexfloating], shape: tuple[int, ...], new_shape: tuple[int, ...]
) -> npt.NDArray[np.complexfloating]:
    """Spectrum of the same image on another grid: cropped, or padded with zeros.

    Parameters
    ----------
    spectrum : ndarray of complex, shape (..., rows, columns // 2 + 1)
        ``rfftn`` over the last axes of images of `shape`.
    shape, new_shape : tuple of int
        Sides before and after.

    Returns
    -------
    ndarray of complex
        To be given to ``irfftn``; scaled so that grey values stay.
    """
    for axis, (old, new) in enumerate(zip(shape, new_shape, strict=True), start=-len(shape)):
        # The Nyquist frequency of the smaller grid is left out: it has no sign.
        highest = (min(old, new) - 1) // 2
        source = np.moveaxis(spectrum, axis, 0)
        length = new // 2 + 1 if axis == -1 else new
        cropped = np.zeros((length, *source.shape[1:]), spectrum.dtype)
        cropped[: highest + 1] = source[: highest + 1]
        if axis != -1 and highest:
            cropped[-highest:] = source[-highest:]
        spectrum = np.moveaxis(cropped, 0, axis)
    spectrum *= np.prod(new_shape) / np.prod(shape)
    return spectrum
