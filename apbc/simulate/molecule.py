"""Pseudo-atomic particles made by a procedure, so that no structure has to be fetched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

RESIDUE_VOLUME = 135.0
"""Å³ that one amino acid takes in a folded protein (Harpaz, Gerstein and Chothia 1994)."""

RESIDUE_POTENTIAL = 470.0
"""V Å³ by which a residue exceeds the vitreous ice in its place: 135 Å³ times 3.5 V, the mean
potential of protein (about 8 V) less that of ice (4.6 V), both summed over neutral atoms with the
scattering factors of Peng et al. (Acta Cryst. A52:257, 1996)."""

# Lobes of one of the two rings: radius of the lobe, distance from the axis, height (Å).
EQUATORIAL = (18.0, 42.0, 20.0)
APICAL = (15.0, 44.0, 48.0)
SUBUNITS = 7
# Lobes that break the symmetry: radius, then centre x, y, z (Å).
ARM = [(11.0, 62.0, 4.0, 24.0), (11.0, 73.0, 8.0, 18.0)]
CAP = [(14.0, 12.0, 8.0, -63.0), (12.0, -8.0, -6.0, -60.0)]


@dataclass(frozen=True)
class Molecule:
    """Point scatterers of a particle.

    Attributes
    ----------
    positions : ndarray, shape (n, 3)
        x, y, z in Å; the centre of mass is the origin.
    potential : float
        Potential over that of the ice, integrated over one scatterer, V Å³.
    blur : float
        Standard deviation of the Gaussian that each scatterer is, Å.
    """

    positions: FloatArray
    potential: float = RESIDUE_POTENTIAL
    blur: float = 3.0

    @property
    def diameter(self) -> float:
        """Diameter in Å of the sphere round the origin that holds the particle."""
        return 2 * float(np.linalg.norm(self.positions, axis=1).max() + self.blur)


def ball(radius: float, centre: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Residues at random places of a ball, as densely as in a protein.

    Parameters
    ----------
    radius : float
        Å.
    centre : ndarray, shape (3,)
        Å.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, 3)
        Å.
    """
    count = round(4 / 3 * np.pi * radius**3 / RESIDUE_VOLUME)
    directions = rng.standard_normal((count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = radius * np.cbrt(rng.random((count, 1)))
    balls: FloatArray = centre + lengths * directions
    return balls


def barrel(seed: int = 0) -> Molecule:
    """Two stacked rings of seven subunits with an arm on one and a cap on the other.

    The rings look like a chaperonin: a seven-fold wheel from the top, four
    stripes from the side. The arm and the cap leave no symmetry.

    Parameters
    ----------
    seed : int, optional
        Places of the residues in their lobes.

    Returns
    -------
    Molecule
        About 3300 residues (360 kDa), 175 Å in diameter.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for side, twist in ((1, 0.0), (-1, np.pi / SUBUNITS)):
        for subunit in range(SUBUNITS):
            for radius, distance, height in (EQUATORIAL, APICAL):
                angle = 2 * np.pi * subunit / SUBUNITS + side * twist
                centre = np.array(
                    [distance * np.cos(angle), distance * np.sin(angle), side * height]
                )
                parts.append(ball(radius, centre, rng))
    for radius, *place in ARM + CAP:
        parts.append(ball(radius, np.array(place), rng))
    positions = np.concatenate(parts)
    return Molecule(positions - positions.mean(axis=0))
