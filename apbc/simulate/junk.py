"""Images of a particle stack that show no whole particle in the middle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from apbc.geometry import euler_to_matrix
from apbc.simulate.views import draw_angles

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

KINDS = ("noise", "broken", "off-centre", "pair", "ice")
"""``noise``: nothing. ``broken``: the part of a particle on one side of a plane along the beam.
``off-centre``: a particle that leaves the box. ``pair``: two that touch. ``ice``: a blob."""

# In diameters of the particle.
OFF_CENTRE = (0.4, 0.7)
PAIR = (0.5, 0.9)
CUT = 0.15
EDGE = 0.04
BLOB = (0.12, 0.3)
BLOB_GRAIN = 0.05
BLOB_STRENGTH = (1.5, 4.0)
"""Times the largest value of a projection."""


def draw_junk(
    kind: str,
    project: Callable[[FloatArray], FloatImage],
    rotation: FloatArray,
    diameter: float,
    rng: np.random.Generator,
) -> FloatImage:
    """Projected potential of a piece of junk.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    project : callable
        From a rotation (3, 3) to the projection of the structure that the junk is made of.
    rotation : ndarray, shape (3, 3)
    diameter : float
        Of the structure, pixels.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32
        Of the shape of the projections.
    """
    image = project(rotation)
    direction = rng.uniform(0, 2 * np.pi)
    step = np.array([np.cos(direction), np.sin(direction)])
    if kind == "broken":
        return image * _beside_a_line(image.shape[0], step, diameter, rng)
    if kind == "off-centre":
        return _moved(image, step * diameter * rng.uniform(*OFF_CENTRE))
    if kind == "pair":
        turned = euler_to_matrix(draw_angles(1, "uniform", rng))[0]
        apart = step * diameter * rng.uniform(*PAIR)
        return _moved(image, -apart / 2) + _moved(project(turned), apart / 2)
    if kind == "ice":
        return _blob(image, diameter, rng)
    return np.zeros_like(image)


def _axes(box: int) -> FloatArray:
    axis = np.arange(box) - box // 2
    return np.stack(np.meshgrid(axis, axis))


def _beside_a_line(
    box: int, normal: FloatArray, diameter: float, rng: np.random.Generator
) -> FloatImage:
    """1 on one side of a line near the centre, 0 on the other, with a soft edge."""
    x, y = _axes(box)
    distance = normal[0] * x + normal[1] * y - rng.uniform(-CUT, CUT) * diameter
    return (0.5 + 0.5 * np.tanh(distance / (EDGE * diameter))).astype(np.float32)


def _moved(image: FloatImage, by: FloatArray) -> FloatImage:
    """Image moved by whole pixels (x, y); what leaves it is lost."""
    box = image.shape[0]
    x, y = (int(n) for n in np.clip(np.rint(by), -box, box))
    moved = np.zeros_like(image)
    moved[max(y, 0) : box + min(y, 0), max(x, 0) : box + min(x, 0)] = image[
        max(-y, 0) : box + min(-y, 0), max(-x, 0) : box + min(-x, 0)
    ]
    return moved


def _blob(image: FloatImage, diameter: float, rng: np.random.Generator) -> FloatImage:
    """Blob of ice with a grain, round and out of the middle."""
    x, y = _axes(image.shape[0])
    centre = rng.normal(0, BLOB[0] * diameter, 2)
    width = rng.uniform(*BLOB) * diameter
    shape = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    grain = gaussian_filter(rng.standard_normal(image.shape), BLOB_GRAIN * diameter, mode="wrap")
    texture = 1 + 0.3 * grain / grain.std()
    strength = rng.uniform(*BLOB_STRENGTH) * float(np.abs(image).max())
    blob: FloatImage = (strength * shape * texture).astype(np.float32)
    return blob
