"""How much noise a signal-to-noise ratio asks for, and noise of any colour.

The signal-to-noise ratio is ``var(clean) / sigma²``: the variance of the images without noise,
as the lens passes them on (with CTF and envelope), over that of the noise, both at the native
box, in whose pixels the molecule is projected. Fourier cropping from a box D to a box M keeps
grey values and averages noise: its standard deviation becomes ``sigma M / D``, so that the ratio
of images cropped to half is about four times as large.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.fft

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

DEFINITIONS = {
    "pooled": "one noise for all images, from the variance of all their pixels about one mean",
    "structure": "one noise for the images of a structure, as in CryoBench",
    "image": "a noise for each image, from the variance of its own pixels",
}
REGIONS = {
    "box": "the whole image",
    "circle": "the circle that touches the sides of the box",
    "mask": "where the projection of the molecule is above a tenth of its largest value",
}
MASK_LEVEL = 0.1


def image_generator(seed: int, image: int) -> np.random.Generator:
    """Random numbers of one image, the same whenever and wherever it is made.

    Philox is a generator that counts (Salmon et al., SC'11, 2011), keyed here by the seed
    and the image.

    Parameters
    ----------
    seed : int
    image : int
        Counted from 0.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.Generator(np.random.Philox(key=[seed, image]))


def circle(box: int) -> BoolArray:
    """Pixels within the circle that touches the sides of an image, shape (box, box)."""
    axis = np.arange(box) - box // 2
    inside: BoolArray = axis[:, None] ** 2 + axis[None, :] ** 2 < (box / 2) ** 2
    return inside


def moments(image: FloatImage, region: BoolArray | None) -> tuple[float, float, float]:
    """Count, sum and sum of squares of the pixels in a region (all without one)."""
    values = (image if region is None else image[region]).astype(np.float64).ravel()
    # einsum: the same bits with any number of BLAS threads.
    return float(values.size), float(values.sum()), float(np.einsum("i,i->", values, values))


def variance(sums: FloatArray) -> float:
    """Variance of pixels about their one mean.

    Parameters
    ----------
    sums : ndarray, shape (n, 3)
        `moments` of n images.

    Returns
    -------
    float
    """
    count, total, squares = sums.sum(axis=0)
    return float(squares / count - (total / count) ** 2) if count else 0.0


def variances(sums: FloatArray, groups: npt.NDArray[np.int64]) -> FloatArray:
    """Variance of the pixels of each group of images about the group's mean.

    Parameters
    ----------
    sums : ndarray, shape (n, 3)
        `moments` of n images.
    groups : ndarray of int, shape (n,)
        Not below 0.

    Returns
    -------
    ndarray
        One for each group that has images, in order of their numbers.
    """
    count, total, squares = (np.bincount(groups, column) for column in sums.T)
    there = count > 0
    found: FloatArray = squares[there] / count[there] - (total[there] / count[there]) ** 2
    return found


class Noise:
    """Gaussian noise with a power spectrum ``1 / frequency**exponent``.

    Its variance at the native box does not depend on the exponent.

    Parameters
    ----------
    box : int
        Side of the images in pixels.
    native_box : int
        Side of the box in which a standard deviation is told; the images show the same field
        at a coarser pixel.
    exponent : float, optional
        0 for white noise. The constant part is as strong as the lowest frequency.

    Attributes
    ----------
    kept : float
        Share of the native variance that is left in the images.
    """

    def __init__(self, box: int, native_box: int, exponent: float = 0.0) -> None:
        self._box = box
        self._scale = np.float32(box / native_box)
        self.kept = (box / native_box) ** 2
        self._amplitude: FloatImage | None = None
        if exponent:
            native = np.mean(_power(native_box, exponent))
            power = _power(box, exponent) / native
            self.kept *= float(np.mean(power))
            self._amplitude = np.sqrt(power[:, : box // 2 + 1]).astype(np.float32)

    def draw(self, sigma: float, rng: np.random.Generator) -> FloatImage:
        """Noise of one image.

        Parameters
        ----------
        sigma : float
            Standard deviation at the native box.
        rng : numpy.random.Generator

        Returns
        -------
        ndarray of float32, shape (box, box)
        """
        noise = rng.standard_normal((self._box, self._box), np.float32)
        if self._amplitude is not None:
            spectrum = scipy.fft.rfft2(noise) * self._amplitude
            noise = scipy.fft.irfft2(spectrum, s=noise.shape)
        return noise * np.float32(sigma * self._scale)


def _power(box: int, exponent: float) -> FloatArray:
    """``1 / frequency**exponent`` at the frequencies of ``fft2``, in units of the lowest."""
    count = scipy.fft.fftfreq(box, 1 / box)
    squared = np.maximum(count[:, None] ** 2 + count[None, :] ** 2, 1.0)
    power: FloatArray = squared ** (-exponent / 2)
    return power
