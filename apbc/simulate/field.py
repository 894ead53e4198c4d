"""What lies in the field of view of one micrograph: particles and contamination, at random."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.simulate.contamination import Blob, Carbon, random_blobs, random_carbon
from apbc.simulate.crystals import Crystal, Ethane, random_crystals, random_ethane
from apbc.simulate.gold import Bead, random_beads
from apbc.simulate.placement import JAMMED, Places, place
from apbc.simulate.views import draw_angles

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)

SQUARE_MICROMETRE = 1e8
"""Å²."""
COVERAGE = 0.15
"""Share of the area that the discs of the particles cover where no number is given."""
SPREAD = 0.3
"""Share by which the number of particles differs among micrographs where none is given."""
ENOUGH = 0.9
"""Share of the particles asked for that must find a place."""
AGGREGATE = (6, 30)
"""Least and most particles of an aggregate."""

Thing = Blob | Carbon | Crystal | Ethane | Bead


@dataclass(frozen=True)
class Contamination:
    """How much there is of each contamination; 0 is none.

    Attributes
    ----------
    carbon : float
        Share of the micrographs that show the edge of the carbon film.
    ice_blobs, crystals, ethane, gold, aggregates : float
        Mean number per µm²: pieces of thick ice, patches of hexagonal ice, fields
        of ethane, beads, clumps of particles.
    broken : float
        Broken particles, as a share of the whole ones.
    """

    carbon: float = 0.25
    ice_blobs: float = 8.0
    crystals: float = 0.6
    ethane: float = 0.2
    gold: float = 0.0
    aggregates: float = 1.0
    broken: float = 0.05


KINDS = tuple(entry.name for entry in fields(Contamination))


def contamination(amounts: Mapping[str, float]) -> Contamination:
    """Amounts of contamination by name.

    Parameters
    ----------
    amounts : mapping of str to float
        What is not named has its default.

    Returns
    -------
    Contamination

    Raises
    ------
    ApbcError
        If a name is not known or an amount out of its range.
    """
    for name, amount in amounts.items():
        if name not in KINDS:
            raise ApbcError(f"there is no contamination {name!r}; give one of {', '.join(KINDS)}")
        if not (np.isfinite(amount) and amount >= 0):
            raise ApbcError(f"the amount of {name} must be 0 or more, not {amount}")
    for name in ("carbon", "broken"):
        if amounts.get(name, 0) > 1:
            raise ApbcError(f"the amount of {name} is a share from 0 to 1, not {amounts[name]:g}")
    return Contamination(**amounts)


@dataclass(frozen=True)
class Crowd:
    """How particles lie.

    Attributes
    ----------
    number : int or None
        Particles in the frame of a micrograph without carbon.
    density : float or None
        The same per µm². Without either a share `COVERAGE` of the area is covered.
    overlap, clusters : float
        Shares of the particles that overlap another, and that touch one.
    views : str
        Distribution of the orientations, as `apbc.simulate.views.draw_angles` takes it.
    tilt : float
        Of the specimen, degrees; the axis is random. Particles differ in height.
    height : float
        Å; particles lie at random heights within this, beside the tilt.
    """

    number: int | None = None
    density: float | None = None
    overlap: float = 0.03
    clusters: float = 0.1
    views: str = "uniform"
    tilt: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class Particles:
    """Particles of a field.

    Attributes
    ----------
    centres : ndarray, shape (n, 2)
        x, y in pixels.
    structures : ndarray of int, shape (n,)
        Index of the structure, from 0.
    angles : ndarray, shape (n, 3)
        rot, tilt, psi in degrees.
    offsets : ndarray, shape (n,)
        Underfocus beyond that of the micrograph, Å.
    """

    centres: FloatArray
    structures: IntArray
    angles: FloatArray
    offsets: FloatArray

    def __len__(self) -> int:
        """Count the particles, those beyond the border too."""
        return len(self.centres)


@dataclass(frozen=True)
class Debris:
    """A broken particle, or one of an aggregate.

    Attributes
    ----------
    x, y : float
        Pixels.
    structure : int
    angles : ndarray, shape (3,)
        rot, tilt, psi in degrees.
    cut : (float, float) or None
        Direction in rad, and distance from the centre in radii, of the line beyond
        which the particle is missing; None for a whole one.
    """

    x: float
    y: float
    structure: int
    angles: FloatArray
    cut: tuple[float, float] | None = None


@dataclass(frozen=True)
class Field:
    """Field of view.

    Attributes
    ----------
    particles : Particles
    things : list
        Carbon, ice, crystals, ethane and gold, in the order in which they are painted.
    debris : list of Debris
    """

    particles: Particles
    things: list[Thing] = field(default_factory=list)
    debris: list[Debris] = field(default_factory=list)


def check_crowd(
    crowd: Crowd,
    shape: tuple[int, int],
    pixel_size: float,
    diameters: FloatArray,
    weights: FloatArray,
) -> None:
    """Refuse a crowd that no micrograph can hold.

    Parameters
    ----------
    crowd : Crowd
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    diameters, weights : ndarray, shape (k,)
        Of the structures, Å.

    Raises
    ------
    ApbcError
        If a structure is larger than the micrograph or there are too many particles.
    """
    side = min(shape) * pixel_size
    if diameters.max() > side:
        raise ApbcError(
            f"a molecule of {diameters.max():.0f} Å is larger than a micrograph of {shape[1]} x "
            f"{shape[0]} pixels ({side:.0f} Å along its shorter side); ask for a larger --size or "
            "larger pixels"
        )
    area = shape[0] * shape[1] * pixel_size**2
    disc = float(np.pi / 4 * np.average(diameters**2, weights=weights))
    wanted = number_wanted(crowd, area, disc)
    # Discs may reach over the border by half.
    room = float(np.prod(np.array(shape) * pixel_size + np.sqrt(disc * 4 / np.pi)))
    if wanted * (1 - crowd.overlap) * disc > JAMMED * room:
        most = int(JAMMED * room / disc)
        raise ApbcError(
            f"{wanted:.0f} particles of {np.sqrt(disc * 4 / np.pi):.0f} Å do not fit on a "
            f"micrograph side by side, at most about {most} do; ask for fewer or let more of them "
            "overlap (--overlap)"
        )


def number_wanted(crowd: Crowd, area: float, disc: float) -> float:
    """Mean number of particles in the frame.

    Parameters
    ----------
    crowd : Crowd
    area, disc : float
        Of the frame and of a particle, Å².

    Returns
    -------
    float
    """
    if crowd.number is not None:
        return float(crowd.number)
    if crowd.density is not None:
        return crowd.density * area / SQUARE_MICROMETRE
    return COVERAGE * area / disc


def draw_things(
    amounts: Contamination,
    shape: tuple[int, int],
    pixel_size: float,
    stream: Callable[[str], np.random.Generator],
) -> list[Thing]:
    """Draw all contamination but debris.

    Parameters
    ----------
    amounts : Contamination
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    stream : callable
        From a name to its generator of random numbers, so that one contamination is
        where it is whether or not there is another.

    Returns
    -------
    list
    """
    area = shape[0] * shape[1] * pixel_size**2 / SQUARE_MICROMETRE
    things: list[Thing] = []
    makers: Sequence[tuple[str, float, Callable]] = (
        ("ethane", amounts.ethane, random_ethane),
        ("crystals", amounts.crystals, random_crystals),
        ("ice_blobs", amounts.ice_blobs, random_blobs),
        ("gold", amounts.gold, random_beads),
    )
    for name, density, make in makers:
        rng = stream(name)
        things.extend(make(int(rng.poisson(density * area)), shape, pixel_size, rng))
    rng = stream("carbon")
    if rng.random() < amounts.carbon:
        # Last, since thick ice hides what is there before it, and it lies on the film.
        things.append(random_carbon(shape, pixel_size, rng))
    return things


def draw_particles(
    crowd: Crowd,
    shape: tuple[int, int],
    pixel_size: float,
    diameters: FloatArray,
    weights: FloatArray,
    carbon: Carbon | None,
    rng: np.random.Generator,
) -> tuple[Particles, Places]:
    """Place particles in the frame and half a diameter beyond it, clear of the carbon.

    Parameters
    ----------
    crowd : Crowd
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    diameters, weights : ndarray, shape (k,)
        Of the structures; Å.
    carbon : Carbon or None
    rng : numpy.random.Generator

    Returns
    -------
    particles : Particles
    places : Places
        Their discs, pixels.

    Raises
    ------
    ApbcError
        If a number was asked for and many particles find no place.
    """
    rows, columns = shape
    sizes = diameters / pixel_size
    hole = 1.0
    if carbon:
        y, x = np.mgrid[: rows : max(1, rows // 64), : columns : max(1, columns // 64)]
        hole = float(np.mean(carbon.depth(x, y) < -sizes.mean() / 2))
    area = rows * columns * pixel_size**2
    disc = float(np.pi / 4 * np.average(diameters**2, weights=weights))
    wanted = number_wanted(crowd, area, disc) * hole
    if crowd.number is None and crowd.density is None:
        wanted *= rng.uniform(1 - SPREAD, 1 + SPREAD)
    count = round(wanted)
    margin = float(sizes.max()) / 2
    ring = (rows + 2 * margin) * (columns + 2 * margin) / (rows * columns) - 1
    beyond = round(wanted * ring)
    shares = weights / weights.sum()
    structures = rng.choice(len(sizes), size=count + beyond, p=shares)

    def in_hole(x: float, y: float, size: float) -> bool:
        return carbon is None or bool(carbon.depth(x, y) < -size / 2)

    def outside(x: float, y: float, size: float) -> bool:
        beyond_frame = not (0 <= x <= columns - 1 and 0 <= y <= rows - 1)
        return beyond_frame and in_hole(x, y, size)

    places = Places(float(sizes.max()))
    inside = place(
        places,
        sizes[structures[:count]],
        (0, columns - 1, 0, rows - 1),
        in_hole,
        crowd.overlap,
        crowd.clusters,
        rng,
    )
    if crowd.number is not None and len(inside) < ENOUGH * count:
        raise ApbcError(
            f"only {len(inside)} of {count} particles found a place on a micrograph; ask for fewer "
            "or let more of them overlap (--overlap)"
        )
    if len(inside) < count:
        logger.warning("%d of %d particles found a place on a micrograph", len(inside), count)
    around = count + place(
        places,
        sizes[structures[count:]],
        (-margin, columns - 1 + margin, -margin, rows - 1 + margin),
        outside,
        0.0,
        0.0,
        rng,
    )
    centres = np.array(places.points).reshape(-1, 2)
    kept = structures[np.concatenate([inside, around])]
    angles = draw_angles(len(kept), crowd.views, rng)
    return Particles(centres, kept, angles, heights(centres, crowd, shape, pixel_size, rng)), places


def heights(
    centres: FloatArray,
    crowd: Crowd,
    shape: tuple[int, int],
    pixel_size: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Underfocus of particles beyond that of the middle of the micrograph.

    Parameters
    ----------
    centres : ndarray, shape (n, 2)
        x, y in pixels.
    crowd : Crowd
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n,)
        Å.
    """
    axis = rng.uniform(0, 2 * np.pi)
    across = (centres - (shape[1] / 2, shape[0] / 2)) @ np.array([-np.sin(axis), np.cos(axis)])
    wedge: FloatArray = across * pixel_size * np.tan(np.deg2rad(crowd.tilt))
    return wedge + crowd.height * rng.uniform(-0.5, 0.5, len(centres))


def draw_debris(
    amounts: Contamination,
    particles: Particles,
    places: Places,
    shape: tuple[int, int],
    pixel_size: float,
    diameters: FloatArray,
    carbon: Carbon | None,
    stream: Callable[[str], np.random.Generator],
) -> list[Debris]:
    """Broken particles beside the whole ones, and aggregates anywhere in the hole.

    Parameters
    ----------
    amounts : Contamination
    particles : Particles
    places : Places
        Of the particles; broken ones are added.
    shape : (int, int)
        Rows and columns.
    pixel_size : float
        Å.
    diameters : ndarray, shape (k,)
        Of the structures, Å.
    carbon : Carbon or None
    stream : callable
        As for `draw_things`.

    Returns
    -------
    list of Debris
    """
    rows, columns = shape
    sizes = diameters / pixel_size
    debris = []

    def in_hole(x: float, y: float, size: float) -> bool:
        return carbon is None or bool(carbon.depth(x, y) < -size / 2)

    rng = stream("broken")
    frame = (0.0, columns - 1.0, 0.0, rows - 1.0)
    count = rng.poisson(amounts.broken * len(particles))
    kinds = rng.integers(len(sizes), size=count)
    start = len(places)
    found = place(places, 0.7 * sizes[kinds], frame, in_hole, 0.0, 0.0, rng)
    for index, (x, y) in zip(found, places.points[start:], strict=True):
        cut = (rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.15))
        debris.append(Debris(x, y, int(kinds[index]), draw_angles(1, "uniform", rng)[0], cut))

    rng = stream("aggregates")
    area = rows * columns * pixel_size**2 / SQUARE_MICROMETRE
    for _ in range(rng.poisson(amounts.aggregates * area)):
        for _ in range(20):
            x, y = rng.uniform(0, columns), rng.uniform(0, rows)
            if in_hole(x, y, 2 * sizes.mean()):
                debris.extend(random_aggregate(x, y, sizes, rng))
                break
    return debris


def random_aggregate(
    x: float, y: float, sizes: FloatArray, rng: np.random.Generator
) -> list[Debris]:
    """Particles and pieces of them that stick together without order.

    Parameters
    ----------
    x, y : float
        Where it begins, pixels.
    sizes : ndarray, shape (k,)
        Diameters of the structures, pixels.
    rng : numpy.random.Generator

    Returns
    -------
    list of Debris
    """
    clump: list[Debris] = []
    for _ in range(int(rng.integers(*AGGREGATE))):
        kind = int(rng.integers(len(sizes)))
        if clump:
            near = clump[int(rng.integers(len(clump)))]
            angle, step = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6) * sizes[kind]
            x, y = near.x + step * np.cos(angle), near.y + step * np.sin(angle)
        cut = (rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.4)) if rng.random() < 0.5 else None
        clump.append(Debris(x, y, kind, draw_angles(1, "uniform", rng)[0], cut))
    return clump
