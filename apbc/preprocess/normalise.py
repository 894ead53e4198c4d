"""High-pass and robust normalisation of a binned micrograph."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

FloatImage = npt.NDArray[np.float32]

MAD_TO_SIGMA = 1.4826  # of a normal distribution


def high_pass(image: FloatImage, sigma: float) -> FloatImage:
    """Image less its local mean under a Gaussian.

    Done in real space with mirrored borders, so that an edge of the micrograph
    does not ring into the other side.

    Parameters
    ----------
    image : ndarray of float32, shape (rows, cols)
    sigma : float
        Standard deviation of the Gaussian in pixels.

    Returns
    -------
    ndarray of float32, same shape
    """
    return image - ndimage.gaussian_filter(image, sigma, mode="reflect", truncate=3.0)


def normalise(image: FloatImage, clip: float) -> FloatImage:
    """Zero median, unit robust deviation, extremes cut.

    The median and the median absolute deviation ignore the few very dark or
    bright pixels of ice and gold that spoil a mean and a standard deviation.

    Parameters
    ----------
    image : ndarray of float32, shape (rows, cols)
    clip : float
        Values beyond this many deviations are set to it.

    Returns
    -------
    ndarray of float32, same shape
        All zero for an image without contrast.
    """
    median = np.median(image)
    deviation = MAD_TO_SIGMA * np.median(np.abs(image - median))
    if not deviation > 0:
        deviation = float(image.std()) or 1.0
    return np.clip((image - median) / deviation, -clip, clip).astype(np.float32, copy=False)
