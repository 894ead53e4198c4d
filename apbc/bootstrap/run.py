"""From bare micrographs to a training set: examples of each micrograph, then the data set.

The first micrographs settle what holds for all: the diameter where none is given, whether
particles are dark, and which shapes there are. Then every micrograph is searched by itself.
Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.bootstrap import record as records
from apbc.bootstrap.detect import detect, present_shapes
from apbc.bootstrap.diameter import DiameterEstimate, estimate_diameter
from apbc.bootstrap.examples import SHAPES, Examples
from apbc.bootstrap.patches import PatchOptions, write_patches
from apbc.bootstrap.polarity import bright_particles
from apbc.bootstrap.record import Settled, examples_file
from apbc.bootstrap.scale import DetectionScale, shrink
from apbc.bootstrap.sizes import other_diameter
from apbc.bootstrap.stages import Stages, prepare
from apbc.bootstrap.table import read_examples, write_examples, write_places
from apbc.dataset.build import DatasetOptions, from_micrographs
from apbc.dataset.labels import BAD, FEWEST_OF_A_CLASS, GOOD, Labels, Places, sha256_of
from apbc.display.bootstrap import diameter_figure
from apbc.errors import ApbcError
from apbc.geometry import box_size_for
from apbc.io.files import atomic_path, read_json, write_json
from apbc.io.images import MicrographInfo, micrograph_info, pixel_size_of, read_micrograph
from apbc.io.runs import locked
from apbc.preprocess.working import Preprocessing
from apbc.progress import track
from apbc.system.processes import Failure, Part, in_processes

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

AUTO = "auto"
FIRST = 5  # micrographs that are asked what holds for all
FEW = 2  # of them whose word is enough
MOST_ASKED = 20  # micrographs that are asked where the first ones tell nothing
TELLING = 5  # good examples on a micrograph that tells the shapes; noise has fewer
SMALLEST_PX = 8.0  # pixels of a diameter; smaller particles show too little
FEWEST_GOOD = 50
MOST_NAMED = 3
SAME_PIXEL_SIZE = 0.01
IRREGULAR_SIZES = (0.42, 0.98)  # usual widths of good irregular particles, in diameters
MOST_MERGED = 1 / 3  # of good and merged irregular particles
KILLED = "run again with fewer --workers; what is done stays"


@dataclass(frozen=True)
class BootstrapOptions:
    """What the user may set.

    Attributes
    ----------
    diameter : float, optional
        Of the particle in Å; estimated when left out.
    shapes : tuple of str
        Of `SHAPES`; empty to find out which there are.
    invert : bool
        Particles are brighter than the ice.
    pixel_size : float, optional
        Å per pixel of the micrographs, over their headers.
    workers : int
        Processes.
    negatives : tuple of str
        Classes of patches that are no particles: ``"background"``, ``"negative"`` or both.
    samples : int
        Patches of each class.
    seed : int
    keep_stages : int
        Micrographs whose stages are kept to be looked at.
    """

    diameter: float | None = None
    shapes: tuple[str, ...] = ()
    invert: bool = False
    pixel_size: float | None = None
    workers: int = 1
    negatives: tuple[str, ...] = ("background",)
    samples: int = 1500
    seed: int = 0
    keep_stages: int = 8

    @property
    def request(self) -> dict[str, Any]:
        """What decides the examples, as plain values."""
        return {
            "diameter": self.diameter,
            "shapes": list(self.shapes) or [AUTO],
            "invert": self.invert,
            "pixel_size": self.pixel_size,
        }


@dataclass(frozen=True)
class Search:
    """What a process needs to know to search its micrographs.

    Attributes
    ----------
    out : Path
    settled : Settled
    invert : bool
    stages : frozenset of str
        Names of the micrographs whose stages are kept.
    """

    out: Path
    settled: Settled
    invert: bool
    stages: frozenset[str]


@dataclass(frozen=True)
class Done:
    """What became of a micrograph: the seconds it took, or why it failed."""

    seconds: float
    failure: str | None = None


def bootstrap(
    paths: Sequence[Path], out: Path, options: BootstrapOptions, examples_only: bool = False
) -> dict[str, Any]:
    """Find examples of particles on bare micrographs, and make a data set of them.

    Micrographs whose examples are there already, of the same request, are left out. One
    that cannot be read or searched is reported, and the others go on. Memory does not grow
    with their number.

    Parameters
    ----------
    paths : sequence of Path
        Micrographs.
    out : Path
        Folder for the results.
    options : BootstrapOptions
    examples_only : bool, optional
        Find the examples and make no data set yet.

    Returns
    -------
    dict
        What ``bootstrap.json`` holds.

    Raises
    ------
    ApbcError
        If nothing can be found at all: bright particles that were not told, a folder that
        holds the examples of another request, no diameter; or if there are too few good
        examples for a data set, which are kept.
    """
    failed: dict[str, str] = {}
    infos: dict[str, MicrographInfo] = {}
    for path in paths:
        try:
            infos[path.stem] = micrograph_info(path)
        except ApbcError as error:
            failed[path.stem] = str(error)
    if not infos:
        raise ApbcError(f"none of the {len(paths)} micrographs can be read: {failed.popitem()[1]}")
    with locked(out):
        settled = _settle(list(infos.values()), out, options)
        todo = [info for info in infos.values() if not examples_file(out, info.name).is_file()]
        kept = records.claim_stages(out, [info.name for info in todo], options.keep_stages)
    if len(todo) < len(infos):
        logger.info(
            "%d micrographs are done already, %d are left", len(infos) - len(todo), len(todo)
        )
    search = Search(out, settled, options.invert, frozenset(kept))
    seconds: dict[str, float] = {}
    with closing(_searched(todo, search, options.workers)) as results:
        for name, done in track(results, len(todo), "micrographs"):
            if done.failure is None:
                seconds[name] = done.seconds
            else:
                failed[name] = done.failure
    names = [name for name in infos if name not in failed]
    tables = _Tables(out, names)
    with locked(out):
        known = _record(out, options, settled, tables, seconds, failed, not examples_only)
        for sentence in known["warnings"]:
            logger.warning(sentence)
        # Whatever happens from here on, a data set that lies there is of these examples.
        write_json(out / records.RECORD, known)
        (out / records.DATA).unlink(missing_ok=True)
        if examples_only:
            return known
        if not names:
            name, reason = next(iter(failed.items()))
            raise ApbcError(f"all {len(paths)} micrographs failed, such as {name}: {reason}")
        made = _make_dataset([infos[name] for name in names], tables, out, settled, options)
        known["classes"], known["labels"] = made["classes"], made["labels"]
        known["warnings"] += made["warnings"]
        known["data"] = records.DATA
        write_json(out / records.RECORD, known)
    return known


# ------------------------------ what holds for all ---------------------------------------------


def _settle(infos: Sequence[MicrographInfo], out: Path, options: BootstrapOptions) -> Settled:
    """Settle diameter, polarity and shapes with the first micrographs, or recall them.

    What these do not tell, the next ones that are not done yet are asked in the next run.
    """
    pixel_size = pixel_size_of(infos, options.pixel_size)
    settled = records.recall(out, options.request)
    if settled is not None and abs(pixel_size / settled.pixel_size - 1) > SAME_PIXEL_SIZE:
        raise ApbcError(
            f"the micrographs have {pixel_size:g} Å per pixel, and those whose examples are in "
            f"{out} have {settled.pixel_size:g}; give another --out"
        )
    todo = [info for info in infos if not examples_file(out, info.name).is_file()]
    if settled is not None and (settled.final or not todo):
        return settled
    first = _First(todo or infos, options.invert)
    if settled is None or settled.guessed:
        settled = _settled_diameter(first, pixel_size, out, options)
    diameter_px = settled.diameter / settled.pixel_size
    _check_size(settled, infos)
    if not settled.dark:
        dark, telling = _check_polarity(first, diameter_px, options.invert)
        other = None if options.diameter is None else other_diameter(telling, diameter_px)
        settled = replace(settled, dark=dark, other=other and other * settled.pixel_size)
    if settled.unsure or not settled.shapes:
        shapes, told = _shapes_of(first, diameter_px)
        settled = replace(settled, shapes=shapes, unsure=not told)
    records.keep(out, options.request, settled)
    return settled


class _First:
    """The first micrographs, read one at a time whenever they are gone through."""

    def __init__(self, infos: Sequence[MicrographInfo], invert: bool) -> None:
        self._infos, self._invert = list(infos[:MOST_ASKED]), invert

    def __iter__(self) -> Iterator[FloatArray]:
        reason = ""
        for info in list(self._infos):
            try:
                image = _read(info.path, self._invert)
            except (ApbcError, OSError) as error:
                reason = f"{info.name}: {error}"
                logger.warning("%s tells nothing of diameter and contrast: %s", info.name, error)
                self._infos.remove(info)
            else:
                yield image
        if not self._infos:
            raise ApbcError(f"none of the first micrographs can be read, such as {reason}")

    def until(self, told: Sequence[object]) -> Iterator[FloatArray]:
        """Go through the first few, and through more for as long as nothing was told."""
        for number, image in enumerate(self):
            if number >= FIRST and told:
                return
            yield image


def _settled_diameter(
    first: _First, pixel_size: float, out: Path, options: BootstrapOptions
) -> Settled:
    """Take the diameter that was given, or estimate it and draw that."""
    if options.diameter is not None:
        return Settled(options.diameter, None, None, pixel_size, options.shapes)
    estimate, image = _estimated(first, pixel_size)
    with atomic_path(out / records.DIAMETER_PICTURE) as temporary:
        diameter_figure(estimate, image, pixel_size).savefig(temporary, format="png")
    logger.info(
        "the diameter is about %.0f Å (%.0f to %.0f)",
        estimate.diameter,
        estimate.low,
        estimate.high,
    )
    return Settled(
        estimate.diameter,
        estimate.low,
        estimate.high,
        pixel_size,
        options.shapes,
        guessed=estimate.method == "guess",
    )


def _estimated(first: _First, pixel_size: float) -> tuple[DiameterEstimate, FloatArray]:
    """Estimate the diameter from the first few micrographs that tell it; also one of these."""
    images = iter(first)
    some = list(islice(images, FEW))
    estimate, image = estimate_diameter(some, pixel_size), some[0]
    while estimate.method == "guess" and (some := list(islice(images, FEW))):
        estimate, image = estimate_diameter(some, pixel_size), some[0]
    return estimate, image


def _check_size(settled: Settled, infos: Sequence[MicrographInfo]) -> None:
    """Refuse a diameter of too few pixels, or more than half of every micrograph."""
    diameter = settled.diameter / settled.pixel_size
    shortest = max(min(info.shape) for info in infos)
    if SMALLEST_PX <= diameter <= shortest / 2:
        return
    wrong = (
        f"of which at least {SMALLEST_PX:g} are needed"
        if diameter < SMALLEST_PX
        else f"more than half of the shortest side of the micrographs ({shortest})"
    )
    raise ApbcError(
        f"a diameter of {settled.diameter:g} Å is {diameter:.3g} pixels of "
        f"{settled.pixel_size:.3g} Å, {wrong}; check --diameter, which is in Å, and --pixel-size"
    )


def _check_polarity(first: _First, diameter: float, invert: bool) -> tuple[bool, list[FloatArray]]:
    """Raise if particles are bright in most images that tell; else give whether any tells.

    Also gives a few images that told, or the first ones.
    """
    told: list[bool] = []
    telling: list[FloatArray] = []
    silent: list[FloatArray] = []
    for image in first.until(told):
        bright = bright_particles(image, diameter)
        kept = silent if bright is None else telling
        if len(kept) < FEW:
            kept.append(image)
        if bright is not None:
            told.append(bright)
        if len(told) == FEW and len(set(told)) == 1:
            break
    if sum(told) > len(told) / 2:
        where = f"on {sum(told)} of the first {len(told)} micrographs that tell"
        if invert:
            raise ApbcError(
                f"particles are darker than the ice {where}, but --invert takes them for bright; "
                "leave --invert out"
            )
        raise ApbcError(f"particles are brighter than the ice {where}; run again with --invert")
    return bool(told), telling or silent


def _shapes_of(first: _First, diameter_px: float) -> tuple[tuple[str, ...], bool]:
    """Shapes that the first micrographs show, and whether that is sure."""
    scale = DetectionScale(diameter_px)
    seen: list[Examples] = []
    telling: list[Examples] = []
    for image in first.until(telling):
        found = detect(shrink(image, scale.factor), scale.diameter, SHAPES).examples
        seen.append(found)
        if found.good.sum() >= TELLING:
            telling.append(found)
        if len(telling) == FEW:
            break
    shapes = present_shapes(telling or seen) or ("irregular",)
    logger.info("shapes looked for: %s", ", ".join(shapes))
    return shapes, bool(telling)


def _read(path: Path, invert: bool) -> FloatArray:
    """Micrograph with dark particles."""
    image = read_micrograph(path).astype(float)
    return image.max() + image.min() - image if invert else image


# ------------------------------ the search -----------------------------------------------------


def _searched(
    infos: Sequence[MicrographInfo], search: Search, workers: int
) -> Generator[tuple[str, Done], None, None]:
    """Search micrographs here or in several processes."""
    count = min(workers, len(infos))
    if count < 2:
        yield from search_all(infos, search)
        return
    shares = [list(infos)[i::count] for i in range(count)]
    parts = [Part((share, search), [info.name for info in share]) for share in shares]
    with closing(in_processes(search_all, parts, KILLED)) as results:
        for name, done in results:
            yield name, Done(0.0, done.reason) if isinstance(done, Failure) else done


def search_all(infos: Sequence[MicrographInfo], search: Search) -> Iterator[tuple[str, Done]]:
    """Find and write the examples of micrographs, one after the other.

    Parameters
    ----------
    infos : sequence of MicrographInfo
    search : Search

    Yields
    ------
    name : str
    done : Done
    """
    for info in infos:
        try:
            yield info.name, Done(_search(info, search))
        except (ApbcError, MemoryError, OSError) as error:
            reason = str(error) or "the memory is full"
            logger.error("%s failed: %s", info.name, reason)
            yield info.name, Done(0.0, reason)


def _search(info: MicrographInfo, search: Search) -> float:
    """Find and write the examples of a micrograph; give the seconds that took."""
    start = time.monotonic()
    working, scale = _working(info.path, search.settled, search.invert)
    detection = detect(working, scale.diameter, search.settled.shapes)
    found = detection.examples.scaled(1 / scale.factor)
    seconds = time.monotonic() - start
    if info.name in search.stages:
        path = search.out / records.STAGES / f"{info.name}.npz"
        records.write_stages(path, working, scale, detection, search.settled)
    for folder, chosen in ((records.GOOD, found.good), (records.BAD, ~found.good)):
        path = search.out / folder / f"{info.name}.csv"
        write_places(path, found.positions[chosen], found.shape[chosen])
    write_examples(examples_file(search.out, info.name), found)
    return seconds


def _working(path: Path, settled: Settled, invert: bool) -> tuple[FloatArray, DetectionScale]:
    """Micrograph at the detection scale, with dark particles."""
    scale = DetectionScale(settled.diameter / settled.pixel_size)
    image = _read(path, invert)
    if min(image.shape) < 2 * scale.diameter_px:
        raise ApbcError(
            f"it is smaller than two particle diameters ({image.shape[1]} x {image.shape[0]} "
            f"pixels of {settled.pixel_size:.2f} Å); check its pixel size"
        )
    return shrink(image, scale.factor), scale


# ------------------------------ the data set ---------------------------------------------------


class _Tables(Mapping[str, Examples]):
    """Examples by the name of the micrograph, read from their files when asked for."""

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        self._out, self._names = out, list(names)

    def __getitem__(self, name: str) -> Examples:
        if name not in self._names:
            raise KeyError(name)
        return read_examples(examples_file(self._out, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _make_dataset(
    infos: Sequence[MicrographInfo],
    tables: _Tables,
    out: Path,
    settled: Settled,
    options: BootstrapOptions,
) -> dict[str, Any]:
    """Write the data set with its patches; give what `write_patches` tells, and the labels."""
    good = sum(int(found.good.sum()) for found in tables.values())
    if good < FEWEST_GOOD:
        raise ApbcError(
            f"there are only {good} good examples on {len(infos)} micrographs, and a data set "
            f"needs {FEWEST_GOOD}: give more micrographs, or look at {out / records.STAGES} "
            f"whether --diameter ({settled.diameter:.0f} Å), --shape "
            f"({','.join(settled.shapes)}) and --invert fit; the examples are kept"
        )
    labels = _labels(tables, out)
    paths = {info.name: info.path for info in infos}
    contrast = "light" if options.invert else "dark"
    dataset = DatasetOptions(
        Preprocessing(settled.diameter, contrast=contrast),
        seed=options.seed,
        pixel_size=settled.pixel_size,
    )
    patches = PatchOptions(
        settled.diameter,
        settled.pixel_size,
        contrast,
        samples=options.samples,
        negatives=options.negatives,
        seed=options.seed,
    )

    def stages_of(name: str) -> Stages:
        return prepare(_working(paths[name], settled, options.invert)[0], patches.opening)

    with atomic_path(out / records.DATA) as temporary:
        from_micrographs(list(paths.values()), labels, dataset, temporary)
        made = write_patches(temporary, tables, stages_of, patches)
    none = 0 if labels.good_alone else labels.total(BAD)
    return {**made, "labels": {"good": labels.total(GOOD), "bad": none}}


def _labels(tables: _Tables, out: Path) -> Labels:
    """Good examples with their shape as the view, and what is no particle as bad ones.

    Particles that touch others are labels, too: a picker finds those in a crowd only if it
    has seen some. Other bad examples mostly are particles, so that they are labelled as
    nothing. Where there are too few that are no particles, only good ones are labels.
    """
    labels = Labels()
    for name, found in tables.items():
        view = found.shape.astype(np.int64) + 1
        none = ~found.is_particle
        labels.add(GOOD, {name: Places.of(found.positions[found.is_label], view[found.is_label])})
        labels.add(BAD, {name: Places.of(found.positions[none])})
        labels.doubtful[name] = found.positions[~found.is_label & ~none]
        file = examples_file(out, name)
        labels.sources[str(file)] = sha256_of(file)
    if labels.total(BAD) < FEWEST_OF_A_CLASS:
        labels.good_alone = True
        for kinds in labels.positions.values():
            del kinds[BAD]
    return labels


# ------------------------------ the record -----------------------------------------------------


def _record(
    out: Path,
    options: BootstrapOptions,
    settled: Settled,
    tables: _Tables,
    seconds: dict[str, float],
    failed: dict[str, str],
    alone: bool,
) -> dict[str, Any]:
    """Give the record of a folder; with `alone`, of these micrographs only."""
    file = out / records.RECORD
    known: dict[str, Any] = read_json(file) if file.is_file() else {}
    before: dict[str, Any] = known.get("micrographs", {})
    micrographs = {} if alone else dict(before)
    for name in tables:
        if name in before and name not in seconds:
            micrographs[name] = before[name]
            continue
        found = tables[name]
        micrographs[name] = {
            "good": int(found.good.sum()),
            "bad": int((~found.good).sum()),
            "seconds": seconds.get(name),
            "shapes": _counts(found),
            "reasons": dict(Counter(why for why in found.reason if why).most_common()),
            "size": _size(found, settled.pixel_size),
        }
    failures = {} if alone else {k: v for k, v in known.get("failed", {}).items()}
    failures = {k: v for k, v in {**failures, **failed}.items() if k not in micrographs}
    return {
        "format": records.FORMAT,
        "apbc_version": __version__,
        "diameter": settled.diameter,
        "diameter_estimated": options.diameter is None,
        "diameter_low": settled.low,
        "diameter_high": settled.high,
        "pixel_size": settled.pixel_size,
        "box_size": box_size_for(settled.diameter, settled.pixel_size),
        "contrast": "light" if options.invert else "dark",
        "shapes": {
            shape: {
                kind: sum(
                    told["shapes"].get(shape, {}).get(kind, 0) for told in micrographs.values()
                )
                for kind in ("good", "bad")
            }
            for shape in SHAPES
            if shape in settled.shapes
            or any(shape in told["shapes"] for told in micrographs.values())
        },
        "micrographs": dict(sorted(micrographs.items())),
        "warnings": _warnings(micrographs, settled),
        "classes": {},
        "labels": {"good": 0, "bad": 0},
        "data": None,
        "failed": failures,
    }


def _counts(found: Examples) -> dict[str, dict[str, int]]:
    """Good and bad examples of each shape that was found."""
    return {
        shape: {
            "good": int(found.good[found.shape == i].sum()),
            "bad": int((~found.good[found.shape == i]).sum()),
        }
        for i, shape in enumerate(SHAPES)
        if (found.shape == i).any()
    }


def _size(found: Examples, pixel_size: float) -> float | None:
    """Median width in Å of the good examples, by their area; None without."""
    area = found.size[found.good].prod(axis=1)
    return float(np.median(np.sqrt(area))) * pixel_size if len(area) else None


def _warnings(micrographs: Mapping[str, Any], settled: Settled) -> list[str]:
    """Sentences about what the user should look after."""
    warnings = []
    empty = [name for name, told in micrographs.items() if not told["good"] + told["bad"]]
    if empty:
        named = ", ".join(empty[:MOST_NAMED]) + ", ..." * (len(empty) > MOST_NAMED)
        warnings.append(f"nothing was found on {len(empty)} micrographs ({named})")
    if not settled.dark:
        warnings.append(
            "the micrographs do not tell whether particles are dark or bright; look at the stages"
        )
    if settled.unsure:
        warnings.append(
            "the first micrographs have too few good examples to tell the shapes of the particles, "
            f"so that {' and '.join(settled.shapes)} ones were looked for; give --shape if there "
            "are others, in another folder"
        )
    if settled.version != __version__:
        warnings.append(
            f"the first examples were found by version {settled.version}, and this is "
            f"{__version__}: they may differ; to have all of one version use another folder"
        )
    if settled.other is not None:
        warnings.append(
            f"round particles are about {settled.other:.0f} Å wide, not {settled.diameter:g} Å: "
            "the diameter seems wrong; look at the stages, and run again in another folder"
        )
    elif settled.shapes == ("irregular",):
        warnings += _irregular_sizes(micrographs, settled.diameter)
    if settled.guessed:
        warnings.append(
            f"nothing tells the diameter, so that {settled.diameter:.0f} Å is a guess; measure a "
            "particle and run again with --diameter in another folder"
        )
    elif settled.low is not None and settled.high is not None:
        warnings.append(
            f"the diameter of {settled.diameter:.0f} Å ({settled.low:.0f} to {settled.high:.0f}) "
            f"is an estimate; look at {records.DIAMETER_PICTURE}"
        )
    return warnings


def _irregular_sizes(micrographs: Mapping[str, Any], diameter: float) -> list[str]:
    """Sentences about a diameter that irregular particles contradict."""
    sizes = [told["size"] for told in micrographs.values() if told["size"] is not None]
    typical = float(np.median(sizes)) if sizes else diameter
    smallest, largest = (limit * diameter for limit in IRREGULAR_SIZES)
    if not smallest <= typical <= largest:
        return [
            f"irregular particles are about {typical:.0f} Å wide, where {smallest:.0f} to "
            f"{largest:.0f} are usual of a diameter of {diameter:g} Å: the diameter seems wrong; "
            "look at the stages, and run again in another folder"
        ]
    merged = sum(told["reasons"].get("merged", 0) for told in micrographs.values())
    good = sum(told["good"] for told in micrographs.values())
    if merged > MOST_MERGED * (merged + good):
        return [
            f"{merged} irregular particles are merged and {good} are good: the micrographs are "
            f"crowded, or the diameter of {diameter:g} Å is too small; look at the stages"
        ]
    return []
