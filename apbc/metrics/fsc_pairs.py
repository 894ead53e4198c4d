"""Many volumes, each with its ground truth: Fourier shell correlations and what sums them up.

A volume and the reference that it is compared with are one object, from the table
to the figures, so that an order of files can never decide which truth belongs to
which volume.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.io.tables import read_table
from apbc.io.volumes import Volume, check_same_grid, open_volume, read_volume, write_volume
from apbc.metrics.align import SMALLEST_BOX, Alignment, align_volume, apply_alignment
from apbc.metrics.fsc import THRESHOLDS, FscCurve, Resolution, VolumeTransform, shell_correlation
from apbc.metrics.mask import difference_mask, read_mask
from apbc.progress import track

logger = logging.getLogger(__name__)

FloatVolume = npt.NDArray[np.float32]

KINDS = ("conformation", "image")
NOTHING_IN_COMMON = 0.12
"""Area under the curve, as a share of the largest, below which volumes seem not to overlap.

Unaligned maps of one molecule share their lowest shells only, 0.04 to 0.09 of the area."""
GOOD, UNALIGNED, UNLIKE = "ok", "may not be aligned", "unlike its reference when aligned"
EMPTY = "empty"
BEYOND, NEVER = 0.0, float("inf")


@dataclass(frozen=True)
class Pair:
    """A volume and the ground truth that it is compared with.

    Attributes
    ----------
    volume, reference : Path
    label : str
        Class of the reference; by default the reference itself is the class.
    image : str
        The image that the volume was decoded for; may be empty.
    weight : float
        Images that the pair stands for.
    """

    volume: Path
    reference: Path
    label: str
    image: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """What is to be measured.

    Attributes
    ----------
    rule : {"nearest", "cryobench"}
        How shells are drawn, see `apbc.metrics.fsc`.
    mask : Path or None
        Multiplied with both volumes.
    align : bool
        Bring every volume onto its reference first.
    mirror : bool
        Try the other hand, too, when aligning.
    local : bool
        Measure also where the references differ.
    pixel_size : float or None
        Å per voxel; goes before the headers'.
    aligned_folder : Path or None
        Where aligned volumes are written.
    """

    rule: str = "nearest"
    mask: Path | None = None
    align: bool = False
    mirror: bool = False
    local: bool = False
    pixel_size: float | None = None
    aligned_folder: Path | None = None


@dataclass(frozen=True)
class Measurement:
    """What was found for one pair.

    Attributes
    ----------
    pair : Pair
    curve : FscCurve
        After alignment, if that was asked for.
    auc_cryobench : float
        Area as CryoBench computes it, whatever the rule.
    unaligned : FscCurve or None
        Before alignment.
    alignment : Alignment or None
    local : FscCurve or None
        Within the mask of the moving part.
    status : str
    aligned_file : Path or None
    """

    pair: Pair
    curve: FscCurve
    auc_cryobench: float
    unaligned: FscCurve | None = None
    alignment: Alignment | None = None
    local: FscCurve | None = None
    status: str = GOOD
    aligned_file: Path | None = None


def read_pairs(path: str | Path) -> list[Pair]:
    """Read a table of pairs.

    Parameters
    ----------
    path : str or Path
        CSV with the columns ``volume`` and ``reference``, and perhaps ``class``,
        ``image`` and ``weight``. Paths are relative to its folder, or absolute.

    Returns
    -------
    list of Pair

    Raises
    ------
    ApbcError
        If a column or a partner is missing, or a weight is not above 0.
    """
    table = read_table(path)
    folder = table.path.parent
    volumes, references = table.text("volume"), table.text("reference")
    images = table.text("image") if "image" in table else [""] * len(table)
    labels = table.text("class") if "class" in table else references
    weights = table.numbers("weight")[:, 0] if "weight" in table else np.ones(len(table))
    if (weights <= 0).any():
        row = int(np.argmax(weights <= 0))
        raise ApbcError(
            f"row {row + 1} of {path} has a weight of {weights[row]:g}; it is the number of images "
            "that the row stands for, above 0"
        )
    for row, (volume, reference) in enumerate(zip(volumes, references, strict=True), start=1):
        if not (volume and reference):
            lost, told = ("reference", volume) if volume else ("volume", reference)
            raise ApbcError(
                f"row {row} of {path} ({told or 'empty'}) has no {lost}; give both, or take the "
                "row out"
            )
    return [
        Pair(folder / volume, folder / reference, label or reference, image, float(weight))
        for volume, reference, label, image, weight in zip(
            volumes, references, labels, images, weights, strict=True
        )
    ]


def pairs_by_order(volumes: Sequence[Path], references: Sequence[Path]) -> list[Pair]:
    """Pair volumes with references by their order.

    Parameters
    ----------
    volumes, references : sequence of Path

    Returns
    -------
    list of Pair

    Raises
    ------
    ApbcError
        If they are not as many; those without a partner are named.
    """
    if len(volumes) != len(references):
        shorter = min(len(volumes), len(references))
        alone = [*volumes[shorter:], *references[shorter:]]
        raise ApbcError(
            f"{len(volumes)} volumes and {len(references)} references cannot be paired: "
            f"{', '.join(map(str, alone[:3]))}{', ...' if len(alone) > 3 else ''} "
            f"{'has' if len(alone) == 1 else 'have'} no partner; give as many, or a table of pairs"
        )
    return [Pair(v, r, r.stem) for v, r in zip(volumes, references, strict=True)]


def stratified_choice(
    classes: Sequence[object], count: int, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Choose images by chance, of each class in proportion to its size.

    Every class gets one image at least, when there are as many as classes.

    Parameters
    ----------
    classes : sequence
        Class of each image.
    count : int
        Images to choose; all of them when there are fewer.
    seed : int, optional

    Returns
    -------
    ndarray of int, shape (min(count, n),)
        Rows, from 0, ascending.

    Raises
    ------
    ValueError
        If `count` is not above 0 or there is no image.
    """
    if count < 1 or not len(classes):
        raise ValueError(f"{count} of {len(classes)} images cannot be chosen")
    rng = np.random.default_rng(seed)
    names, label = np.unique(np.asarray(classes), return_inverse=True)
    sizes = np.bincount(label)
    count = min(count, len(label))
    share = sizes * count / len(label)
    least = 1 if count >= len(names) else 0
    quota = np.maximum(np.floor(share), least).astype(int)
    # What is left goes where most is missing; what is too much comes from where most is over.
    # Chance decides between classes that are alike.
    lot = rng.permutation(len(names))
    while quota.sum() < count:
        missing = np.where(quota < sizes, share - quota, -np.inf)
        quota[max(lot, key=lambda c: missing[c])] += 1
    while quota.sum() > count:
        over = np.where(quota > least, quota - share, -np.inf)
        quota[max(lot, key=lambda c: over[c])] -= 1
    chosen = [
        rng.choice(np.flatnonzero(label == c), quota[c], replace=False) for c in range(len(names))
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def choose_pairs(pairs: Sequence[Pair], count: int, seed: int = 0) -> list[Pair]:
    """Choose pairs by chance, of each class in proportion to its number.

    Parameters
    ----------
    pairs : sequence of Pair
        One an image.
    count : int
        Pairs to choose; all of them when there are fewer.
    seed : int, optional

    Returns
    -------
    list of Pair
        In their order. Together those of a class weigh what all of its pairs weighed, so that
        means with weights stay those of all images.

    Raises
    ------
    ApbcError
        If `count` is not above 0.
    """
    if count < 1:
        raise ApbcError(f"--images {count} leaves nothing to measure; give 1 or more")
    chosen = [pairs[row] for row in stratified_choice([p.label for p in pairs], count, seed)]
    before, after = _weight_of_classes(pairs), _weight_of_classes(chosen)
    return [
        replace(pair, weight=pair.weight * before[pair.label] / after[pair.label])
        for pair in chosen
    ]


def _weight_of_classes(pairs: Sequence[Pair]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for pair in pairs:
        weights[pair.label] = weights.get(pair.label, 0.0) + pair.weight
    return weights


def measure_pairs(pairs: Sequence[Pair], comparison: Comparison) -> list[Measurement]:
    """Compare every volume with its reference.

    A pair that occurs several times is measured once. One reference and one volume
    are in memory at a time.

    Parameters
    ----------
    pairs : sequence of Pair
    comparison : Comparison

    Returns
    -------
    list of Measurement
        In the order of `pairs`.

    Raises
    ------
    ApbcError
        If there is no pair, a file is missing or no volume, or volumes of a pair are
        not on one grid; before anything is measured.
    """
    if not pairs:
        raise ApbcError("there is no pair of volume and reference; give one at least")
    pixel_size = comparison.pixel_size
    if pixel_size is not None and not pixel_size > 0:
        raise ApbcError(f"--pixel-size {pixel_size:g} is not a size; give Å above 0")
    first = replace(open_volume(pairs[0].reference, pixel_size), name=str(pairs[0].reference))
    # One after the other: files that stay open may be too many.
    for path in dict.fromkeys(path for pair in pairs for path in (pair.reference, pair.volume)):
        check_same_grid([first, replace(open_volume(path, pixel_size), name=str(path))])
    if first.box_size < SMALLEST_BOX:
        raise ApbcError(
            f"{first.name} has a box of {first.box_size} voxels, which is too small to compare; "
            f"give volumes of {SMALLEST_BOX} or more"
        )
    references = list(dict.fromkeys(pair.reference for pair in pairs))
    mask = None if comparison.mask is None else read_mask(comparison.mask, first)
    local = None
    if comparison.local:
        local = difference_mask(read_volume(path, pixel_size) for path in references)
        local = local if mask is None else local * mask
    wanted = {(pair.reference, pair.volume): pair for pair in pairs}
    in_order = sorted(wanted.values(), key=lambda pair: references.index(pair.reference))
    found = {
        (one.pair.reference, one.pair.volume): one
        for one in track(_measure(in_order, comparison, mask, local), len(in_order), "volumes")
    }
    measured = [replace(found[pair.reference, pair.volume], pair=pair) for pair in pairs]
    _warn(measured)
    return measured


def _measure(
    pairs: Sequence[Pair],
    comparison: Comparison,
    mask: FloatVolume | None,
    local: FloatVolume | None,
) -> Iterator[Measurement]:
    """Measure pairs that come ordered by their reference."""
    masks = [mask] if local is None else [mask, local]
    path: Path | None = None
    names: set[str] = set()
    for pair in pairs:
        if pair.reference != path:
            path = pair.reference
            reference = read_volume(path, comparison.pixel_size)
            truths = [VolumeTransform(reference.data, m) for m in masks]
        volume = read_volume(pair.volume, comparison.pixel_size)
        unaligned, alignment, file = None, None, None
        if comparison.align:
            unaligned = _curve(VolumeTransform(volume.data, mask), truths[0], reference, comparison)
            alignment = align_volume(volume.data, reference.data, comparison.mirror)
            volume = replace(volume, data=apply_alignment(volume.data, alignment))
            if comparison.aligned_folder is not None:
                file = comparison.aligned_folder / _new_name(pair, names)
                write_volume(file, volume.data, volume.pixel_size)
        transforms = [VolumeTransform(volume.data, m) for m in masks]
        curve = _curve(transforms[0], truths[0], reference, comparison)
        cryobench = _curve(transforms[0], truths[0], reference, Comparison(rule="cryobench"))
        status = GOOD
        if not volume.data.any():
            status = EMPTY
        elif curve.auc_over_ceiling < NOTHING_IN_COMMON:
            status = UNLIKE if comparison.align else UNALIGNED
        yield Measurement(
            pair,
            curve,
            cryobench.auc,
            unaligned,
            alignment,
            None if local is None else _curve(transforms[1], truths[1], reference, comparison),
            status,
            file,
        )


def _curve(
    volume: VolumeTransform, truth: VolumeTransform, reference: Volume, comparison: Comparison
) -> FscCurve:
    values = shell_correlation(volume, truth, comparison.rule)
    return FscCurve(values, reference.box_size, reference.pixel_size, comparison.rule)


def _new_name(pair: Pair, taken: set[str]) -> str:
    """File name of an aligned volume, that of the volume made unique."""
    name, number = pair.volume.stem, 1
    while name in taken:
        number += 1
        name = f"{pair.volume.stem}_{number}"
    taken.add(name)
    return f"{name}.mrc"


def _warn(measured: Sequence[Measurement]) -> None:
    """Tell of volumes that have nothing in common with their references."""
    for status, advice in (
        (UNALIGNED, "they may not be aligned with it; --align brings them onto it"),
        (UNLIKE, "aligning did not help; look whether the pairs are right"),
        (EMPTY, "they are 0 everywhere, as the map of a class that lost all its images"),
    ):
        names = list(dict.fromkeys(str(m.pair.volume) for m in measured if m.status == status))
        if names:
            logger.warning(
                "%d of %d volumes have an FSC of about 0 with their reference (%s%s): %s",
                len(names),
                len({m.pair.volume for m in measured}),
                ", ".join(names[:3]),
                ", ..." if len(names) > 3 else "",
                advice,
            )


def summarise(measured: Sequence[Measurement], kind: str) -> dict[str, float | None]:
    """Figures of all pairs.

    Parameters
    ----------
    measured : sequence of Measurement
    kind : {"conformation", "image"}
        For images, means are also taken with the weights of the pairs (of all images)
        and over classes (each counts alike).

    Returns
    -------
    dict of str to float or None
        Areas are in cycles per pixel but for those that say otherwise. Standard
        deviations are those of a sample, null for one pair; CryoBench divides by n.
    """
    curves = [m.curve for m in measured]
    compat = curves[0].rule == "cryobench"
    figures: dict[str, float | None] = {
        "pairs": len(measured),
        "volumes": len({m.pair.volume for m in measured}),
        "classes": len({m.pair.label for m in measured}),
        "auc_ceiling": curves[0].ceiling,
        "perhaps_not_aligned": sum(m.status in (UNALIGNED, UNLIKE) for m in measured),
    }
    columns = {
        "auc": [c.auc for c in curves],
        "auc_over_ceiling": [c.auc_over_ceiling for c in curves],
        "auc_per_angstrom": [c.auc_per_angstrom for c in curves],
        "auc_cryobench": [m.auc_cryobench for m in measured],
        "auc_unaligned": [m.unaligned.auc for m in measured if m.unaligned],
        "auc_local": [m.local.auc for m in measured if m.local],
        "auc_local_over_ceiling": [m.local.auc_over_ceiling for m in measured if m.local],
    }
    for name, values in columns.items():
        if values:
            figures[f"{name}_mean"] = float(np.mean(values))
            figures[f"{name}_sd"] = _spread(values, compat or name == "auc_cryobench")
            figures[f"{name}_median"] = float(np.median(values))
    if kind == "image":
        weights = np.array([m.pair.weight for m in measured])
        for name in ("auc", "auc_over_ceiling"):
            areas = np.array(columns[name])
            figures[f"{name}_image_weighted"] = float((weights * areas).sum() / weights.sum())
            of_class = [areas[rows].mean() for rows in rows_of_classes(measured).values()]
            figures[f"{name}_class_balanced"] = float(np.mean(of_class))
    for threshold in THRESHOLDS:
        found = [c.resolution(threshold) for c in curves]
        told = [r.angstrom for r in found if np.isfinite(r.angstrom)]
        median = statistics.median_high(_rank(resolution) for resolution in found)
        figures[f"resolution_{threshold}_mean"] = float(np.mean(told)) if told else None
        figures[f"resolution_{threshold}_median"] = None if median in (BEYOND, NEVER) else median
        figures[f"resolution_{threshold}_beyond_nyquist"] = sum(r.beyond_nyquist for r in found)
    aligned = [m.alignment for m in measured if m.alignment]
    if aligned:
        figures["mirrored"] = sum(a.mirrored for a in aligned)
    return figures


def _rank(resolution: Resolution) -> float:
    """Sort resolutions by this number, the best first, also those without a value in Å."""
    if np.isfinite(resolution.angstrom):
        return resolution.angstrom
    return BEYOND if resolution.beyond_nyquist else NEVER


def rows_of_classes(measured: Sequence[Measurement]) -> dict[str, list[int]]:
    """Rows of each class, by class in the order of their first row."""
    rows: dict[str, list[int]] = {}
    for row, m in enumerate(measured):
        rows.setdefault(m.pair.label, []).append(row)
    return rows


def _spread(values: Sequence[float], over_n: bool) -> float | None:
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=0 if over_n else 1))


def pair_columns(measured: Sequence[Measurement]) -> dict[str, list]:
    """Columns of ``pairs.csv``.

    Parameters
    ----------
    measured : sequence of Measurement

    Returns
    -------
    dict of str to list
        Å for resolutions; empty where the curve does not cross the threshold.
    """
    columns: dict[str, list] = {
        "volume": [m.pair.volume for m in measured],
        "reference": [m.pair.reference for m in measured],
        "class": [m.pair.label for m in measured],
        "image": [m.pair.image for m in measured],
        "auc": [m.curve.auc for m in measured],
        "auc_over_ceiling": [m.curve.auc_over_ceiling for m in measured],
        "auc_per_angstrom": [m.curve.auc_per_angstrom for m in measured],
        "auc_cryobench": [m.auc_cryobench for m in measured],
    }
    for threshold in THRESHOLDS:
        found = [m.curve.resolution(threshold) for m in measured]
        columns[f"res_{threshold}"] = [r.angstrom for r in found]
        columns[f"beyond_nyquist_{threshold}"] = [int(r.beyond_nyquist) for r in found]
    columns["auc_local"] = [m.local.auc if m.local else None for m in measured]
    columns["auc_unaligned"] = [m.unaligned.auc if m.unaligned else None for m in measured]
    columns["aligned"] = [int(m.alignment is not None) for m in measured]
    columns["mirrored"] = [int(m.alignment.mirrored) if m.alignment else None for m in measured]
    columns["aligned_volume"] = [m.aligned_file for m in measured]
    columns["weight"] = [m.pair.weight for m in measured]
    columns["status"] = [m.status for m in measured]
    return columns


def curve_columns(measured: Sequence[Measurement]) -> dict[str, npt.NDArray[np.float64]]:
    """Columns of ``curves.csv``: the frequency and one curve a pair.

    Parameters
    ----------
    measured : sequence of Measurement

    Returns
    -------
    dict of str to ndarray
        ``frequency_1_A``, then ``1``, ``2``, ... by row of ``pairs.csv``, with the
        name of the volume: ``1_class_3``.
    """
    columns = {"frequency_1_A": measured[0].curve.frequency}
    for row, m in enumerate(measured, start=1):
        columns[f"{row}_{m.pair.volume.stem}"] = m.curve.values
    return columns
