"""Classes of views: equal shares of all directions from which a particle can be seen.

The direction of a view comes from rot and tilt; psi turns the picture in its plane. A view and
the one from the other side show the same picture, mirrored, so that half a sphere holds all. It
is cut into a cap round the pole (small tilt) and bands round the cap, each band into sectors of
rot, so that all 17 parts have the same area: particles that lie in the ice at random fill them
evenly. A symmetric particle shows one view in several of the parts, which does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Limits = Tuple[float, float]

SECTORS = (1, 6, 10)  # of each band, from the pole; parts about 37 degrees wide
TURN = 360.0


@dataclass(frozen=True)
class View:
    """One class of views.

    Attributes
    ----------
    tilt, rot : (float, float)
        Where the class begins and ends, degrees; tilt from 0 to 90, rot from 0 to 360.
    """

    tilt: Limits
    rot: Limits

    @property
    def name(self) -> str:
        """Name in words: ``tilt 20-54, rot 60-120``."""
        tilt = f"tilt {self.tilt[0]:.0f}-{self.tilt[1]:.0f}"
        if self.rot == (0.0, TURN):
            return tilt
        return f"{tilt}, rot {self.rot[0]:.0f}-{self.rot[1]:.0f}"


def _make_views() -> list[View]:
    """Cut half a sphere, from the pole down."""
    total, before, views = sum(SECTORS), 0, []
    for count in SECTORS:
        # The area of a cap is proportional to 1 - cos(tilt).
        limits = 1 - np.array([before, before + count]) / total
        begin, end = np.rad2deg(np.arccos(limits))
        edges = np.linspace(0, TURN, count + 1)
        for k in range(count):
            views.append(View((float(begin), float(end)), (float(edges[k]), float(edges[k + 1]))))
        before += count
    return views


VIEWS = _make_views()


def folded(angles: npt.ArrayLike) -> FloatArray:
    """Rot and tilt of the same views with tilt of at most 90 degrees.

    Parameters
    ----------
    angles : array_like, shape (n, 2) or more columns
        rot and tilt in degrees, of any turn.

    Returns
    -------
    ndarray, shape (n, 2)
        rot from 0 to below 360, tilt from 0 to 90. On the rim, where both sides of a view
        have a tilt of 90, rot is below 180.
    """
    rot, tilt = np.deg2rad(np.asarray(angles, float)[:, :2]).T
    # The third row of RELION's Euler matrix: the direction along which is projected.
    direction = np.stack([np.sin(tilt) * np.cos(rot), np.sin(tilt) * np.sin(rot), np.cos(tilt)])
    direction[np.abs(direction) < 1e-9] = 0.0
    x, y, z = direction
    below = (z < 0) | ((z == 0) & ((y < 0) | ((y == 0) & (x < 0))))
    x, y, z = np.where(below, -direction, direction)
    return np.stack(
        [np.rad2deg(np.arctan2(y, x)) % TURN, np.rad2deg(np.arccos(np.clip(z, -1, 1)))], axis=1
    )


def view_classes(angles: npt.ArrayLike) -> IntArray:
    """Sort poses into the classes of views.

    Parameters
    ----------
    angles : array_like, shape (n, 2) or more columns
        rot and tilt in degrees.

    Returns
    -------
    ndarray of int, shape (n,)
        Index into `VIEWS`.
    """
    rot, tilt = folded(angles).T
    limits = np.cumsum(SECTORS) / sum(SECTORS)
    # A tilt of 90 lies on the last limit, and belongs to the last band.
    band = np.searchsorted(limits[:-1], 1 - np.cos(np.deg2rad(tilt)), side="right")
    counts = np.array(SECTORS)[band]
    sector = np.minimum((rot / TURN * counts).astype(np.int64), counts - 1)
    before = np.concatenate([[0], np.cumsum(SECTORS)[:-1]])
    return before[band] + sector
