"""Crystalline contamination: hexagonal ice with its lattice, and the mottle of frozen ethane.

Hexagonal ice is drawn as facets, each a single crystal seen along its c or a axis. Its lattice
gives the diffraction spots at 3.90, 3.67 and 3.44 Å (a = 4.497, c = 7.322 Å at 100 K; Röttger et
al., Acta Cryst. B50:644, 1994) where the pixels are fine enough: spacings below two pixels cannot
be recorded and are left out, and the crystal keeps its outline and its uneven absorption. Frozen
ethane is drawn by its look alone, a leopard skin of grains; no diffraction is claimed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from apbc.simulate.contamination import Blob, Window, grain
from apbc.simulate.projection import frequencies_squared
from apbc.simulate.truth import Label

FloatArray = npt.NDArray[np.float64]
FloatImage = npt.NDArray[np.float32]

A, C = 4.497, 7.322
"""Cell of hexagonal ice, Å."""
A_STAR = 2 / (np.sqrt(3) * A)
"""1/Å; 1 / 3.90 Å."""
ALONG_C = [
    (A_STAR, 0.0),
    (A_STAR / 2, A_STAR * np.sqrt(3) / 2),
    (-A_STAR / 2, A_STAR * np.sqrt(3) / 2),
]
ALONG_A = [(A_STAR, 0.0), (0.0, 2 / C), (A_STAR, 1 / C), (-A_STAR, 1 / C)]
"""Spatial frequencies of the strong reflections in the two views, 1/Å."""
MOTTLE = 120.0
"""Å, length of the uneven absorption of a crystal."""


@dataclass(frozen=True)
class Crystal:
    """One facet of hexagonal ice.

    Attributes
    ----------
    x, y, radius : float
        Centre and the distance of its farthest edge, pixels.
    edges : ndarray, shape (k, 2)
        Direction of the normal of each edge in rad, and its distance from the
        centre, pixels.
    waves : ndarray, shape (m, 3)
        Spatial frequency x, y in 1/Å and phase in rad of the lattice.
    amplitude : float
        Of each wave, rad.
    absorption : float
    """

    x: float
    y: float
    radius: float
    edges: FloatArray
    waves: FloatArray
    amplitude: float
    absorption: float

    label = Label.CRYSTAL

    @property
    def reach(self) -> float:
        """Pixels from the centre beyond which nothing is covered."""
        return 1.6 * self.radius + 4

    def cover(self, x: npt.ArrayLike, y: npt.ArrayLike) -> FloatArray:
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
        depth = self.reach - 4 - np.hypot(dx, dy)
        for angle, distance in self.edges:
            depth = np.minimum(depth, distance - dx * np.cos(angle) - dy * np.sin(angle))
        return np.clip(depth / 3 + 0.5, 0, 1)

    def paint(self, view: Window, rng: np.random.Generator) -> None:
        """Add the lattice, as far as pixels can show it, and the absorption.

        Parameters
        ----------
        view : Window
        rng : numpy.random.Generator
        """
        cover = self.cover(view.x, view.y).astype(np.float32)
        mottle = grain(view.shape, view.pixel_size, MOTTLE, rng)
        lattice = np.zeros_like(cover)
        for across, down, phase in self.waves:
            if np.hypot(across, down) < 0.5 / view.pixel_size:
                cycles = (view.x * across + view.y * down) * view.pixel_size
                lattice += np.cos(2 * np.pi * cycles + phase).astype(np.float32)
        # Bent crystals diffract in some places and not in others.
        view.phase += np.float32(self.amplitude) * cover * lattice * (1 + np.float32(0.4) * mottle)
        step = np.float32(self.absorption) * (1 + np.float32(0.25) * mottle)
        view.phase += cover * step
        view.absorption += cover * step
        view.mark(cover, self.label)


@dataclass(frozen=True)
class Ethane:
    """A field of frozen ethane.

    Attributes
    ----------
    outline : Blob
        Its border; its other numbers are not used.
    strength : float
        Of the mottle in absorption.
    length : float
        Å from one grain to the next.
    """

    outline: Blob
    strength: float
    length: float

    label = Label.CRYSTAL

    @property
    def x(self) -> float:
        """Centre, pixels."""
        return self.outline.x

    @property
    def y(self) -> float:
        """Centre, pixels."""
        return self.outline.y

    @property
    def reach(self) -> float:
        """Pixels from the centre beyond which nothing is covered."""
        return self.outline.reach

    def paint(self, view: Window, rng: np.random.Generator) -> None:
        """Add the mottle.

        Parameters
        ----------
        view : Window
        rng : numpy.random.Generator
        """
        cover = self.outline.cover(view.x, view.y).astype(np.float32)
        noise = rng.standard_normal(view.shape, dtype=np.float32)
        spectrum = scipy.fft.rfft2(noise)
        # A ring of frequencies makes grains of one size; tanh gives them sharp borders.
        frequency = np.sqrt(frequencies_squared(view.shape, view.pixel_size))
        spectrum *= np.exp(-(((frequency * self.length - 1) / 0.35) ** 2) / 2)
        rings = scipy.fft.irfft2(spectrum, s=view.shape)
        mottle = np.tanh(2.5 * rings / rings.std())
        view.phase += cover * np.float32(0.6 * self.strength) * mottle
        view.absorption += cover * np.float32(self.strength) * (mottle + np.float32(0.5))
        view.mark(cover, self.label)


def random_crystals(
    patches: int, shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> list[Crystal]:
    """Patches of one to six facets that touch.

    Parameters
    ----------
    patches : int
    shape : (int, int)
        Rows and columns over which they are spread.
    pixel_size : float
        Å.
    rng : numpy.random.Generator

    Returns
    -------
    list of Crystal
    """
    crystals = []
    for _ in range(patches):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        for _ in range(rng.integers(1, 7)):
            radius = rng.triangular(120, 250, 600) / pixel_size
            count = int(rng.integers(5, 8))
            angles = (np.arange(count) + rng.uniform(-0.25, 0.25, count)) * 2 * np.pi / count
            edges = np.stack(
                [angles + rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.7, 1, count)], axis=1
            )
            lattice = np.array(ALONG_C if rng.random() < 0.5 else ALONG_A)
            turn = rng.uniform(0, 2 * np.pi)
            cos, sin = np.cos(turn), np.sin(turn)
            waves = lattice @ np.array([[cos, sin], [-sin, cos]])
            phases = rng.uniform(0, 2 * np.pi, len(waves))
            crystals.append(
                Crystal(
                    x=x,
                    y=y,
                    radius=radius,
                    edges=edges,
                    waves=np.concatenate([waves, phases[:, None]], axis=1),
                    amplitude=rng.uniform(0.03, 0.12),
                    absorption=rng.uniform(-0.03, 0.15),
                )
            )
            step = rng.uniform(0, 2 * np.pi)
            x += 1.5 * radius * np.cos(step)
            y += 1.5 * radius * np.sin(step)
    return crystals


def random_ethane(
    count: int, shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> list[Ethane]:
    """Fields of ethane at random places.

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
    list of Ethane
    """
    fields = []
    for _ in range(count):
        amplitudes = rng.uniform(0.05, 0.25, 5) / np.arange(1, 6)
        outline = Blob(
            x=rng.uniform(0, shape[1]),
            y=rng.uniform(0, shape[0]),
            radius=rng.triangular(350, 600, 1400) / pixel_size,
            absorption=0.0,
            texture=0.0,
            softness=0.1,
            waves=np.stack([amplitudes, rng.uniform(0, 2 * np.pi, 5)], axis=1),
        )
        fields.append(
            Ethane(outline, strength=rng.uniform(0.02, 0.06), length=rng.uniform(90, 220))
        )
    return fields
