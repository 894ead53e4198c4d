"""How much an image looks like the molecule of the benchmark, told by its atomic model alone.

The reader knows neither pickers nor known particles: it holds an image against projections of the
map that was calculated from PDB 5A1A (beta-galactosidase), from all sides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.geometry import euler_to_matrix
from apbc.io.volumes import read_volume
from apbc.simulate.slices import SliceProjector

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

RULE = (
    "largest correlation, inside a disc of the particle's diameter, with projections of the map of "
    "PDB 5A1A from {views} directions spread evenly over half a sphere, each turned by steps of "
    "{turn:g} degrees and shifted by up to {shift:g} diameters, both without what is finer than "
    "{fine:g} Å or coarser than the diameter"
)
VIEWS, TURNS = 60, 36
FINEST = 22.0  # Å; the micrographs hold nothing finer
DIAMETER = 190.0  # Å
SHIFT = 0.08  # diameters


class Likeness:
    """Correlation of images with projections of a map.

    Parameters
    ----------
    path : Path
        The map.
    side : int
        Side of the images in pixels.
    pixel_size : float
        Å per pixel of the images.
    shift : float, optional
        How far the molecule may lie from the middle, in diameters.
    """

    def __init__(self, path: Path, side: int, pixel_size: float, shift: float = SHIFT) -> None:
        self.reach = round(shift * DIAMETER / pixel_size)
        self.side = side - 2 * self.reach
        self.filter = band(side, pixel_size)
        row, column = np.indices((self.side, self.side)) - self.side // 2
        self.disc = np.hypot(row, column) <= DIAMETER / pixel_size / 2
        self.templates = self._unit(self._projections(path, pixel_size))
        self.rule = RULE.format(views=VIEWS, turn=360 / TURNS, shift=shift, fine=FINEST)

    def of(self, images: npt.NDArray) -> FloatArray:
        """Likeness of images of side `side` with light protein, shape (n,)."""
        images = np.fft.ifft2(np.fft.fft2(images) * self.filter).real
        best = np.full(len(images), -1.0)
        steps = range(2 * self.reach + 1)
        for down, right in ((d, r) for d in steps for r in steps):
            part = images[:, down : down + self.side, right : right + self.side]
            for k in range(0, len(part), 500):
                found = (self._unit(part[k : k + 500]) @ self.templates.T).max(axis=1)
                best[k : k + 500] = np.maximum(best[k : k + 500], found)
        return best

    def _unit(self, images: npt.NDArray) -> FloatImage:
        """Pixels in the disc, of mean 0 and length 1."""
        pixels = images[:, self.disc]
        pixels = pixels - pixels.mean(axis=1, keepdims=True)
        length = np.linalg.norm(pixels, axis=1, keepdims=True)
        unit: FloatImage = (pixels / np.maximum(length, 1e-12)).astype(np.float32)
        return unit

    def _projections(self, path: Path, pixel_size: float) -> FloatArray:
        volume = read_volume(path)
        across = volume.box_size * volume.pixel_size
        box = 2 * round(across / pixel_size / 2)
        # Boxes are whole pixels, so that the last bit is left to the magnification.
        projector = SliceProjector(volume.data, box, across / box / pixel_size)
        passed, half = band(box, pixel_size), self.side // 2
        part = slice(box // 2 - half, box // 2 - half + self.side)
        index = np.arange(VIEWS) + 0.5
        tilt = np.rad2deg(np.arccos(index / VIEWS))
        rot = (180 * (1 + np.sqrt(5)) * index) % 360  # a spiral of even density
        images = []
        for direction in zip(rot, tilt, strict=True):
            for psi in np.arange(TURNS) * 360 / TURNS:
                rotation = euler_to_matrix(np.array([[*direction, psi]]))[0]
                image = np.fft.ifft2(np.fft.fft2(projector.project(rotation)) * passed).real
                images.append(image[part, part])
        return np.array(images)


def band(side: int, pixel_size: float) -> FloatArray:
    """Factors by which a transform keeps what is between `FINEST` and the diameter."""
    frequency = np.fft.fftfreq(side, pixel_size)
    squared = frequency[:, None] ** 2 + frequency[None] ** 2
    low = np.exp(-squared * FINEST**2 / 2)
    high = 1 - np.exp(-2 * np.pi**2 * DIAMETER**2 * squared)
    passed: FloatArray = low * high
    return passed
