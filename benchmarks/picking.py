"""Compare apbc's picking with other pickers: accuracy, time, memory, calibration and more.

    . scripts/env.sh
    python benchmarks/picking.py [--only accuracy timing ...] [--seeds 0 1 2]

``make bench-picking`` does the same. Figures go to ``benchmarks/picking.json``, where sections that
were not run now stay, and from there into the tables of docs/benchmarks.md. What takes long is kept
in ``bench/picking`` and used again when nothing that it depends on has changed; remove that folder
to measure all anew. Needs the benchmark (``APBC_BENCH_DATA`` or ``../shared/bench``), Relion on
PATH, and the package index or a ``bench/topaz-env`` for Topaz. What is missing is told at the end,
stands in the record as null, and makes the exit status 1; a GPU may be missing. Where a GPU is on
another machine, run ``--only gpu --record FILE`` there and ``--only --merge FILE`` here.

Fair split: labels of the first seven micrographs, by name, scored on the last three; thresholds are
those of the programs, chosen without truth.

The sections ladder, classes, ceiling and labels are programs of their own with a function
``run(seeds)``, whose figures JSON can hold (``not run`` tells what is missing and why), and
``table(figures)``, which gives lines of Markdown.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pickers
import picking_report
import sections
from common import (
    DIAMETER,
    EDGE,
    PIXEL_SIZE,
    REPOSITORY,
    SHAPE,
    Missing,
    bench_data,
    digest,
    evaluate,
    logger,
    marginal,
    mean_and_spread,
    measured,
    prepare,
    split,
    versions,
)
from sections import Gaps, spread

from apbc.evaluation.expected import calibration_error
from apbc.evaluation.figures import score_picks
from apbc.io.coordinates import read_coordinate_folder

RECORD = REPOSITORY / "benchmarks" / "picking.json"
PROGRAMS = {  # sections that are programs of their own
    "ladder": "picking_ladder",
    "classes": "picking_classes",
    "ceiling": "picking_ceiling",
    "labels": "labels",
}
PUBLISHED = {"crYOLO": "crYOLO", "topaz": "Topaz", "deepPicker": "DeepPicker"}
QUALITY = (
    *("precision", "recall", "f1", "average_precision", "best_f1"),
    *("median_localisation_error", "median_localisation_share"),
    *("median_centred_localisation_error", "median_centred_localisation_share"),
)
COSTS = ("seconds", "cpu_seconds", "peak_gb")
# Particles of a micrograph, which Topaz wants to know: the good labels, 136 a micrograph, are said
# to hold a fifth of them (README of the benchmark, of all ten micrographs together).
EXPECTED = 680
ENSEMBLE = 3
REPEATS = 2  # of what is timed
OURS_TIMED, PEERS_TIMED = 10, 2  # micrographs in the longer of two runs
PROMISES = (0.7, 0.8, 0.9)
GPU_MICROGRAPHS = (20, 200)


# --- accuracy ----------------------------------------------------------------------------------


def accuracy(
    seeds: Sequence[int], gaps: Gaps, only: Sequence[str] = (), known: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """Every picker, trained on the first micrographs and scored on the last.

    With `only`, those of these names, or whose names hold one of its words; of the others what is
    `known` stays.
    """
    data, training, test = split()
    rows: dict[str, Any] = {}

    def ours(architecture: str, some: Sequence[int], extra: Sequence[object] = ()) -> Any:
        runs = []
        for seed in some:
            model = pickers.benchmark_model(architecture, seed, extra)
            runs.append(_scored(our_picks(model, test), model, data, test))
        return _over_seeds(runs, some)

    def topaz(correct_share: bool) -> Any:
        model = topaz_model(data, training, correct_share)
        return _scored(topaz_picks(model, test), model, data, test)

    def log() -> Any:
        return _scored(log_picks(test), None, data, test)

    measures: dict[str, Callable[[], Any]] = {
        "apbc `dense`": lambda: ours("dense", seeds),
        f"apbc `dense`, ensemble of {ENSEMBLE}": lambda: ours(
            "dense", seeds[:1], ("--ensemble", ENSEMBLE)
        ),
        "apbc `autopick-bc`": lambda: ours("autopick-bc", seeds),
        "Relion LoG": log,
        "Topaz, trained on the same good labels": lambda: topaz(True),
        "Topaz, the same, share of particle as it counts it": lambda: topaz(False),
        "Topaz, its general model": lambda: _scored(topaz_picks(None, test), None, data, test),
        **{f"published {label}": _published(peer, data, test) for peer, label in PUBLISHED.items()},
    }
    for label, measure in measures.items():
        wanted = label in only or any(w in label for w in only if w not in measures)
        if only and not wanted:
            rows[label] = known.get(label)
            if rows[label] is None:
                gaps.found[label] = "it was not asked for"
            continue
        rows[label] = gaps.attempt(label, measure)
        found = rows[label] and (rows[label]["all"] or rows[label]["published"])
        if found:
            logger.info("%s: F1 %s", label, spread(found["f1"]))
    return {
        "training_micrographs": [path.stem for path in training],
        "scored_micrographs": [path.stem for path in test],
        "published_micrographs": [path.stem for path in have_published(test)],
        "rule": f"one to one within half of {DIAMETER:g} Å, border of {EDGE:g} Å left out; "
        "precision, recall and F1 are means of the micrographs",
        "pickers": rows,
    }


def our_picks(model: pickers.Model, test: Sequence[Path], *extra: object) -> pickers.Picks:
    """Pick with a model of the benchmark's labels."""
    name = f"{Path(model.path).parent.name}-picks" + "".join(f"-{word}" for word in extra)
    return pickers.apbc_pick(test, model, pickers.KEPT / name.replace("--", ""), extra)


def topaz_model(data: Path, training: Sequence[Path], correct_share: bool = True) -> pickers.Model:
    """Topaz trained on the benchmark's good labels."""
    return pickers.topaz_train(
        training,
        data / "good",
        expected=EXPECTED,
        pixel_size=PIXEL_SIZE,
        diameter=DIAMETER,
        out=pickers.KEPT / ("topaz-0" if correct_share else "topaz-own-share-0"),
        correct_share=correct_share,
    )


def topaz_picks(model: pickers.Model | None, test: Sequence[Path]) -> pickers.Picks:
    """Pick with it; without a model, with Topaz's general one."""
    name = "topaz-general" if model is None else Path(model.path).parent.name
    return pickers.topaz_pick(
        test, model, pixel_size=PIXEL_SIZE, diameter=DIAMETER, out=pickers.KEPT / f"{name}-picks"
    )


def log_picks(test: Sequence[Path]) -> pickers.Picks:
    """Pick with Relion's blob finder."""
    return pickers.relion_log(
        test, pixel_size=PIXEL_SIZE, diameter=DIAMETER, out=pickers.KEPT / "relion-log"
    )


def have_published(test: Sequence[Path]) -> list[Path]:
    """Scored micrographs of which there are published picks."""
    folder = bench_data() / "data" / "empiar-10017" / "peers"
    return [p for p in test if all((folder / q / f"{p.stem}.box").is_file() for q in PUBLISHED)]


def _figures(
    folder: Path, threshold: float | None, data: Path, paths: Sequence[Path]
) -> dict[str, Any]:
    return evaluate(folder, data / "truth", [path.stem for path in paths], threshold)


def _scored(
    picks: pickers.Picks, model: pickers.Model | None, data: Path, test: Sequence[Path]
) -> dict[str, Any]:
    """Figures, costs and settings of one run of a picker."""
    row = {
        "all": _figures(picks.folder, picks.threshold, data, test),
        "published": _figures(picks.folder, picks.threshold, data, have_published(test)),
        "training": None if model is None else model.costs,
        "picking": {
            **picks.costs,
            **{key: picks.costs[key] / len(test) for key in ("seconds", "cpu_seconds")},
        },
        "settings": {
            "training": None if model is None else model.settings,
            "picking": picks.settings,
        },
    }
    lowest = picks.settings.get("lowest")
    if lowest is not None:  # the default of its command, if it is not the threshold
        row["all_at_lowest"] = _figures(picks.folder, lowest, data, test)
    return row


def _over_seeds(runs: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
    """Mean and spread of runs that differ in their seed, and the runs."""
    return {
        "all": mean_and_spread([run["all"] for run in runs], QUALITY),
        "published": mean_and_spread([run["published"] for run in runs], QUALITY),
        "training": mean_and_spread([run["training"] for run in runs], COSTS),
        "picking": mean_and_spread([run["picking"] for run in runs], COSTS),
        "runs": {str(seed): run for seed, run in zip(seeds, runs, strict=True)},
    }


def _published(peer: str, data: Path, test: Sequence[Path]) -> Callable[[], Any]:
    """Score the picks that another program's run published, which threshold they have or not."""

    def measure() -> dict[str, Any]:
        folder = bench_data() / "data" / "empiar-10017" / "peers" / peer
        if not folder.is_dir():
            raise Missing(f"there are no published picks in {folder}")
        found = _figures(folder, None, data, have_published(test))
        return {"all": None, "published": found, "training": None, "picking": None}

    return measure


# --- timing ------------------------------------------------------------------------------------


def timing(seeds: Sequence[int], gaps: Gaps) -> dict[str, Any]:
    """Pick in turn with each program, with few and with more micrographs, and take medians.

    The difference of both runs tells what a micrograph costs, the rest is start-up.
    """
    data, training, test = split()
    paths = [*test, *training]
    model = pickers.benchmark_model(seed=seeds[0])
    sizes = {"pixel_size": PIXEL_SIZE, "diameter": DIAMETER}
    folder = pickers.KEPT / "timing"
    programs: dict[str, tuple[int, Callable[[list[Path], Path], pickers.Picks]]] = {
        "apbc `dense`": (OURS_TIMED, lambda some, out: pickers.apbc_pick(some, model, out)),
    }
    if gaps.attempt("Relion LoG", pickers.relion_version):
        programs["Relion LoG"] = (
            PEERS_TIMED,
            lambda some, out: pickers.relion_log(some, out=out, **sizes),
        )
    peer = gaps.attempt("Topaz", lambda: topaz_model(data, training))
    if peer:
        programs["Topaz, preprocess and extract"] = (
            PEERS_TIMED,
            lambda some, out: pickers.topaz_pick(some, peer, out=out, **sizes),
        )
    runs: dict[str, list[dict[str, float]]] = {label: [] for label in programs}
    for repeat in range(REPEATS + 1):  # the first of all fills caches and does not count
        shutil.rmtree(folder, ignore_errors=True)
        for i, (label, (count, pick)) in enumerate(programs.items()):
            if repeat == 0 and i > 0:
                continue
            one = pick(paths[:1], folder / f"{i}-one").costs
            many = pick(paths[:count], folder / f"{i}-many").costs
            if repeat > 0:
                runs[label].append(marginal(one, many, (1, count)))
                logger.info("%s: %s", label, runs[label][-1])
    steps = _steps(model, paths, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "what": "from the start to written coordinate files; "
        f"runs of 1 and of {OURS_TIMED} (apbc) or {PEERS_TIMED} micrographs, "
        f"programs in turn, median of {REPEATS}",
        "shape": list(SHAPE),
        "pickers": {
            label: {
                "median": {key: statistics.median(row[key] for row in rows) for key in rows[0]},
                "runs": rows,
            }
            for label, rows in runs.items()
        },
        "steps": steps,
    }


def _steps(
    model: pickers.Model, paths: Sequence[Path], folder: Path, gpu_list: str = ""
) -> dict[str, Any]:
    """Where the time of apbc goes."""
    script, out = REPOSITORY / "benchmarks" / "picking_steps.py", folder / "steps.json"
    measured([sys.executable, script, model.path, *paths, "--gpu", gpu_list, "--json", out])
    return dict(json.loads(out.read_text()))


# --- calibration -------------------------------------------------------------------------------


def calibration(seeds: Sequence[int], gaps: Gaps) -> dict[str, Any]:
    """Scores of candidates against the truth of the scored micrographs."""
    data, _, test = split()
    rows: dict[str, Any] = {}
    for seed in seeds:
        label = f"apbc `dense`, seed {seed}"
        rows[label] = gaps.attempt(
            label, lambda seed=seed: _candidates_against_truth(data, test, seed)
        )
        if rows[label] is None:
            continue
        model = pickers.benchmark_model(seed=seed)
        rows[label]["promised"] = [
            gaps.attempt(
                f"{label}, precision {p:g}",
                lambda model=model, p=p: _promise(data, test, model, p),
            )
            for p in PROMISES
        ]
    return {"promises": list(PROMISES), "models": rows}


def _candidates_against_truth(data: Path, test: Sequence[Path], seed: int) -> dict[str, Any]:
    names = [path.stem for path in test]
    found = our_picks(pickers.benchmark_model(seed=seed), test)
    matches = score_picks(
        read_coordinate_folder(found.folder),
        read_coordinate_folder(data / "truth"),
        DIAMETER / PIXEL_SIZE / 2,
        shapes=dict.fromkeys(names, SHAPE),
        edge=EDGE / PIXEL_SIZE,
        only=names,
    ).matches.values()
    scores = np.concatenate([match.picks[:, 2] for match in matches])
    right = np.concatenate([match.hit for match in matches])
    return {
        "candidates": len(scores),
        "mean_score": float(scores.mean()),
        "share_right": float(right.mean()),
        "calibration_error": calibration_error(scores, right),
        "threshold": found.threshold,
    }


def _promise(
    data: Path, test: Sequence[Path], model: pickers.Model, precision: float
) -> dict[str, Any]:
    """Figures of a run that was asked for a precision."""
    found = our_picks(model, test, "--precision", precision)
    figures = _figures(found.folder, found.threshold, data, test)
    return {key: figures[key] for key in ("threshold", "precision", "recall", "f1")}


# --- GPU ---------------------------------------------------------------------------------------


def gpu(seeds: Sequence[int], gaps: Gaps) -> dict[str, Any]:
    """Micrographs a second on the first GPU, data in memory."""
    del gaps
    if not shutil.which("nvidia-smi"):
        raise Missing("there is no GPU (no nvidia-smi)")
    paths = sorted((prepare(1) / "micrographs").glob("*.mrc"))
    model = pickers.benchmark_model(seed=seeds[0])
    folder = pickers.KEPT / "gpu"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "micrographs").mkdir(parents=True)
    links = []
    for i in range(max(GPU_MICROGRAPHS)):
        links.append(folder / "micrographs" / f"m{i:04d}.mrc")
        links[-1].symlink_to(paths[i % len(paths)])
    words = ("--gpu", "0")
    few, many = GPU_MICROGRAPHS
    first = pickers.apbc_pick(links[:few], model, folder / "few", words)
    second = pickers.apbc_pick(links[:many], model, folder / "many", words)
    seconds = (second.costs["seconds"] - first.costs["seconds"]) / (many - few)
    record = json.loads((folder / "many" / "picks" / "run.json").read_text())
    if record["device"] == "cpu":
        raise Missing("the engine does not use the GPU; see apbc doctor")
    steps = _steps(model, [*paths, *paths], folder, "0")
    return {
        "micrographs": many,
        "device": record["device"],
        "per_second": 1 / seconds,
        "start_seconds": first.costs["seconds"] - few * seconds,
        "steps": steps,
        "network_share": steps["seconds"]["network"] / seconds,
        "peak_gb": second.costs["peak_gb"],
    }


# --- all ---------------------------------------------------------------------------------------


def program(name: str) -> ModuleType:
    """Program of a section that is one of its own."""
    return importlib.import_module(PROGRAMS[name])


OWN: dict[str, Callable[[Sequence[int], Gaps], dict[str, Any]]] = {
    "accuracy": accuracy,
    "timing": timing,
    "calibration": calibration,
    "gpu": gpu,
}
SECTIONS = [*picking_report.TITLES]


def measure(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Run a section: its figures, and with what, where and when they were measured."""

    def figures(gaps: Gaps) -> Any:
        if name in OWN:
            return OWN[name](seeds, gaps)
        found = program(name).run(list(seeds))
        gaps.found |= found.get("not run", {})
        return found

    return sections.measure(picking_report.PROGRAM, name, seeds, figures, programs, describe_data)


def programs() -> dict[str, Any]:
    """Versions of ours and of the peers that are there."""
    used: dict[str, Any] = dict(versions())
    peers = Gaps()
    used["relion"] = peers.attempt("Relion", pickers.relion_version)
    if pickers.topaz_is_there():
        theirs = peers.attempt("Topaz", pickers.topaz_versions) or {}
        # Topaz has an environment of its own, whose numpy is not ours.
        used |= {k if k == "topaz-em" else f"{k} of Topaz": v for k, v in theirs.items()}
    return used


def describe_data() -> dict[str, Any]:
    """Which data the benchmark holds."""
    folder = bench_data() / "data" / "empiar-10017"
    parts = ("micrographs", "good", "bad", "truth")
    return {
        "set": "EMPIAR-10017, ten micrographs as denoised by CryoPPP, with its expert truth and "
        "Autopick-BC's labels",
        "pixel_size": PIXEL_SIZE,
        "sha256": {part: digest((folder / part).iterdir()) for part in parts},
    }


def main() -> int:
    """Run the sections asked for; write the record and the tables."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="*", choices=SECTIONS, default=SECTIONS, help="none: tables only"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--record", type=Path, default=RECORD, metavar="FILE", help="write figures here instead"
    )
    parser.add_argument(
        "--merge", type=Path, metavar="FILE", help="take over sections of another machine's record"
    )
    parser.add_argument(
        "--pickers",
        nargs="+",
        default=[],
        metavar="WORD",
        help="of the accuracy, measure these alone and keep what is known of the others",
    )
    args = parser.parse_args()
    if args.pickers:
        earlier = sections.merge(args.record, {}).get("accuracy") or {}
        known = (earlier.get("figures") or {}).get("pickers", {})
        OWN["accuracy"] = partial(accuracy, only=args.pickers, known=known)
    if args.merge:
        sections.merge(args.record, json.loads(args.merge.read_text(encoding="utf-8")))
    gaps: dict[str, str] = {}
    for name in args.only:
        logger.info("%s ...", name)
        section = measure(name, args.seeds)
        sections.merge(args.record, {name: section})
        if name != "gpu":  # which most machines lack
            gaps |= {f"{name}: {what}": why for what, why in section["not_measured"].items()}
    if args.record == RECORD:
        others = {name: Gaps().attempt(name, lambda name=name: program(name)) for name in PROGRAMS}
        record = sections.merge(RECORD, {})
        sections.write_tables(
            sections.PAGE, picking_report.TARGET, picking_report.tables(record, others)
        )
    for what, why in gaps.items():
        logger.error("NOT MEASURED: %s: %s", what, why)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
