"""Gold beads: fiducials, or crumbs of a gold foil; dark, with Fresnel rings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apbc.simulate.contamination import Window
from apbc.simulate.truth import Label

FloatArray = npt.NDArray[np.float64]

POTENTIAL = 25.0
"""V, mean inner potential of gold (about 30 V) less that of ice."""
FREE_PATH = 90.0
"""Å of gold after which 1/e of the electrons is left in the image."""
LARGEST_PHASE = 0.5
"""rad; the linear image of a stronger phase would be brighter than any real ring."""
DIAMETERS = (50.0, 100.0, 150.0)
"""Å of the beads that are sold."""


@dataclass(frozen=True)
class Bead:
    """A ball of gold.

    Attributes
    ----------
    x, y, radius : float
        Pixels.
    """

    x: float
    y: float
    radius: float

    label = Label.GOLD

    @property
    def reach(self) -> float:
        """Pixels from the centre beyond which nothing is covered."""
        return self.radius + 2

    def paint(self, view: Window, _: np.random.Generator) -> None:
        """Add the phase and the absorption of the ball.

        Parameters
        ----------
        view : Window
        """
        square = (view.x - self.x) ** 2 + (view.y - self.y) ** 2
        path = 2 * view.pixel_size * np.sqrt(np.maximum(self.radius**2 - square, 0))
        strong = view.interaction * POTENTIAL * path
        view.phase += (LARGEST_PHASE * np.tanh(strong / LARGEST_PHASE)).astype(np.float32)
        view.absorption += (path / FREE_PATH).astype(np.float32)
        view.mark(square <= self.radius**2, self.label)


def random_beads(
    count: int, shape: tuple[int, int], pixel_size: float, rng: np.random.Generator
) -> list[Bead]:
    """Beads of one of the sizes that are sold, at random places.

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
    list of Bead
    """
    size = rng.choice(DIAMETERS)
    return [
        Bead(
            x=rng.uniform(0, shape[1]),
            y=rng.uniform(0, shape[0]),
            radius=size / 2 / pixel_size * rng.uniform(0.85, 1.15),
        )
        for _ in range(count)
    ]
