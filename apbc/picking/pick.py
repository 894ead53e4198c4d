"""Pick every micrograph: candidates with scores, and what a threshold exports."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apbc import __version__
from apbc.errors import ApbcError
from apbc.evaluation.expected import Promise
from apbc.geometry import box_size_for
from apbc.io.ctf import Ctf
from apbc.io.files import atomic_path, read_json, write_json
from apbc.io.images import MicrographInfo, micrograph_info, pixel_size_of
from apbc.io.runs import NAME as RUN_FILE
from apbc.io.runs import locked
from apbc.models.folder import Model
from apbc.picking.export import (
    candidate_file,
    candidate_files,
    export,
    export_with_promise,
    read_candidates,
)
from apbc.picking.options import CANDIDATES, FORMATS, MAPS, PickOptions
from apbc.picking.pipeline import Done, Share
from apbc.progress import track

logger = logging.getLogger(__name__)

MODEL_NOTE = "model.json"
FAILED_FILE = "failed.csv"


@dataclass
class Outcome:
    """What a run did: counts by micrograph, reasons of failures, and the threshold taken."""

    promise: Promise
    candidates: dict[str, int] = field(default_factory=dict)
    exported: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)

    def add(self, done: Done) -> None:
        """Count a micrograph."""
        if done.failure is not None:
            self.failed[done.name] = done.failure
            return
        self.candidates[done.name], self.exported[done.name] = done.candidates, done.exported
        self.devices.add(done.device)


def pick(
    model: Model,
    paths: Sequence[Path],
    out: Path,
    options: PickOptions,
    picker: Callable[[Share], Generator[Done, None, None]],
    ctfs: dict[str, Ctf] | None = None,
) -> Outcome:
    """Pick micrographs; memory does not grow with their number.

    A micrograph that cannot be read or picked is reported and the others go on.

    Parameters
    ----------
    model : Model
        Its network is not used.
    paths : sequence of Path
        Micrographs.
    out : Path
        Folder for the results.
    options : PickOptions
    picker : callable
        `pick_here` or `pick_in_processes` of `apbc.picking.workers`, with the model.
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
        ctfs = None
    with locked(out):
        _claim(model, out, options, paths)
    outcome = Outcome(Promise(options.threshold, None))
    infos: dict[str, MicrographInfo] = {}
    for path in paths:
        try:
            infos[path.stem] = micrograph_info(path)
        except ApbcError as error:
            outcome.failed[path.stem] = str(error)
    pixel_size = pixel_size_of(list(infos.values()), options.pixel_size) if infos else 0.0
    box = box_size_for(model.preprocessing.diameter, pixel_size) if infos else 0
    todo = []
    for name, info in infos.items():
        if not (options.resume and candidate_file(out, name).is_file()):
            todo.append(info)
            continue
        found = read_candidates(candidate_file(out, name))
        exported = 0
        if options.precision is None:
            exported = export(out, name, found, options, options.threshold, box)
        outcome.candidates[name], outcome.exported[name] = len(found), exported
    if options.resume and len(todo) < len(infos):
        logger.info(
            "%d micrographs are done already, %d are left", len(infos) - len(todo), len(todo)
        )
    if todo:
        share = Share(todo, pixel_size, out, options, ctfs or {})
        with closing(picker(share)) as results:
            for done in track(results, len(todo), "micrographs"):
                outcome.add(done)
    with locked(out):
        counts = {
            name: (number, outcome.exported[name]) for name, number in outcome.candidates.items()
        }
        if options.precision is not None and infos:
            outcome.promise, counts = export_with_promise(out, options, box)
            outcome.exported = {name: counts[name][1] for name in outcome.candidates}
        _record(model, out, options, pixel_size, box, infos, counts, outcome)
    return outcome


def _claim(model: Model, out: Path, options: PickOptions, paths: Sequence[Path]) -> None:
    """Note whose candidates the folder holds; clear away what would be mistaken for them."""
    note = out / CANDIDATES / MODEL_NOTE
    mine = {
        "weights_sha256": model.card["weights_sha256"],
        "floor": options.floor,
        "pixel_size": options.pixel_size,
    }
    others = candidate_files(out)
    same = note.is_file() and read_json(note) == mine
    if options.resume and others and not same:
        raise ApbcError(
            f"{out} holds the picks of another model, floor or pixel size, so the run cannot be "
            "resumed there; give another --out or leave --resume out"
        )
    stale = others if not same else [candidate_file(out, path.stem) for path in paths]
    if not options.resume:
        for file in stale:
            file.unlink(missing_ok=True)
            (out / MAPS / f"{file.stem}.png").unlink(missing_ok=True)
            for suffix in FORMATS:
                (out / f"{file.stem}.{suffix}").unlink(missing_ok=True)
    write_json(note, mine)


def _record(
    model: Model,
    out: Path,
    options: PickOptions,
    pixel_size: float,
    box: int,
    infos: dict[str, MicrographInfo],
    counts: dict[str, tuple[int, int]],
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
        **{name: {"candidates": n, "exported": kept} for name, (n, kept) in counts.items()},
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
            "threshold": outcome.promise.threshold,
            "precision_asked": options.precision,
            "precision_expected": outcome.promise.expected,
            "floor": options.floor,
            "pixel_size": pixel_size,
            "diameter": model.preprocessing.diameter,
            "box_size": box,
            "device": " + ".join(sorted(outcome.devices)) or known.get("device", ""),
            "counts": dict(sorted(micrographs.items())),
            "shapes": dict(sorted(shapes.items())),
            "failed": failed,
        },
    )
    failed_file = out / FAILED_FILE
    if failed:
        with atomic_path(failed_file) as temporary, temporary.open("w", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(["micrograph", "reason"])
            writer.writerows(failed.items())
    else:
        failed_file.unlink(missing_ok=True)
