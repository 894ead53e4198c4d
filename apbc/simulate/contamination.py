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

FloatImage = npt.NDArray[np.float32]


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

    def depth(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Pixels from the edge into the carbon, below zero in the hole."""
        return np.hypot(np.asarray(x) - self.x, np.asarray(y) - self.y) - self.radius

    def cover(self, x: npt.ArrayLike, y: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Share from 0 (hole) to 1 (carbon) to which places are covered."""
        return np.clip(self.depth(x, y) / 3 + 0.5, 0, 1)


def random_blobs(
    count: int, shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> list[Blob]:
    """Blobs at random places: most dark and round about the size of particles, some bright.

    Parameters
    ----------
    count : int
    shape : (int, int)
        Rows and columns over which they are spread.
    pixel_size : float
        Å.
    rng : numpy.random.Generator

    Returns
    -------
    list of Blob
    """
    blobs = []
    for _ in range(count):
        bright = rng.random() < 0.2
        radius = rng.triangular(55, 90, 280) / pixel_size
        amplitudes = rng.uniform(0, 0.16, 4) / np.arange(1, 5)
        blobs.append(
            Blob(
                x=rng.uniform(0, shape[1]),
                y=rng.uniform(0, shape[0]),
                radius=radius,
                absorption=-rng.uniform(0.04, 0.10) if bright else rng.uniform(0.05, 0.2),
                texture=rng.uniform(0.03, 0.15),
                softness=rng.uniform(0.05, 0.5),
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
    shape: tuple[int, int], pixel_size: float, length: float, rng: np.random.Generator
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

    Returns
    -------
    ndarray of float32, shape `shape`
        Mean 0, standard deviation 1.
    """
    spectrum = scipy.fft.rfft2(rng.standard_normal(shape, dtype=np.float32))
    spectrum /= 1 + frequencies_squared(shape, pixel_size) * length**2
    spectrum[0, 0] = 0
    noise: FloatImage = scipy.fft.irfft2(spectrum, s=shape)
    return noise / noise.std()
