"""Make a data set from micrographs with labels, or from particle stacks."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.dataset import crops as crop_maker
from apbc.dataset.labels import (
    BAD,
    FEWEST_OF_A_CLASS,
    GOOD,
    KIND_NAMES,
    UNLABELLED,
    Labels,
    check_counts,
    sha256_of,
    views_of,
)
from apbc.dataset.recentre import recentre
from apbc.dataset.split import NAMES, TRAIN, split_labels
from apbc.dataset.store import DatasetWriter
from apbc.dataset.views import UNKNOWN, count, described, evenly
from apbc.errors import ApbcError
from apbc.io.ctf import read_ctf
from apbc.io.files import atomic_path
from apbc.io.images import MicrographInfo, micrograph_info, pixel_size_of, read_micrograph
from apbc.io.particles import ParticleTable, compare_pixel_sizes
from apbc.io.stacks import ParticleStack
from apbc.preprocess.working import Preprocessing
from apbc.progress import track

logger = logging.getLogger(__name__)

CROP_DIAMETERS = 3.25  # room for the network's window, shifts and rotations
BACKGROUND_PER_MICROGRAPH = 60
MOST_BACKGROUND = 20_000
FEWEST_BACKGROUND = 5
MOST_IMAGES_OF_A_SPLIT = 8
STACK_CHUNK = 256


@dataclass
class DatasetOptions:
    """What the user may set for a data set.

    Attributes
    ----------
    preprocessing : Preprocessing
    split_by : {"micrograph", "particle"}
    seed : int
    most_of_a_class : int
        Of more good (or bad) particles a seeded choice spread over all micrographs, and
        even over the views, is cropped; all stay known as positions.
    pixel_size : float, optional
        Å per pixel of the micrographs, over their headers.
    stack_contrast : {"white", "dark"}
        Colour of protein in particle stacks.
    ctf_file : Path, optional
        Star file with the CTF of the micrographs; phases are flipped when given.
    """

    preprocessing: Preprocessing
    split_by: str = "micrograph"
    seed: int = 0
    most_of_a_class: int = 10_000
    pixel_size: float | None = None
    stack_contrast: str = "white"
    ctf_file: Path | None = None


@dataclass
class Rows:
    """Columns of the table of labels while it grows."""

    kind: list[int] = field(default_factory=list)
    micrograph: list[int] = field(default_factory=list)
    coordinates: list[npt.NDArray[np.float64]] = field(default_factory=list)
    working: list[npt.NDArray[np.float64]] = field(default_factory=list)
    has_crop: list[bool] = field(default_factory=list)
    view: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def add(
        self,
        kind: int,
        micrograph: int,
        coordinates: npt.NDArray[np.float64],
        working: npt.NDArray[np.float64],
        has_crop: npt.NDArray[np.bool_],
        view: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Append labels of one kind on one micrograph; without views these are not known."""
        n = len(coordinates)
        self.kind += [kind] * n
        self.micrograph += [micrograph] * n
        self.coordinates.append(coordinates.reshape(-1, 2))
        self.working.append(working.reshape(-1, 2))
        self.has_crop += has_crop.tolist()
        self.view.append(np.full(n, UNKNOWN) if view is None else view)

    def columns(self, split: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Columns as arrays, with the split."""
        return {
            "kind": np.array(self.kind),
            "micrograph": np.array(self.micrograph),
            "coordinates": np.concatenate(self.coordinates),
            "working": np.concatenate(self.working),
            "has_crop": np.array(self.has_crop),
            "view": np.concatenate(self.view),
            "split": split,
        }


def crop_size(preprocessing: Preprocessing) -> int:
    """Side of a crop in working pixels, even."""
    return 2 * round(CROP_DIAMETERS * preprocessing.diameter_pixels / 2)


def from_micrographs(
    paths: Sequence[Path], labels: Labels, options: DatasetOptions, out: Path
) -> dict[str, dict[str, int]]:
    """Cut labelled and background crops out of micrographs and write a data set.

    Micrographs are read one at a time, each once; those without labels are left
    out.

    Parameters
    ----------
    paths : sequence of Path
        Micrographs.
    labels : Labels
        Positions in pixels of the micrographs.
    options : DatasetOptions
    out : Path
        HDF5 file to write.

    Returns
    -------
    dict
        Labels of each kind in each split.

    Raises
    ------
    ApbcError
        On bad labels or micrographs; nothing is written then.
    """
    preprocessing = replace(options.preprocessing, phase_flipped=options.ctf_file is not None)
    ctfs = read_ctf(options.ctf_file) if options.ctf_file else {}
    by_name = {path.stem: path for path in paths}
    missing = sorted(set(labels.positions) - set(by_name))
    names = [path.stem for path in paths if labels.number_on(path.stem)]
    if not names:
        raise ApbcError(
            f"none of the {len(paths)} micrographs ({paths[0].name}, ...) has labels, which are "
            f"for {', '.join(missing[:3]) or 'none'}; file names must agree but for the suffix"
        )
    if missing:
        logger.warning(
            "%d micrographs with labels are not among those given (%s, ...)",
            len(missing),
            missing[0],
        )
    labels = replace(labels, positions={name: labels.positions[name] for name in names})
    check_counts(labels.total(GOOD), None if labels.good_alone else labels.total(BAD))
    infos = [micrograph_info(by_name[name]) for name in names]
    pixel_size = pixel_size_of(infos, options.pixel_size)
    for path, told in labels.pixel_sizes.items():
        compare_pixel_sizes(told, pixel_size, path)
    for info in infos:
        _check_inside(info, labels)
        if preprocessing.phase_flipped and info.name not in ctfs:
            raise ApbcError(
                f"{options.ctf_file} has no CTF for micrograph {info.name}; estimate it"
            )
    shapes = {info.name: info.shape for info in infos}
    labels, recentring = recentre(labels, preprocessing.diameter, pixel_size, shapes)

    counts = np.array([[len(labels.of(n, kind)) for kind in (GOOD, BAD)] for n in names])
    kinds = np.concatenate([np.repeat((GOOD, BAD), row) for row in counts])
    owners = np.repeat(np.arange(len(names)), counts.sum(axis=1))
    split, split_by = split_labels(kinds, owners, options.split_by, options.seed)
    kept_images = _kept_images(names, owners, split)
    cropped = {kind: _cropped(labels, names, kind, options) for kind in (GOOD, BAD)}
    n_background = int(
        np.clip(MOST_BACKGROUND // len(names), FEWEST_BACKGROUND, BACKGROUND_PER_MICROGRAPH)
    )

    size = crop_size(preprocessing)
    rows, hashes, splits = Rows(), {}, []
    with atomic_path(out) as temporary:
        writer = DatasetWriter(temporary, size, preprocessing)
        try:
            for i, info in enumerate(track(infos, len(infos), "micrographs")):
                rng = np.random.default_rng([options.seed, i])
                work = preprocessing.working_image(
                    read_micrograph(info.path), pixel_size, ctfs.get(info.name)
                )
                crop_maker.check_size(work.pixels.shape, size, info.name)
                hashes[info.name] = hashlib.sha256(work.pixels.tobytes()).hexdigest()
                if info.name in kept_images:
                    writer.add_image(info.name, work.pixels)
                own = split[owners == i]
                for kind in (GOOD, BAD):
                    places, chosen = labels.of(info.name, kind), cropped[kind][i]
                    centres = work.to_working(places.xy)
                    writer.add_crops(crop_maker.cut(work.pixels, centres[chosen], size)[0])
                    rows.add(kind, i, places.xy, centres, chosen, places.view)
                splits.append(own)
                doubtful = work.to_working(labels.doubtful.get(info.name, np.empty((0, 2))))
                known = np.concatenate([*rows.working[-2:], doubtful])
                centres = _background(work.pixels.shape, known, n_background, preprocessing, rng)
                writer.add_crops(crop_maker.cut(work.pixels, centres, size)[0])
                rows.add(
                    UNLABELLED, i, work.to_micrograph(centres), centres, np.ones(len(centres), bool)
                )
                of_micrograph = own[0] if split_by == "micrograph" else TRAIN
                splits.append(np.full(len(centres), of_micrograph))
            columns = rows.columns(np.concatenate(splits))
            writer.finish(
                columns,
                {
                    "name": names,
                    "pixel_size": [pixel_size] * len(names),
                    "shape": [info.shape for info in infos],
                },
                _provenance(
                    options,
                    "micrographs",
                    split_by,
                    {**labels.sources, **_hash_of(options.ctf_file)},
                    {"working_images": hashes, "paths": [str(info.path) for info in infos]},
                    columns,
                    recentring,
                ),
            )
        finally:
            writer.close()
    return _report(columns, names)


def from_stacks(
    good: ParticleTable, bad: ParticleTable | None, options: DatasetOptions, out: Path
) -> dict[str, dict[str, int]]:
    """Make a data set of extracted particle images, without micrographs.

    Stacks are memory-mapped and each particle is read once. No background is known
    then, so a model learns the difference between good and bad alone, and both are needed.
    The images are taken as they are, not re-centred.

    Parameters
    ----------
    good, bad : ParticleTable
    options : DatasetOptions
    out : Path
        HDF5 file to write.

    Returns
    -------
    dict
        Labels of each kind in each split.

    Raises
    ------
    ApbcError
        On bad input; nothing is written then.
    """
    if bad is None:
        raise ApbcError(
            "there are no bad particles, and stacks show no background to tell good ones from; "
            "give --bad-particles, or --micrographs to learn from good ones alone"
        )
    if options.ctf_file:
        raise ApbcError("--ctf needs --micrographs: the phases of particle stacks are not flipped")
    check_counts(good.n, bad.n)
    logger.warning(
        "crops come from particle stacks: there is no background to learn from, so the model suits "
        "screening; give --micrographs for a model that picks"
    )
    preprocessing = options.preprocessing
    size = crop_size(preprocessing)
    tables = ((GOOD, good), (BAD, bad))
    names: list[str] = sorted(
        {Path(name).stem for _, t in tables for name in (t.micrograph_names or [])}
    )
    index = {name: i for i, name in enumerate(names)}
    rows, kinds, owners = Rows(), [], []
    rng = np.random.default_rng(options.seed)
    with atomic_path(out) as temporary:
        writer = DatasetWriter(temporary, size, preprocessing)
        try:
            for kind, table in tables:
                views = views_of(table.classes, table.n, table.path)
                chosen = evenly(views, options.most_of_a_class, rng)
                for picked, images, pixel_size in stack_chunks(table, chosen, options.pixel_size):
                    writer.add_crops(
                        crop_maker.from_particle_images(
                            images, pixel_size, preprocessing, size, options.stack_contrast, rng
                        )
                    )
                    n = len(picked)
                    xy = np.zeros((n, 2))
                    if table.coordinates is not None:
                        xy = table.coordinates[picked]
                    rows.add(kind, -1, xy, np.zeros((n, 2)), np.ones(n, bool), views[picked])
                    own = table.micrograph_names or []
                    stems = [Path(own[j]).stem for j in picked] if own else []
                    owners += [index[stem] for stem in stems] or [0] * n
                    kinds += [kind] * n
            by = options.split_by if names else "particle"
            split, split_by = split_labels(np.array(kinds), np.array(owners), by, options.seed)
            rows.micrograph = owners if names else [-1] * len(kinds)
            columns = rows.columns(split)
            sources = {str(table.path): sha256_of(Path(table.path)) for _, table in tables}
            writer.finish(
                columns,
                {"name": names, "pixel_size": [0.0] * len(names), "shape": [(0, 0)] * len(names)},
                _provenance(options, "stacks", split_by, sources, {}, columns, None),
            )
        finally:
            writer.close()
    return _report(columns, names)


def stack_chunks(
    table: ParticleTable, chosen: npt.NDArray[np.integer], pixel_size: float | None
) -> Any:
    """Images of some particles of a star file, stack by stack and piece by piece.

    Parameters
    ----------
    table : ParticleTable
    chosen : ndarray of int
        Rows of the table.
    pixel_size : float or None
        Å per pixel of the stacks, over what the star file says.

    Yields
    ------
    rows : ndarray of int, shape (n,)
    images : ndarray of float32, shape (n, box, box)
    pixel_size : float

    Raises
    ------
    ApbcError
        If a stack is missing or has fewer particles than the star file says.
    """
    indices, paths = table.images
    sizes = table.pixel_sizes
    stacks = np.array([str(path) for path in paths])
    order = chosen[np.lexsort((indices[chosen], stacks[chosen]))]
    done = 0
    groups = np.split(order, np.flatnonzero(stacks[order][1:] != stacks[order][:-1]) + 1)
    pieces = [(g, g[i : i + STACK_CHUNK]) for g in groups for i in range(0, len(g), STACK_CHUNK)]
    stack, opened = None, ""
    for group, piece in track(pieces, len(pieces), "pieces of stacks"):
        path = stacks[group[0]]
        if path != opened:
            stack, opened = ParticleStack(path), path
        assert stack is not None
        if indices[piece].max() >= stack.n:
            raise ApbcError(
                f"{table.path} names particle {indices[piece].max() + 1} of {path}, which has "
                f"{stack.n}; extract the particles again"
            )
        size = pixel_size or (float(sizes[piece[0]]) if sizes is not None else stack.pixel_size)
        if not size:
            raise ApbcError(
                f"neither {table.path} nor {path} tells the pixel size of the particles; give it "
                "with --pixel-size"
            )
        done += len(piece)
        yield piece, stack.read(indices[piece]), size


def _check_inside(info: MicrographInfo, labels: Labels) -> None:
    """Raise if labels lie outside their micrograph."""
    for kind in (GOOD, BAD):
        what = f"{KIND_NAMES[kind]} particles"
        crop_maker.check_inside(labels.of(info.name, kind).xy, info.shape, info.name, what)


def _cropped(
    labels: Labels, names: list[str], kind: int, options: DatasetOptions
) -> list[npt.NDArray[np.bool_]]:
    """Labels of a kind that get a crop, by micrograph."""
    places = [labels.of(name, kind) for name in names]
    views = np.concatenate([p.view for p in places])
    chosen = np.zeros(len(views), bool)
    rng = np.random.default_rng([options.seed, len(names), kind])
    chosen[evenly(views, options.most_of_a_class, rng)] = True
    return np.split(chosen, np.cumsum([len(p) for p in places])[:-1])


def _background(
    shape: tuple[int, ...],
    known: npt.NDArray[np.float64],
    n: int,
    preprocessing: Preprocessing,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Random positions, at least half a diameter away from the border and from known places."""
    margin = preprocessing.diameter_pixels / 2
    known = np.concatenate([known, np.full((1, 2), np.inf)])
    xy = rng.uniform(margin, np.array(shape[::-1]) - margin, (4 * n, 2))
    distances = np.hypot(*(xy[:, None, :] - known[None]).transpose(2, 0, 1)).min(axis=1)
    return xy[distances >= margin][:n]


def _kept_images(
    names: list[str], owners: npt.NDArray[np.integer], split: npt.NDArray[np.integer]
) -> set[str]:
    """Micrographs whose working image is kept for calibration, spread evenly in each split."""
    part_of = [split[owners == i][0] for i in range(len(names))]
    kept: set[str] = set()
    for part in range(len(NAMES)):
        members = [name for name, own in zip(names, part_of, strict=True) if own == part]
        step = max(1, math.ceil(len(members) / MOST_IMAGES_OF_A_SPLIT))
        kept.update(members[::step])
    return kept


def _hash_of(path: Path | None) -> dict[str, str]:
    return {str(path): sha256_of(path)} if path else {}


def _provenance(
    options: DatasetOptions,
    source: str,
    split_by: str,
    sources: dict[str, str],
    micrographs: dict[str, Any],
    columns: dict[str, npt.NDArray[Any]],
    recentring: dict[str, Any] | None,
) -> dict[str, Any]:
    """Tell what went into a data set, for its JSON record."""
    import h5py
    import scipy

    return {
        "source": source,
        "inputs_sha256": sources,
        "micrographs": micrographs,
        "views": {str(k): n for k, n in count(columns["view"][columns["kind"] == GOOD]).items()},
        "recentred": recentring,
        "options": {
            "split_by": split_by,
            "seed": options.seed,
            "most_of_a_class": options.most_of_a_class,
            "pixel_size": options.pixel_size,
            "stack_contrast": options.stack_contrast,
            "ctf_file": str(options.ctf_file) if options.ctf_file else None,
        },
        "versions": {
            "apbc": __version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "h5py": h5py.__version__,
        },
    }


def _report(columns: dict[str, npt.NDArray[Any]], names: list[str]) -> dict[str, dict[str, int]]:
    """Log the balance of the classes and return the counts by split."""
    kind, split, owner = columns["kind"], columns["split"], columns["micrograph"]
    good_alone = not (kind == BAD).any()
    counts = {
        part: {name: int(np.sum((split == i) & (kind == k))) for k, name in KIND_NAMES.items()}
        for i, part in enumerate(NAMES)
    }
    for part, row in counts.items():
        logger.info("%s: %s", part, ", ".join(f"{n} {name}" for name, n in row.items()))
        if row["good"] == 0 or (row["bad"] == 0 and not good_alone):
            logger.warning("the %s split lacks good or bad particles; its figures say little", part)
    if names:
        per = {
            k: [int(np.sum((owner == i) & (kind == k))) for i in range(len(names))]
            for k in (GOOD, BAD)
        }
        for name, n_good, n_bad in zip(names, per[GOOD], per[BAD], strict=True):
            logger.info("%s: %d good, %d bad", name, n_good, n_bad)
    good, bad = int(np.sum(kind == GOOD)), int(np.sum(kind == BAD))
    views = columns["view"][kind == GOOD]
    if (views != UNKNOWN).any():
        logger.info("views: %s", described(views))
    if not good_alone:
        logger.info("class balance: %.1f good for each bad particle", good / max(1, bad))
    if good < 5 * FEWEST_OF_A_CLASS or (bad < 5 * FEWEST_OF_A_CLASS and not good_alone):
        logger.warning("fewer than %d particles of a class: more would help", 5 * FEWEST_OF_A_CLASS)
    return counts
