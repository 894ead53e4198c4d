"""Known particles with what is known of them: class, pose, and whether they can be seen.

A particle that is not visible (behind gold, below another one, half outside of the frame) is
neither to be found nor a trap: missing it costs nothing, and a pick on it is not false.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

JUNK = 0  # the class of what is no particle


@dataclass(frozen=True)
class Particles:
    """Known particles of one micrograph.

    Attributes
    ----------
    xy : ndarray, shape (n, 2)
        Pixels.
    visible : ndarray of bool, shape (n,)
    classes : ndarray of int, shape (n,), or None
        Counted from 1; None where nothing is told.
    angles : ndarray, shape (n, 3), or None
        rot, tilt and psi in degrees, RELION's convention; None where nothing is told.
    """

    xy: FloatArray
    visible: BoolArray
    classes: IntArray | None = None
    angles: FloatArray | None = None

    def __len__(self) -> int:
        """Count the particles, visible or not."""
        return len(self.xy)


def particles_of(
    coordinates: npt.ArrayLike, columns: Mapping[str, npt.ArrayLike] | None = None
) -> Particles:
    """Known particles from coordinates and the columns beside them.

    Parameters
    ----------
    coordinates : array_like, shape (n, 2) or more columns
        x, y in pixels first.
    columns : mapping of str to array_like, shape (n,), optional
        ``class``, ``rot``, ``tilt``, ``psi``, ``visible``, or some of them. What is of class 0
        is junk, no particle: it is left out, and a pick on it is false. Without psi it is 0.

    Returns
    -------
    Particles
    """
    known = {name: np.asarray(values, float) for name, values in (columns or {}).items()}
    table = np.asarray(coordinates, float)
    xy = table[:, :2] if table.size else np.empty((0, 2))
    kept = np.ones(len(xy), bool) if "class" not in known else known["class"] != JUNK
    classes = known["class"][kept].astype(np.int64) if "class" in known else None
    angles = None
    if "rot" in known and "tilt" in known:
        psi = known.get("psi", np.zeros(len(xy)))
        angles = np.stack([known["rot"], known["tilt"], psi], axis=1)[kept]
    visible = known.get("visible", np.ones(len(xy)))[kept] != 0
    return Particles(xy[kept], visible, classes, angles)
