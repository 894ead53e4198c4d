"""Molecules made by a procedure, of different shape and symmetry, for simulations without files.

Each is a set of lobes (balls of residues, as dense as protein) repeated by its point group, so
the symmetry is exact. Places of the residues come from a seed; conformations of one molecule
(`hinge`, `antibody`) share them, and their fixed part stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.simulate.molecule import APICAL, EQUATORIAL, Molecule, ball

FloatArray = npt.NDArray[np.float64]

BLUR = 1.8
"""Standard deviation in Å of the Gaussian that a residue is: the spread of its atoms."""

STANDING = 50.0
"""Degrees by which the arm of the hinge leans over the body at an angle of 0."""

# Lobes: radius, then centre x, y, z (Å).
Lobe = tuple[float, float, float, float]


@dataclass(frozen=True)
class BuiltIn:
    """A molecule that can be asked for by name.

    Attributes
    ----------
    summary : str
        One line for the help.
    symmetry : str
        Point group, with RELION's axes.
    make : callable
        Positions (n, 3) in Å of the residues of one asymmetric unit, of a generator of random
        numbers and the angle in degrees.
    angle : float or None
        Default of the number after the colon; None where the molecule takes none.
    """

    summary: str
    symmetry: str
    make: Callable[[np.random.Generator, float], FloatArray]
    angle: float | None = None


def _lobes(lobes: list[Lobe], rng: np.random.Generator) -> FloatArray:
    return np.concatenate([ball(radius, np.array(place), rng) for radius, *place in lobes])


def _about(axis: str, degrees: float) -> FloatArray:
    """Rotation about an axis, counter-clockwise seen from its tip."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    if axis == "y":
        return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _hinge(rng: np.random.Generator, angle: float) -> FloatArray:
    body = _lobes([(28, 0, 0, -20), (21, 30, 10, -6), (19, -26, -12, -2), (16, -8, 30, -24)], rng)
    # The arm stands on the hinge and bends about the y axis through it: from -15 degrees, where
    # it lies against the body, to 55, where it stands up.
    arm = _lobes([(14, 0, 0, 12), (18, 2, 4, 36), (14, -4, -8, 58), (11, 10, 6, 72)], rng)
    hinge = np.array([-14.0, 0.0, 4.0])
    return np.concatenate([body, hinge + arm @ _about("y", STANDING - angle).T])


def _barrel(rng: np.random.Generator, _: float) -> FloatArray:
    lobes: list[Lobe] = []
    for side, twist in ((1, 0.0), (-1, np.pi / 7)):
        for radius, distance, height in (EQUATORIAL, APICAL):
            x, y = distance * np.cos(side * twist), distance * np.sin(side * twist)
            lobes.append((radius, x, y, side * height))
    # A lid on one ring, so that its two ends differ.
    lobes.append((11, 22, 6, 70))
    return _lobes(lobes, rng)


def _tetramer(rng: np.random.Generator, _: float) -> FloatArray:
    return _lobes([(22, 26, 18, 24), (16, 56, 22, 12), (13, 34, 44, 34), (10, 62, 6, 30)], rng)


def _channel(rng: np.random.Generator, _: float) -> FloatArray:
    lobes: list[Lobe] = [(8, 17, 3, z) for z in (-24, -12, 0, 12, 24)]
    lobes += [(8, 31, 9, z) for z in (-20, -8, 4, 16)]
    return _lobes([*lobes, (18, 32, -6, 48), (12, 44, 16, 66)], rng)


def _cage(rng: np.random.Generator, _: float) -> FloatArray:
    return _lobes([(17, 34, 14, 38), (12, 54, 4, 30)], rng)


def _capsid(rng: np.random.Generator, _: float) -> FloatArray:
    return _lobes([(21, 30, 22, 112), (14, 18, 32, 128)], rng)


def _globule(rng: np.random.Generator, _: float) -> FloatArray:
    return _lobes([(19, 0, 0, 0), (14, 19, 6, -8), (12, -12, 15, 12)], rng)


def _antibody(rng: np.random.Generator, angle: float) -> FloatArray:
    def domains() -> FloatArray:
        return _lobes(
            [
                (15.5, 10, 0, 20),
                (15.5, -10, 3, 22),
                (15.5, 11, 4, 52),
                (14.5, -11, -4, 54),
                (7, 0, 12, 66),
            ],
            rng,
        )

    # Fc points down; two Fab go up and out, one of them turned about its own axis by the angle.
    stem, fixed, moving = domains(), domains(), domains()
    stem = stem @ np.diag([1.0, -1.0, -1.0])
    fixed = fixed @ _about("y", 60).T
    tilted = moving + np.array([14.0, 0.0, 0.0])
    moving = tilted @ _about("z", angle).T @ _about("y", -60).T
    return np.concatenate([stem, fixed, moving])


MOLECULES: dict[str, BuiltIn] = {
    "hinge": BuiltIn("190 kDa, body and an arm that opens by ANGLE degrees", "C1", _hinge, 20.0),
    "antibody": BuiltIn(
        "150 kDa, Y of three arms, one turned about itself by ANGLE degrees", "C1", _antibody, 0.0
    ),
    "globule": BuiltIn("39 kDa, small and compact", "C1", _globule),
    "tetramer": BuiltIn("four-part enzyme", "D2", _tetramer),
    "channel": BuiltIn("channel with a pore and a cytoplasmic ring", "C4", _channel),
    "barrel": BuiltIn("double ring with a lid, like a chaperonin", "C7", _barrel),
    "cage": BuiltIn("hollow cage of twelve subunits", "T", _cage),
    "capsid": BuiltIn("hollow shell of sixty subunits", "I", _capsid),
}
"""By name; see `builtin_molecule` for the forms a name may take."""

ALIASES = {"hinge-closed": "hinge:-15", "hinge-open": "hinge:55"}
"""Names for conformations; the two states of the default simulation."""

DEFAULT = ("hinge-closed", "hinge-open")


def describe() -> str:
    """Names of the built-in molecules for a help text, one a line."""
    lines = []
    for name, molecule in MOLECULES.items():
        form = f"{name}:ANGLE" if molecule.angle is not None else name
        lines.append(f"  {form:<16} {molecule.summary} ({molecule.symmetry})")
    for alias, name in ALIASES.items():
        lines.append(f"  {alias:<16} {name}")
    return "\n".join(lines)


def builtin_molecule(name: str, seed: int = 0) -> tuple[Molecule, str]:
    """Make one of the built-in molecules.

    Parameters
    ----------
    name : str
        A key of `MOLECULES` or `ALIASES`, or ``hinge:ANGLE`` and ``antibody:ANGLE`` in degrees.
    seed : int, optional
        Places of the residues in their lobes.

    Returns
    -------
    molecule : Molecule
        Its origin is the centre of its symmetry, of `hinge` and `antibody` that of the fixed
        part, so that conformations lie on one another.
    symmetry : str
        Point group.

    Raises
    ------
    ApbcError
        If there is no molecule of that name.
    """
    # Here, so that the help of the command does not import all metrics.
    from apbc.metrics.symmetry import symmetry_matrices

    kind, colon, number = ALIASES.get(name, name).partition(":")
    known = MOLECULES.get(kind)
    if known is None or (colon and known.angle is None):
        names = ", ".join([*MOLECULES, *ALIASES])
        raise ApbcError(
            f"there is no built-in molecule {name!r}; give one of {names} (hinge and antibody "
            "also with an angle, such as antibody:90)"
        )
    angle = known.angle or 0.0
    if colon:
        try:
            angle = float(number)
        except ValueError as error:
            raise ApbcError(
                f"the angle of the built-in molecule {name!r} is no number; write {kind}:90"
            ) from error
        if not np.isfinite(angle):
            raise ApbcError(f"the angle of {name!r} is not finite; write {kind}:90")
    unit = known.make(np.random.default_rng(seed), angle)
    operators = symmetry_matrices(known.symmetry)
    # einsum: the same bits with any number of BLAS threads.
    positions = np.einsum("kij,nj->kni", operators, unit).reshape(-1, 3)
    if known.symmetry != "C1":
        positions -= positions.mean(axis=0)
    return Molecule(positions, blur=BLUR), known.symmetry
