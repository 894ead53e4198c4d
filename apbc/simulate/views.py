"""Directions from which simulated particles are seen, and errors of what is told of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation
from scipy.special import erf, erfinv

from apbc.errors import ApbcError
from apbc.geometry import euler_to_matrix, matrix_to_euler

FloatArray = npt.NDArray[np.float64]

KINDS = ("uniform", "preferred", "side")
DEFAULT_KAPPA = 10.0


def parse_views(text: str) -> tuple[str, float]:
    """Take apart ``uniform``, ``preferred[:KAPPA]`` or ``side[:KAPPA]``.

    Parameters
    ----------
    text : str

    Returns
    -------
    kind : str
        One of `KINDS`.
    kappa : float
        Concentration; 10 where none is told.

    Raises
    ------
    ApbcError
        If it is none of them.
    """
    kind, colon, number = text.partition(":")
    try:
        kappa = float(number) if colon else DEFAULT_KAPPA
    except ValueError:
        kappa = -1.0
    if kind not in KINDS or (colon and kind == "uniform") or not (0 < kappa < np.inf):
        raise ApbcError(
            f"there are no views {text!r}; give uniform, preferred:KAPPA or side:KAPPA with a "
            "concentration above 0, such as preferred:10"
        )
    return kind, kappa


def draw_angles(count: int, views: str, rng: np.random.Generator) -> FloatArray:
    """Draw orientations.

    Parameters
    ----------
    count : int
    views : str
        ``uniform``: all of SO(3) alike. ``preferred:KAPPA``: directions of view about the z axis
        of the volume, by a von Mises-Fisher distribution (Fisher, Proc. R. Soc. A 217:295,
        1953). ``side:KAPPA``: about its equator, with a density ``exp(-KAPPA cos²(tilt))``
        (Watson, Biometrika 52:193, 1965).
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (count, 3)
        rot, tilt, psi in degrees, RELION's.

    Raises
    ------
    ApbcError
        If there are no such views.
    """
    kind, kappa = parse_views(views)
    rot, level, psi = (
        rng.uniform(-180, 180, count),
        rng.random(count),
        rng.uniform(-180, 180, count),
    )
    if kind == "uniform":
        cosine = 2 * level - 1
    elif kind == "preferred":
        cosine = 1 + np.log(level + (1 - level) * np.exp(-2 * kappa)) / kappa
    else:
        root = np.sqrt(kappa)
        cosine = erfinv((2 * level - 1) * erf(root)) / root
    tilt = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    return np.stack([rot, tilt, psi], axis=1)


def disturb_angles(angles: FloatArray, degrees: float, rng: np.random.Generator) -> FloatArray:
    """Turn orientations by a random error.

    Parameters
    ----------
    angles : ndarray, shape (n, 3)
        rot, tilt, psi in degrees.
    degrees : float
        Standard deviation of the angle of the turn, about an axis of random direction.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, 3)
    """
    if not degrees:
        return angles
    axes = rng.standard_normal((len(angles), 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    turns = axes * rng.normal(0, degrees, (len(angles), 1))
    errors = Rotation.from_rotvec(turns, degrees=True).as_matrix()
    return matrix_to_euler(np.einsum("nij,njk->nik", errors, euler_to_matrix(angles)))
