"""A balanced set of patches for a classifier of shapes, of examples found without a label.

Source: Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7
(DeepCryoPicker): patches are cut out of the prepared micrograph, as many of each class,
with quarter turns. Unlike there, whole micrographs are split into training, validation and
test part, before anything is turned. Classes: the shapes that were found, ``background``
(windows beside all that was found) and, where asked for, ``negative`` (bad examples).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree

from apbc.bootstrap.examples import SHAPES, Examples
from apbc.bootstrap.scale import DetectionScale
from apbc.bootstrap.stages import Stages
from apbc.dataset.crops import cut
from apbc.dataset.patch_store import Draws, PatchWriter
from apbc.dataset.split import NAMES, SHARES, TRAIN, split_particles
from apbc.dataset.store import Dataset
from apbc.errors import ApbcError
from apbc.models.alexnet import BACKGROUND, NEGATIVE
from apbc.preprocess.normalise import MAD_TO_SIGMA
from apbc.progress import track

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: Stages of a patch; training shows any of them, picking the last.
STAGES = ("restored", "adaptive_again", "adjusted", "opened")
BOX_DIAMETERS = 1.25  # side of a box, of round and irregular particles
BOX_FERET = 1.15  # the same of side views, in their longest Feret diameters
TURNS = 4  # an original is drawn in all quarter turns
MOST_SHIFT = 3  # pixels, of draws that repeat an original
FEWEST_OF_A_CLASS = 20
TRIED_WINDOWS = 2000  # places tried for background, of a micrograph
NORMAL_DEVIATIONS = 3.0  # background within so many of the windows' usual contrast
APART = 0.25  # windows of background from each other, in boxes
DISTANCES = (1.0, 0.75, 0.5)  # of background from what was found, in boxes: clear, then less


@dataclass(frozen=True)
class PatchOptions:
    """What decides the patches of a data set.

    Attributes
    ----------
    diameter : float
        Of the particle in Å.
    pixel_size : float
        Å per pixel of the micrographs.
    contrast : {"dark", "light"}
        Of protein in the micrographs, for the record; the stages have it dark.
    opening : {"cross", "square"}
        What the stages were made with, for the record.
    samples : int
        Draws of each class.
    negatives : tuple of str
        ``"background"``, ``"negative"`` or both: the classes that are no particles.
    seed : int
    """

    diameter: float
    pixel_size: float
    contrast: str = "dark"
    opening: str = "cross"
    samples: int = 1500
    negatives: tuple[str, ...] = (BACKGROUND,)
    seed: int = 0

    @property
    def scale(self) -> DetectionScale:
        """Scale at which the micrographs were searched."""
        return DetectionScale(self.diameter / self.pixel_size)

    @property
    def detection_pixel_size(self) -> float:
        """Å per pixel at that scale."""
        return self.pixel_size / self.scale.factor


@dataclass
class _Rows:
    """Places on micrographs while they are collected."""

    label: list[int] = field(default_factory=list)
    micrograph: list[int] = field(default_factory=list)
    coordinates: list[FloatArray] = field(default_factory=list)
    split: list[int] = field(default_factory=list)

    def add(self, label: int, micrograph: int, xy: FloatArray, split: int = TRAIN) -> None:
        """Append places of one class on one micrograph."""
        self.label += [label] * len(xy)
        self.micrograph += [micrograph] * len(xy)
        self.coordinates.append(np.asarray(xy, float).reshape(-1, 2))
        self.split += [split] * len(xy)

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Columns as arrays, named as in the file."""
        return {
            "class": np.array(self.label, np.int64),
            "micrograph": np.array(self.micrograph, np.int64),
            "coordinates": np.concatenate([np.empty((0, 2)), *self.coordinates]),
            "split": np.array(self.split, np.int64),
        }


@dataclass(frozen=True)
class _Plan:
    """What is to be cut out of which micrographs.

    Attributes
    ----------
    examples : dict of str to Examples
        By name of the micrograph.
    classes : list of str
    parts : list of int
        Split of each micrograph.
    whole : bool
        Whether whole micrographs are split; else `parts` are all 0.
    side : int
        Of the window.
    places : dict
        Columns of `_Rows`: all that may be cut out, but for background.
    chosen : ndarray of int
        Rows of `places` that are.
    """

    examples: dict[str, Examples]
    classes: list[str]
    parts: list[int]
    whole: bool
    side: int
    places: dict[str, npt.NDArray[Any]]
    chosen: IntArray


class _Shares:
    """Background of each micrograph of a part: equal shares; what one lacks the next ones give."""

    def __init__(self, parts: list[int], totals: dict[int, int]) -> None:
        self._parts = parts
        self._totals = totals
        self._got = dict.fromkeys(totals, 0)
        self._seen = dict.fromkeys(totals, 0)

    def next_wanted(self, part: int) -> int:
        """Count what the next micrograph of a part is to give."""
        self._seen[part] += 1
        due = self._totals[part] * self._seen[part] / self._parts.count(part)
        return math.ceil(due) - self._got[part]

    def note(self, part: int, n: int) -> None:
        """Count what it gave."""
        self._got[part] += n


def write_patches(
    path: Path,
    examples: Mapping[str, Examples],
    prepare: Callable[[str], Stages],
    options: PatchOptions,
) -> dict[str, Any]:
    """Add patches to the file of a data set that is not yet under its final name.

    What is cut out is chosen first, from the examples alone; then micrographs are prepared
    one at a time, those alone of which something is wanted. Parts are those of the data
    set: of its micrographs, or of single patches where it has too few micrographs.

    Parameters
    ----------
    path : Path
        Data set as `apbc.dataset.build.from_micrographs` writes it.
    examples : mapping of str to Examples
        By name of the micrograph, in pixels of the micrograph. Those of micrographs that
        the data set does not have are left out.
    prepare : callable
        Gives the stages of a micrograph at the detection scale by its name.
    options : PatchOptions

    Returns
    -------
    dict
        ``classes`` (name -> ``originals``, ``samples``, ``repeated``: draws that show an
        original more than in its four turns, mirrored and shifted), ``box`` (Å), ``side``
        (pixels), ``split_by``, ``overlapping`` (background that overlaps an example's box,
        where there was too little other), ``warnings`` (sentences).

    Raises
    ------
    ApbcError
        If no shape has enough good examples, or the disk is full.
    """
    with Dataset(path) as dataset:
        indices = {name: i for i, name in enumerate(dataset.micrograph_names) if name in examples}
        whole = dataset.split_by_micrograph
        parts = [dataset.split_of_micrograph(name) if whole else TRAIN for name in indices]
    found = {name: examples[name] for name in indices}
    classes, warnings = choose_classes(found, options.negatives)
    side = window_side(found, classes, options)
    rng = np.random.default_rng([options.seed, len(found)])
    places = _places(found, classes, parts)
    if not whole:
        places["split"] = split_particles(places["class"], options.seed)
    chosen = _choose(places, len(classes), options.samples, rng)
    plan = _Plan(found, classes, parts, whole, side, places, chosen)

    writer = PatchWriter(path, side, MOST_SHIFT, STAGES)
    try:
        patches, overlapping = _cut_all(writer, plan, prepare, options, rng)
        patches["micrograph"] = np.array(list(indices.values()))[patches["micrograph"]]
        draws, repeated = draw(
            patches["class"], patches["split"], len(classes), options.samples, rng
        )
        told = {
            name: {
                "originals": int(np.sum(patches["class"] == i)),
                "samples": int(np.sum(patches["class"][draws.row] == i)),
                "repeated": int(repeated[i]),
            }
            for i, name in enumerate(classes)
        }
        warnings += _complaints(classes, patches, told, overlapping)
        if not whole:
            warnings.append(
                f"{len(found)} micrographs are too few to be split into training, validation and "
                "test part, so that single patches are: the accuracy of the classifier is "
                "flattering"
            )
        writer.finish(
            patches,
            draws,
            {
                "classes": classes,
                "box": side * options.detection_pixel_size,
                "pixel_size": options.detection_pixel_size,
                "samples": options.samples,
                "repeated": {name: row["repeated"] for name, row in told.items()},
                "detection": {
                    "diameter": options.diameter,
                    "contrast": options.contrast,
                    "opening": options.opening,
                    "pixel_size": options.detection_pixel_size,
                    "stage": STAGES[-1],
                },
                "seed": options.seed,
            },
        )
    finally:
        writer.close()
    for warning in warnings:
        logger.warning(warning)
    return {
        "classes": told,
        "box": side * options.detection_pixel_size,
        "side": side,
        "split_by": "micrograph" if whole else "particle",
        "overlapping": overlapping,
        "warnings": warnings,
    }


def choose_classes(
    examples: Mapping[str, Examples], negatives: tuple[str, ...]
) -> tuple[list[str], list[str]]:
    """Name the classes: shapes with enough good examples, then what is no particle.

    Parameters
    ----------
    examples : mapping of str to Examples
    negatives : tuple of str
        Of `PatchOptions`.

    Returns
    -------
    classes, warnings : list of str

    Raises
    ------
    ApbcError
        If no shape has enough good examples.
    """
    counts = {
        name: sum(int(np.sum(e.good & (e.shape == i))) for e in examples.values())
        for i, name in enumerate(SHAPES)
    }
    shapes = [name for name, n in counts.items() if n >= FEWEST_OF_A_CLASS]
    warnings = [
        f"there are only {n} good examples of the shape {name}, and {FEWEST_OF_A_CLASS} are the "
        "fewest for a class of patches: it is left out"
        for name, n in counts.items()
        if 0 < n < FEWEST_OF_A_CLASS
    ]
    if not shapes:
        raise ApbcError(
            f"no shape has {FEWEST_OF_A_CLASS} good examples (found: "
            f"{', '.join(f'{n} {name}' for name, n in counts.items())}); give more micrographs, or "
            "check the particle diameter"
        )
    bad = sum(int(np.sum(~e.good)) for e in examples.values())
    if NEGATIVE in negatives and bad < FEWEST_OF_A_CLASS:
        warnings.append(f"there are only {bad} bad examples, too few for the class {NEGATIVE}")
        negatives = tuple(name for name in negatives if name != NEGATIVE) or (BACKGROUND,)
    return [*shapes, *(name for name in (BACKGROUND, NEGATIVE) if name in negatives)], warnings


def window_side(examples: Mapping[str, Examples], classes: list[str], options: PatchOptions) -> int:
    """Side of the window in pixels at the detection scale, odd; the largest class decides.

    1.25 diameters for round and irregular particles, 1.15 diagonals of the median side view's
    rectangle, which stand for its longest Feret diameter: the ratios of the paper's boxes to
    its particles.

    Parameters
    ----------
    examples : mapping of str to Examples
        By name of the micrograph, in pixels of the micrograph.
    classes : list of str
        Of which at least one is a shape; each of these has good examples.
    options : PatchOptions
    """
    diameter, factor = options.scale.diameter, options.scale.factor
    boxes = [BOX_DIAMETERS * diameter for name in classes if name in ("top", "irregular")]
    if "side" in classes:
        sizes = [e.size[e.good & (e.shape == SHAPES.index("side"))] for e in examples.values()]
        longest = np.median(np.hypot(*np.concatenate(sizes).T))  # the diagonal of a rectangle
        boxes.append(BOX_FERET * float(longest) * factor)
    return 2 * round((max(boxes) - 1) / 2) + 1


def background_places(
    image: FloatArray,
    found: FloatArray,
    side: int,
    n: int,
    rng: np.random.Generator,
) -> tuple[FloatArray, int]:
    """Windows beside all that was found, of the micrograph's usual contrast.

    Windows that overlap no box of an example come first; in a crowded field, where there
    are too few, those that overlap one, but hold no example's centre. None is nearer than
    a quarter of a box to another.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Last stage at the detection scale.
    found : ndarray, shape (k, 2)
        Centres ``x, y`` of all examples, good and bad, at that scale.
    side : int
        Of the window in pixels.
    n : int
        Windows wanted.
    rng : numpy.random.Generator

    Returns
    -------
    places : ndarray, shape (m, 2)
        Centres at that scale; at most `n`.
    overlapping : int
        How many of them overlap an example's box.
    """
    rows, columns = image.shape
    half = side // 2
    if min(rows, columns) <= side:
        return np.empty((0, 2)), 0
    xy = rng.integers((half, half), (columns - half, rows - half), (TRIED_WINDOWS, 2))
    mean, square = (
        uniform_filter(values, side)[xy[:, 1], xy[:, 0]] for values in (image, image**2)
    )
    contrast = np.sqrt(np.maximum(square - mean**2, 0))
    usual = np.median(contrast)
    spread = MAD_TO_SIGMA * np.median(np.abs(contrast - usual))
    xy = xy[np.abs(contrast - usual) <= NORMAL_DEVIATIONS * spread]
    distance = np.full(len(xy), np.inf)
    if len(found):
        distance, _ = cKDTree(found).query(xy, p=np.inf)
    chosen: list[int] = []
    # 0 for windows that overlap no box, then by how little; those past the last are too near
    tier = np.searchsorted([-limit * side for limit in DISTANCES], -distance)
    for i in np.argsort(tier, kind="stable")[: np.sum(tier < len(DISTANCES))]:
        apart = np.abs(xy[chosen] - xy[i]).max(axis=1)
        if len(chosen) < n and (apart >= APART * side).all():
            chosen.append(i)
    return xy[chosen].astype(float), int(np.sum(tier[chosen] > 0))


def draw(
    label: IntArray, split: IntArray, classes: int, samples: int, rng: np.random.Generator
) -> tuple[Draws, IntArray]:
    """Draw as many patches of every class: originals in four turns, then repeats.

    Parameters
    ----------
    label, split : ndarray of int, shape (n,)
        Class and part of each original.
    classes : int
        How many classes there are.
    samples : int
        Draws of a class; 64 % training, 16 % validation, 20 % test. A part without
        originals of a class has no draws of it.
    rng : numpy.random.Generator

    Returns
    -------
    draws : Draws
    repeated : ndarray of int, shape (classes,)
        Draws beyond the four turns of each original; they are mirrored at random and
        shifted by up to 3 pixels.
    """
    rows, turns, mirrored, shifts = [], [], [], []
    repeated = np.zeros(classes, np.int64)
    for one in range(classes):
        for part, quota in enumerate(part_quotas(samples)):
            members = np.flatnonzero((label == one) & (split == part))
            if not len(members):
                continue
            turned = np.repeat(members, TURNS)
            turn = np.tile(np.arange(TURNS), len(members))
            kept = np.sort(rng.permutation(len(turned))[:quota])
            again = quota - len(kept)
            repeated[one] += again
            more = np.resize(rng.permutation(members), again)
            rows += [turned[kept], more]
            turns += [turn[kept], rng.integers(TURNS, size=again)]
            mirrored += [np.zeros(len(kept), bool), rng.integers(2, size=again) > 0]
            shifts += [
                np.zeros((len(kept), 2), np.int64),
                rng.integers(-MOST_SHIFT, MOST_SHIFT + 1, (again, 2)),
            ]
    placed = Draws(*(np.concatenate(c) for c in (rows, turns, mirrored, shifts)))
    return placed, repeated


def part_quotas(samples: int) -> tuple[int, int, int]:
    """Draws of a class in training, validation and test part."""
    validation, test = (round(samples * share) for share in SHARES[1:])
    return samples - validation - test, validation, test


def _places(
    examples: Mapping[str, Examples], classes: list[str], parts: list[int]
) -> dict[str, npt.NDArray[Any]]:
    """Collect all that may be cut out, but for background; micrographs by their order."""
    rows = _Rows()
    for i, found in enumerate(examples.values()):
        for label, name in enumerate(classes):
            if name in SHAPES:
                mine = found.good & (found.shape == SHAPES.index(name))
            elif name == NEGATIVE:
                mine = ~found.good
            else:
                continue
            rows.add(label, i, found.positions[mine], parts[i])
    return rows.columns()


def _choose(
    places: dict[str, npt.NDArray[Any]], classes: int, samples: int, rng: np.random.Generator
) -> IntArray:
    """Choose the originals of each class and part: a quarter of the draws, or all there are."""
    chosen = [np.empty(0, np.int64)]
    for label in range(classes):
        for part, quota in enumerate(part_quotas(samples)):
            members = np.flatnonzero((places["class"] == label) & (places["split"] == part))
            chosen.append(rng.permutation(members)[: math.ceil(quota / TURNS)])
    return np.sort(np.concatenate(chosen))


def _cut_all(
    writer: PatchWriter,
    plan: _Plan,
    prepare: Callable[[str], Stages],
    options: PatchOptions,
    rng: np.random.Generator,
) -> tuple[dict[str, npt.NDArray[Any]], int]:
    """Cut chosen places and background, one micrograph at a time; columns, and what overlaps."""
    rows, overlapping, scale, places = _Rows(), 0, options.scale, plan.places
    background = plan.classes.index(BACKGROUND) if BACKGROUND in plan.classes else None
    quotas = [math.ceil(quota / TURNS) for quota in part_quotas(options.samples)]
    shares = _Shares(plan.parts, dict(enumerate(quotas)) if plan.whole else {TRAIN: sum(quotas)})
    names = list(plan.examples)
    for i, name in enumerate(track(names, len(names), "micrographs cut into patches")):
        part = plan.parts[i]
        mine = plan.chosen[places["micrograph"][plan.chosen] == i]
        wanted = shares.next_wanted(part) if background is not None else 0
        if not len(mine) and not wanted:
            continue
        stages = prepare(name)
        writer.add(_cut(stages, scale.to_working(places["coordinates"][mine]), plan.side))
        for k in mine:
            xy = places["coordinates"][k : k + 1]
            rows.add(int(places["class"][k]), i, xy, int(places["split"][k]))
        if background is not None and wanted:
            found = scale.to_working(plan.examples[name].positions)
            empty, near = background_places(stages.final, found, plan.side, wanted, rng)
            writer.add(_cut(stages, empty, plan.side))
            rows.add(background, i, scale.to_micrograph(empty), part)
            shares.note(part, len(empty))
            overlapping += near
    columns = rows.columns()
    if not plan.whole and background is not None:
        windows = columns["class"] == background
        columns["split"][windows] = split_particles(columns["class"][windows], options.seed)
    return columns, overlapping


def _cut(stages: Stages, centres: FloatArray, side: int) -> npt.NDArray[np.float32]:
    """Patches (n, stages, stored, stored) round centres at the detection scale."""
    size = side + 2 * MOST_SHIFT
    images = [np.asarray(getattr(stages, name), np.float32) for name in STAGES]
    return np.stack([cut(image, centres, size)[0] for image in images], axis=1)


def _complaints(
    classes: list[str],
    patches: dict[str, npt.NDArray[Any]],
    told: dict[str, dict[str, int]],
    overlapping: int,
) -> list[str]:
    """Sentences on what the set lacks."""
    complaints = []
    for label, name in enumerate(classes):
        mine = patches["split"][patches["class"] == label]
        lacking = [part for i, part in enumerate(NAMES) if not (mine == i).any()]
        if lacking:
            complaints.append(
                f"no patch of the class {name} is in the {' and '.join(lacking)} part; give more "
                "micrographs"
            )
        row = told[name]
        if row["repeated"]:
            complaints.append(
                f"{row['repeated']} of the {row['samples']} draws of the class {name} repeat one "
                f"of its {row['originals']} originals, mirrored and shifted; more micrographs "
                "would teach more"
            )
    if overlapping:
        complaints.append(
            f"{overlapping} windows of background overlap the box of a particle: the micrographs "
            "are too crowded for others"
        )
    return complaints
