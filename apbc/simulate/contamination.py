"""What a picker must leave alone: contaminating ice and the carbon film.

Shapes and strengths are chosen by eye after micrographs of real grids; no
physical model stands behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.simulate.projection import frequencies_squared
from apbc.simulate.truth import Label

FloatImage = npt.NDArray[np.float32]

# Strengths chosen by eye.
FILM_PHASE = 0.1
"""rad, standard deviation of the grain of the carbon film."""
FILM_GRAIN = 6.0
"""Å."""
FILM_STEP = 0.25
"""rad; at the edge it makes the Fresnel fringe."""
FILM_ABSORPTION = 0.1
FILM_EDGE = 10.0
"""Å over which the film begins."""
FILM_WAVES = (8, 800)
"""Least and largest number of waves of the edge round the hole."""
FILM_ROUGHNESS = 30.0
"""Å of the slowest wave; finer ones are smaller by the square root of their number."""
BLOB_GRAIN = 25.0
"""Å."""


@dataclass
class Window:
    """Part of a specimen that a contamination is painted on, in place.

    Attributes
    ----------
    phase, absorption : ndarray of float32, shape (rows, columns)
        rad, and the logarithm of the electrons that are lost.
    mask : ndarray of int8, shape (rows, columns)
    x, y : ndarray, shape (1, columns) and (rows, 1)
        Pixels of the micrograph.
    pixel_size : float
        Å.
    interaction : float
        rad per V Å.
    workers : int or None
        Threads of Fourier transforms.
    """

    phase: FloatImage
    absorption: FloatImage
    mask: npt.NDArray[np.int8]
    x: FloatImage
    y: FloatImage
    pixel_size: float
    interaction: float
    workers: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.mask.shape[0], self.mask.shape[1]

    def mark(self, cover: npt.NDArray, label: Label) -> None:
        """Write a label into the mask where something covers more than half.

        Parameters
        ----------
        cover : ndarray, shape (rows, columns)
        label : Label
        """
        self.mask[cover > 0.5] = label


@dataclass(frozen=True)
class Blob:
    """A piece of contaminating ice, or a bubble.

    Attributes
    ----------
    x, y, radius : float
        Centre and mean radius in pixels.
    absorption : float
        Electrons are lost by the factor ``exp(-absorption)``; below zero for a
        bright blob.
    texture : float
        Standard deviation of the phase of its grain, rad.
    softness : float
        Width of the rim over the radius.
    waves : ndarray, shape (k, 2)
        Amplitude, as a share of the radius, and phase of the outline's 2nd, 3rd
        ... harmonic.
    """

    x: float
    y: float
    radius: float
    absorption: float
    texture: float
    softness: float
    waves: npt.NDArray[np.float64]

    label = Label.ICE_BLOB

    @property
    def reach(self) -> float:
        """Pixels from the centre beyond which nothing is covered."""
        soft = max(2.0, self.softness * self.radius)
        return self.radius * (1 + float(np.abs(self.waves[:, 0]).sum())) + soft / 2 + 1

    def paint(self, view: Window, rng: np.random.Generator) -> None:
        """Put the blob over what is there: thick ice hides what lies under it.

        Parameters
        ----------
        view : Window
        rng : numpy.random.Generator
        """
        cover = self.cover(view.x, view.y).astype(np.float32)
        texture = grain(view.shape, view.pixel_size, BLOB_GRAIN, rng)
        view.phase += cover * (np.float32(self.texture) * texture - view.phase)
        view.phase += np.float32(self.absorption) * cover
        view.absorption += np.float32(self.absorption) * cover
        view.mark(cover, self.label)

    def cover(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Share from 0 (outside) to 1 (inside) to which places are covered.

        Parameters
        ----------
        x, y : array_like
            Pixels, of shapes that broadcast.

        Returns
        -------
        ndarray
        """
        dx, dy = np.asarray(x) - self.x, np.asarray(y) - self.y
        angle = np.arctan2(dy, dx)
        outline = np.full_like(angle, self.radius)
        for order, (amplitude, phase) in enumerate(self.waves, start=2):
            outline += self.radius * amplitude * np.cos(order * angle + phase)
        soft = max(2.0, self.softness * self.radius)
        return np.clip((outline - np.hypot(dx, dy)) / soft + 0.5, 0, 1)


@dataclass(frozen=True)
class Carbon:
    """The carbon film outside a round hole.

    Attributes
    ----------
    x, y, radius : float
        Centre and radius of the hole in pixels.
    """

    x: float
    y: float
    radius: float

    label = Label.CARBON
    reach = np.inf

    def paint(self, view: Window, rng: np.random.Generator) -> None:
        """Add the film: its grain, the step of its phase, and what it absorbs.

        Parameters
        ----------
        view : Window
        rng : numpy.random.Generator
        """
        dx, dy = view.x - np.float32(self.x), view.y - np.float32(self.y)
        depth = np.hypot(dx, dy)
        depth -= np.float32(self.radius)
        # No film is cut as by a compass: its edge waves.
        numbers = np.rint(np.geomspace(*FILM_WAVES, 16) * rng.uniform(0.8, 1.25, 16))
        swings = FILM_ROUGHNESS * np.sqrt(FILM_WAVES[0] / numbers) * rng.uniform(0.3, 1, 16)
        swings /= view.pixel_size
        phases = rng.uniform(0, 2 * np.pi, 16)
        rows, columns = np.nonzero(np.abs(depth) < swings.sum() + FILM_EDGE / view.pixel_size + 3)
        angle = np.arctan2(dy[rows, 0], dx[0, columns], dtype=float)
        edge = np.zeros_like(angle)
        for number, swing, phase in zip(numbers, swings, phases, strict=True):
            edge += swing * np.sin(number * angle + phase)
        depth[rows, columns] += edge.astype(np.float32)
        depth /= np.float32(max(3.0, FILM_EDGE / view.pixel_size))
        depth += np.float32(0.5)
        cover = np.clip(depth, 0, 1, out=depth)
        # What lies on the film keeps its own label.
        view.mark(np.where(view.mask == Label.CLEAN, cover, 0), self.label)
        texture = grain(view.shape, view.pixel_size, FILM_GRAIN, rng, view.workers)
        texture *= np.float32(FILM_PHASE)
        texture += np.float32(FILM_STEP)
        texture *= cover
        view.phase += texture
        view.absorption += np.float32(FILM_ABSORPTION) * cover

    def depth(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Pixels from the edge into the carbon, below zero in the hole."""
        return np.hypot(np.asarray(x) - self.x, np.asarray(y) - self.y) - self.radius

    def cover(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Share from 0 (hole) to 1 (carbon) to which places are covered."""
        return np.clip(self.depth(x, y) / 3 + 0.5, 0, 1)


@dataclass(frozen=True)
class BlobRanges:
    """From what blobs are drawn.

    Attributes
    ----------
    radius : (float, float, float)
        Least, most frequent and largest, Å.
    absorption, bright, texture, softness : (float, float)
        Of dark blobs, of bright ones (there counted upwards), and of both.
    bright_share : float
    """

    radius: tuple[float, float, float]
    absorption: tuple[float, float]
    bright: tuple[float, float]
    bright_share: float
    texture: tuple[float, float]
    softness: tuple[float, float]


PIECES = BlobRanges(
    radius=(70, 170, 700),
    absorption=(0.03, 0.16),
    bright=(0.02, 0.05),
    bright_share=0.06,
    texture=(0.015, 0.06),
    softness=(0.04, 0.4),
)
"""Pieces of ice that fell on the grid, and few bubbles."""


def random_blobs(
    count: int,
    shape: tuple[int, int],
    pixel_size: float,
    rng: np.random.Generator,
    ranges: BlobRanges = PIECES,
) -> list[Blob]:
    """Blobs at random places: most dark, some bright.

    Parameters
    ----------
    count : int
    shape : (int, int)
        Rows and columns over which they are spread.
    pixel_size : float
        Å.
    rng : numpy.random.Generator
    ranges : BlobRanges, optional

    Returns
    -------
    list of Blob
    """
    blobs = []
    for _ in range(count):
        bright = rng.random() < ranges.bright_share
        radius = rng.triangular(*ranges.radius) / pixel_size
        amplitudes = rng.uniform(0, 0.16, 4) / np.arange(1, 5)
        blobs.append(
            Blob(
                x=rng.uniform(0, shape[1]),
                y=rng.uniform(0, shape[0]),
                radius=radius,
                absorption=-rng.uniform(*ranges.bright)
                if bright
                else rng.uniform(*ranges.absorption),
                texture=rng.uniform(*ranges.texture),
                softness=rng.uniform(*ranges.softness),
                waves=np.stack([amplitudes, rng.uniform(0, 2 * np.pi, 4)], axis=1),
            )
        )
    return blobs


def random_carbon(shape: tuple[int, int], pixel_size: float, rng: np.random.Generator) -> Carbon:
    """Carbon film over one side of a micrograph, with a hole of 1.2 µm beside it.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    rng : numpy.random.Generator

    Returns
    -------
    Carbon
    """
    rows, columns = shape
    angle = rng.uniform(0, 2 * np.pi)
    radius = 6000 / pixel_size
    # The edge passes this far from the middle of the micrograph.
    reach = rng.uniform(0.15, 0.32) * min(shape)
    return Carbon(
        x=columns / 2 + (reach - radius) * np.cos(angle),
        y=rows / 2 + (reach - radius) * np.sin(angle),
        radius=radius,
    )


def grain(
    shape: tuple[int, int],
    pixel_size: float,
    length: float,
    rng: np.random.Generator,
    workers: int | None = None,
) -> FloatImage:
    """Coloured Gaussian noise: flat in power up to a length, falling as 1/s⁴ beyond.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    length : float
        Å; the grain's size.
    rng : numpy.random.Generator
    workers : int, optional
        Threads of the Fourier transform.

    Returns
    -------
    ndarray of float32, shape `shape`
        Mean 0, standard deviation 1.
    """
    spectrum = scipy.fft.rfft2(rng.standard_normal(shape, dtype=np.float32), workers=workers)
    spectrum /= 1 + frequencies_squared(shape, pixel_size) * length**2
    spectrum[0, 0] = 0
    noise: FloatImage = scipy.fft.irfft2(spectrum, s=shape, workers=workers)
    return noise / noise.std()
