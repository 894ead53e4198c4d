"""Point groups in RELION's axis conventions."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError

FloatArray = npt.NDArray[np.float64]

Z = (0.0, 0.0, 1.0)
GOLDEN = (1 + 5**0.5) / 2
# Axes that generate a group: (fold, direction). RELION's and Xmipp's settings: T has a 3-fold
# along z; O its 4-folds along x, y and z; I is I2, with 2-folds along x, y and z and a 5-fold
# in the x, z plane; I1 is I2 turned by 90 degrees about y, I3 and I4 have a 5-fold along z and
# along a direction in the x, z plane.
AXES: dict[str, tuple[tuple[int, tuple[float, float, float]], ...]] = {
    "T": ((3, Z), (2, (0.0, 2**0.5, 1.0))),
    "O": ((4, Z), (3, (1.0, 1.0, 1.0))),
    "I1": ((2, (1.0, 0.0, 0.0)), (5, (GOLDEN, 0.0, -1.0)), (3, (GOLDEN**2, 1.0, 0.0))),
    "I2": ((2, Z), (5, (1.0, 0.0, GOLDEN)), (3, (0.0, 1.0, GOLDEN**2))),
    "I3": ((5, Z), (2, (-1.0, 0.0, GOLDEN))),
    "I4": ((5, (2.0, 0.0, 1.0)), (2, (1.0, 0.0, GOLDEN))),
}
ORDER = {"T": 12, "O": 24, "I1": 60, "I2": 60, "I3": 60, "I4": 60}
SAME = 1e-6


def symmetry_matrices(name: str) -> FloatArray:
    """Rotations that map a structure of this point group onto itself.

    Parameters
    ----------
    name : str
        ``C1``, ``Cn`` (axis along z), ``Dn`` (2-fold along x), ``T``, ``O``, ``I`` (that is
        ``I2``), ``I1`` to ``I4``; the axes lie as RELION has them.

    Returns
    -------
    ndarray, shape (m, 3, 3)
        The identity first.

    Raises
    ------
    ApbcError
        If there is no such group.
    """
    group = name.strip().upper()
    group = "I2" if group == "I" else group
    if group in AXES:
        return _closed([_about(direction, fold) for fold, direction in AXES[group]], ORDER[group])
    found = re.fullmatch(r"([CD])(\d{1,3})", group)
    if not found or int(found[2]) < 1:
        raise ApbcError(
            f"there is no point group {name!r}; give C1, Cn, Dn, T, O, I, I1, I2, I3 or I4"
        )
    fold = int(found[2])
    turns = np.array([_about(Z, fold, step) for step in range(fold)])
    if found[1] == "C":
        return turns
    return np.concatenate([turns, turns @ np.diag([1.0, -1.0, -1.0])])


def _about(direction: tuple[float, float, float], fold: int, steps: int = 1) -> FloatArray:
    """Rotation by so many steps of 360/fold degrees about a direction (Rodrigues' formula)."""
    x, y, z = np.array(direction) / np.linalg.norm(direction)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = 2 * np.pi * steps / fold
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _closed(generators: list[FloatArray], order: int) -> FloatArray:
    """All products of these rotations."""
    found = [np.eye(3)]
    new = found
    while new:
        products = [known @ generator for known in new for generator in generators]
        new = []
        for matrix in products:
            if np.abs(np.array(found) - matrix).max(axis=(1, 2)).min() > SAME:
                found.append(matrix)
                new.append(matrix)
        if len(found) > order:
            raise AssertionError(f"the axes do not make a group of {order} rotations")
    return np.array(found)
