"""The detection scale: the pixel size at which the stages' fixed filters fit the particle.

Al-Azzawi et al. 2019 and 2020 halve every micrograph, which puts the particles of their
sets at some 35 to 75 px. Here the particle diameter chooses the power of two, for 30 to 60 px.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..geometry import rescale

FloatArray = npt.NDArray[np.float64]

LARGEST = 60.0
"""A particle wider than this many pixels is halved, and one narrower than half of it doubled.

The noise decides: of the three apoferritin micrographs of EMPIAR-10146 (particles of 73 px)
the Hough transform finds nearly all at 29 and at 36 px, half at 55 px and hardly any at 73 px.
"""
MOST_ENLARGED = 4.0
"""What a micrograph is enlarged at most, however small its particles are."""
KERNEL = 2
"""Reach of the bicubic kernel in pixels of the smaller image."""


@dataclass(frozen=True)
class DetectionScale:
    """Scale of the working image for a particle diameter.

    Parameters
    ----------
    diameter_px : float
        Particle diameter in pixels of the micrograph, above 0.

    Raises
    ------
    ValueError
        If `diameter_px` is not above 0.
    """

    diameter_px: float

    def __post_init__(self) -> None:
        """Check the diameter."""
        if not self.diameter_px > 0:
            raise ValueError(f"the diameter must be above 0 px, not {self.diameter_px}")

    @property
    def factor(self) -> float:
        """Pixels of the working image per pixel of the micrograph: a power of two, at most 4."""
        return min(MOST_ENLARGED, 2.0 ** -math.ceil(math.log2(self.diameter_px / LARGEST)))

    @property
    def diameter(self) -> float:
        """Particle diameter in pixels of the working image."""
        return self.diameter_px * self.factor

    def to_working(self, xy: FloatArray) -> FloatArray:
        """Points (n, 2) of the micrograph in pixels of the working image."""
        return rescale(np.asarray(xy, float).reshape(-1, 2) + 0.5, self.factor) - 0.5

    def to_micrograph(self, xy: FloatArray) -> FloatArray:
        """Points (n, 2) of the working image in pixels of the micrograph."""
        return rescale(np.asarray(xy, float).reshape(-1, 2) + 0.5, 1 / self.factor) - 0.5


def shrink(image: npt.ArrayLike, factor: float) -> FloatArray:
    """Resize by cubic convolution (Keys, a = -0.5) with antialiasing, as MATLAB's imresize.

    Parameters
    ----------
    image : array_like, shape (rows, columns)
    factor : float
        Pixels of the result per pixel of the image. Above 1 the image grows.

    Returns
    -------
    ndarray of float64, shape (floor(rows * factor), floor(columns * factor))
        Pixel x of it lies at ``(x + 0.5) / factor - 0.5`` in the image. What does not fill a
        whole pixel at the far edges is left out. Computed with single precision.

    Raises
    ------
    ValueError
        If nothing would be left of the image.
    """
    pixels = np.asarray(image, np.float32)
    if factor == 1:
        return pixels.astype(float)
    height, width = (math.floor(n * factor + 1e-9) for n in pixels.shape)
    if min(height, width) < 1:
        raise ValueError(f"an image of shape {pixels.shape} cannot be resized by {factor}")
    pad = math.ceil(KERNEL / min(factor, 1)) + 1
    padded = np.pad(pixels, pad, mode="symmetric")
    box = (pad, pad, pad + width / factor, pad + height / factor)
    resized = Image.fromarray(padded).resize((width, height), Image.Resampling.BICUBIC, box)
    return np.asarray(resized, np.float64)
