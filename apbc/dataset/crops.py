"""Square crops round labels, from working images or from particle stacks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.geometry import even
from apbc.preprocess.binning import fourier_resample
from apbc.preprocess.normalise import MAD_TO_SIGMA, high_pass
from apbc.preprocess.working import Preprocessing

FloatImage = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]


def check_inside(xy: FloatArray, shape: tuple[int, ...], micrograph: str, what: str) -> None:
    """Raise if coordinates lie outside their micrograph or are no numbers.

    Parameters
    ----------
    xy : ndarray, shape (n, 2)
        Pixels of the micrograph.
    shape : (int, int)
        Rows and columns of the micrograph.
    micrograph, what : str
        For the sentence: the name of the micrograph, and what the coordinates are of.

    Raises
    ------
    ApbcError
    """
    rows, cols = shape
    if not np.isfinite(xy).all():
        raise ApbcError(f"a coordinate of {what} on {micrograph} is not a number; mend it")
    outside = (xy < -0.5).any(axis=1) | (xy[:, 0] > cols - 0.5) | (xy[:, 1] > rows - 0.5)
    if outside.any():
        x, y = xy[outside][0]
        raise ApbcError(
            f"{outside.sum()} of {len(xy)} coordinates of {what} lie outside micrograph "
            f"{micrograph} of {cols} x {rows} pixels (such as x {x:g}, y {y:g}); were they picked "
            "on micrographs of another binning?"
        )


def check_size(shape: tuple[int, ...], size: int, micrograph: str) -> None:
    """Raise if a working image is smaller than a crop.

    Raises
    ------
    ApbcError
    """
    if min(shape) < size:
        raise ApbcError(
            f"micrograph {micrograph} is smaller than a box of {size} working pixels (it has "
            f"{shape[1]} x {shape[0]}); check the particle diameter and the pixel size"
        )


def cut(pixels: FloatImage, centres: FloatArray, size: int) -> tuple[FloatImage, FloatArray]:
    """Crops of a working image; what lies beyond its border is mirrored.

    Parameters
    ----------
    pixels : ndarray of float32, shape (rows, cols)
        Working image.
    centres : ndarray, shape (n, 2)
        ``x, y`` in working pixels.
    size : int
        Side of a crop, even. Pixel ``size // 2`` of a crop is the pixel nearest to
        its centre.

    Returns
    -------
    crops : ndarray of float32, shape (n, size, size)
    offsets : ndarray, shape (n, 2)
        Centre less the middle pixel of the crop: the part lost by rounding.

    Raises
    ------
    ValueError
        If the image is smaller than half a crop.
    """
    half = size // 2
    if min(pixels.shape) <= half:
        raise ValueError(f"an image of {pixels.shape} is smaller than a crop of {size}")
    padded = np.pad(pixels, half, mode="reflect")
    middle = np.rint(centres).astype(int)
    crops = np.stack(
        [padded[y : y + size, x : x + size] for x, y in middle]
        or [np.empty((size, size), np.float32)]
    )[: len(middle)]
    return crops, np.asarray(centres, float).reshape(-1, 2) - middle.reshape(-1, 2)


def from_particle_images(
    images: FloatImage,
    pixel_size: float,
    preprocessing: Preprocessing,
    size: int,
    stack_contrast: str,
    rng: np.random.Generator,
) -> FloatImage:
    """Crops made of extracted particle images.

    Each image is brought to working scale, high-passed and normalised by the ring
    outside the particle, as the working image of a micrograph is by itself. Where
    the box is smaller than the crop the rim is filled with noise of the ring's
    deviation.

    Parameters
    ----------
    images : ndarray of float32, shape (n, box, box)
    pixel_size : float
        Å per pixel of `images`.
    preprocessing : Preprocessing
    size : int
        Side of a crop in working pixels.
    stack_contrast : {"white", "dark"}
        Colour of protein in the stack; Relion's extraction makes it white.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (n, size, size)

    Raises
    ------
    ApbcError
        If the box is smaller than the particle.
    """
    box = images.shape[-1]
    side = even(box * pixel_size / preprocessing.pixel_size)
    diameter = preprocessing.diameter_pixels
    if side <= diameter:
        raise ApbcError(
            f"the particle images are {box * pixel_size:.0f} Å wide and the particle is "
            f"{preprocessing.diameter:.0f} Å; extract with a larger box or give a smaller diameter"
        )
    sign = -1.0 if stack_contrast == "white" else 1.0
    radius = np.hypot(*(np.indices((side, side)) - side // 2))
    ring = (radius > diameter / 2) & (radius <= side / 2)
    crops = rng.standard_normal((len(images), size, size)).astype(np.float32)
    inner = min(side, size)
    into = slice(size // 2 - inner // 2, size // 2 - inner // 2 + inner)
    out_of = slice(side // 2 - inner // 2, side // 2 - inner // 2 + inner)
    for crop, image in zip(crops, images, strict=True):
        if not np.isfinite(image).all():
            raise ApbcError("a particle image holds NaN or infinite pixels; extract it again")
        small = sign * fourier_resample(image.astype(np.float32), (side, side))
        small = high_pass(small, preprocessing.high_pass_sigma * diameter)
        median = np.median(small[ring])
        deviation = MAD_TO_SIGMA * np.median(np.abs(small[ring] - median))
        if deviation > 0:
            small = (small - median) / deviation
        crop[into, into] = np.clip(small, -preprocessing.clip, preprocessing.clip)[out_of, out_of]
    return crops
