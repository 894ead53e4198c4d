"""Pick every micrograph: candidates with scores, and what a threshold exports."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.display.score_picture import write_score_picture
from apbc.errors import ApbcError
from apbc.geometry import box_size_for
from apbc.io.coordinates import read_coordinates, write_coordinates
from apbc.io.ctf import Ctf
from apbc.io.files import atomic_path, read_json, write_json
from apbc.io.images import MicrographInfo, micrograph_info, pixel_size_of, read_micrograph
from apbc.models.folder import Model
from apbc.picking.peaks import find_peaks
from apbc.picking.score_map import TILE, ScoreMap, score_map
from apbc.preprocess.working import WorkingImage
from apbc.progress import track

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

CANDIDATES = "candidates"
MAPS = "maps"
MODEL_NOTE = "model.json"
RUN_FILE = "run.json"
FAILED_FILE = "failed.csv"
DEFAULT_FLOOR = 0.01
SMALLEST_TILE = 256
FORMATS = ("csv", "star", "box")


@dataclass(frozen=True)
class PickOptions:
    """What the user may set for picking.

    Attributes
    ----------
    threshold : float
        Candidates from this score on are exported.
    floor : float
        Lowest score of a candidate.
    formats : tuple of str
        Of ``"csv"``, ``"star"``, ``"box"``.
    resume : bool
        Leave out micrographs that are done.
    pixel_size : float, optional
        Å per pixel of the micrographs, over their headers.
    tile : int
        Largest side, in working pixels, that goes through the network at once.
    maps : bool
        Write score maps, too.
    """

    threshold: float
    floor: float = DEFAULT_FLOOR
    formats: tuple[str, ...] = FORMATS
    resume: bool = False
    pixel_size: float | None = None
    tile: int = TILE
    maps: bool = True


@dataclass
class Outcome:
    """What a run did: counts by micrograph, and the reasons of failures."""

    candidates: dict[str, int]
    exported: dict[str, int]
    failed: dict[str, str]


def pick(
    model: Model,
    paths: Sequence[Path],
    out: Path,
    options: PickOptions,
    device: str,
    ctfs: dict[str, Ctf] | None = None,
) -> Outcome:
    """Pick micrographs one after the other; memory does not grow with their number.

    A micrograph that cannot be read or picked is reported and the others go on.

    Parameters
    ----------
    model : Model
    paths : sequence of Path
        Micrographs.
    out : Path
        Folder for the results.
    options : PickOptions
    device : str
        Name of what TensorFlow runs on, for the record.
    ctfs : dict, optional
        CTF by name of micrograph, for models of phase-flipped micrographs.

    Returns
    -------
    Outcome

    Raises
    ------
    ApbcError
        If nothing can be picked at all: no CTF where the model needs it, a folder
        that holds the picks of another model.
    """
    if model.preprocessing.phase_flipped and not ctfs:
        raise ApbcError(
            f"{model.folder} was trained on phase-flipped micrographs; give --ctf with the star "
            "file of their CTF"
        )
    if ctfs and not model.preprocessing.phase_flipped:
        logger.warning("--ctf is not used: the model was trained without phase flipping")
    _claim(model, out, options, paths)
    outcome = Outcome({}, {}, {})
    infos: dict[str, MicrographInfo] = {}
    for path in paths:
        try:
            infos[path.stem] = micrograph_info(path)
        except ApbcError as error:
            outcome.failed[path.stem] = str(error)
    pixel_size = pixel_size_of(list(infos.values()), options.pixel_size) if infos else 0.0
    todo = []
    for name, info in infos.items():
        if options.resume and _candidate_file(out, name).is_file():
            _export(
                out,
                name,
                read_coordinates(_candidate_file(out, name)),
                options,
                model,
                pixel_size,
                outcome,
            )
        else:
            todo.append(info)
    if options.resume and len(todo) < len(infos):
        logger.info(
            "%d micrographs are done already, %d are left", len(infos) - len(todo), len(todo)
        )
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = [reader.submit(read_micrograph, todo[0].path)] if todo else []
        for i, info in enumerate(track(todo, len(todo), "micrographs")):
            image = pending.pop()
            if i + 1 < len(todo):  # the next one is read while this one is picked
                pending.append(reader.submit(read_micrograph, todo[i + 1].path))
            try:
                work = model.preprocessing.working_image(
                    image.result(), pixel_size, (ctfs or {}).get(info.name)
                )
                scores = candidate_scores(model, work, options.tile)
            except (ApbcError, MemoryError, OSError) as error:
                outcome.failed[info.name] = str(error) or "the memory is full"
                logger.error("%s failed: %s", info.name, outcome.failed[info.name])
                continue
            found = candidates(model, work, scores, options.floor)
            if options.maps:
                _write_map(out / MAPS / f"{info.name}.png", model, work, scores)
            write_coordinates(_candidate_file(out, info.name), found[:, :2], found[:, 2])
            _export(out, info.name, found, options, model, pixel_size, outcome)
    _record(model, out, options, device, pixel_size, infos, outcome)
    return outcome


def candidate_scores(model: Model, work: WorkingImage, tile: int = TILE) -> ScoreMap:
    """Score map of a working image, in smaller tiles where the memory does not hold them.

    Raises
    ------
    ApbcError
        If the image is smaller than two particles.
    MemoryError
        If the memory does not hold the smallest tile.
    """
    from tensorflow.errors import ResourceExhaustedError

    if min(work.pixels.shape) < 2 * model.preprocessing.diameter_pixels:
        raise ApbcError(
            f"it is smaller than two particle diameters ({work.pixels.shape[1]} x "
            f"{work.pixels.shape[0]} pixels of {model.preprocessing.pixel_size:.1f} Å); check its "
            "pixel size"
        )
    while True:
        try:
            return score_map(model.network, model.architecture, work.pixels, tile)
        except (MemoryError, ResourceExhaustedError) as error:
            tile = min(tile, max(work.pixels.shape)) // 2
            if tile < SMALLEST_TILE:
                raise MemoryError("the memory does not hold the smallest tile") from error
            logger.warning("the memory is short: going on in tiles of %d pixels", tile)


def candidates(model: Model, work: WorkingImage, scores: ScoreMap, floor: float) -> FloatArray:
    """Candidates of a working image.

    Returns
    -------
    ndarray, shape (n, 3)
        ``x, y`` in pixels of the micrograph and the calibrated score, best first.
    """
    calibration = model.calibration
    xy, raw = find_peaks(
        scores, work.pixels.shape, model.preprocessing.diameter_pixels, calibration.score(floor)
    )
    return np.column_stack([work.to_micrograph(xy), calibration.probability(raw)])


def _write_map(path: Path, model: Model, work: WorkingImage, scores: ScoreMap) -> None:
    """Write the calibrated scores of all places, for a look at what the network sees."""
    (left, bottom), (right, top) = work.to_micrograph(scores.edges)
    probabilities = model.calibration.probability(scores.scores)
    write_score_picture(path, probabilities, (left, right, bottom, top))


def _candidate_file(out: Path, name: str) -> Path:
    return out / CANDIDATES / f"{name}.csv"


def _claim(model: Model, out: Path, options: PickOptions, paths: Sequence[Path]) -> None:
    """Note whose candidates the folder holds; clear away what would be mistaken for them."""
    note = out / CANDIDATES / MODEL_NOTE
    mine = {
        "weights_sha256": model.card["weights_sha256"],
        "floor": options.floor,
        "pixel_size": options.pixel_size,
    }
    others = list((out / CANDIDATES).glob("*.csv"))
    same = note.is_file() and read_json(note) == mine
    if options.resume and others and not same:
        raise ApbcError(
            f"{out} holds the picks of another model, floor or pixel size, so the run cannot be "
            "resumed there; give another --out or leave --resume out"
        )
    stale = others if not same else [_candidate_file(out, path.stem) for path in paths]
    if not options.resume:
        for file in stale:
            file.unlink(missing_ok=True)
            (out / MAPS / f"{file.stem}.png").unlink(missing_ok=True)
            for suffix in FORMATS:
                (out / f"{file.stem}.{suffix}").unlink(missing_ok=True)
    write_json(note, mine)


def _export(
    out: Path,
    name: str,
    found: FloatArray,
    options: PickOptions,
    model: Model,
    pixel_size: float,
    outcome: Outcome,
) -> None:
    """Write the candidates above the threshold in every format asked for."""
    kept = found[found[:, 2] >= options.threshold]
    box = box_size_for(model.preprocessing.diameter, pixel_size)
    for suffix in options.formats:
        write_coordinates(out / f"{name}.{suffix}", kept[:, :2], kept[:, 2], box)
    outcome.candidates[name] = len(found)
    outcome.exported[name] = len(kept)


def _record(
    model: Model,
    out: Path,
    options: PickOptions,
    device: str,
    pixel_size: float,
    infos: dict[str, MicrographInfo],
    outcome: Outcome,
) -> None:
    """Write ``run.json`` and ``failed.csv``; other micrographs of the same model stay listed."""
    run_file = out / RUN_FILE
    weights = model.card["weights_sha256"]
    known: dict[str, Any] = read_json(run_file) if run_file.is_file() else {}
    if known.get("weights_sha256") != weights:
        known = {}
    micrographs = {
        **known.get("counts", {}),
        **{
            name: {"candidates": n, "exported": outcome.exported[name]}
            for name, n in outcome.candidates.items()
        },
    }
    shapes = {**known.get("shapes", {}), **{n: list(infos[n].shape) for n in outcome.candidates}}
    failed = {k: v for k, v in known.get("failed", {}).items() if k not in outcome.candidates}
    failed |= outcome.failed
    write_json(
        run_file,
        {
            "apbc_version": __version__,
            "model": os.fspath(model.folder),
            "weights_sha256": weights,
            "threshold": options.threshold,
            "floor": options.floor,
            "pixel_size": pixel_size,
            "diameter": model.preprocessing.diameter,
            "box_size": box_size_for(model.preprocessing.diameter, pixel_size) if pixel_size else 0,
            "device": device,
            "counts": micrographs,
            "shapes": shapes,
            "failed": failed,
        },
    )
    failed_file = out / FAILED_FILE
    if failed:
        import csv

        with atomic_path(failed_file) as temporary, temporary.open("w", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["micrograph", "reason"])
            writer.writerows(failed.items())
    else:
        failed_file.unlink(missing_ok=True)
