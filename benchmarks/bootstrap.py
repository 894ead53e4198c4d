"""Measure what apbc makes of bare micrographs, without any label: DeepCryoPicker's bootstrap.

    . scripts/env.sh
    python benchmarks/bootstrap.py [--only detection taught ...] [--seeds 0 1 2] [--quick]

``make bench-bootstrap`` does the same. Figures go to ``benchmarks/bootstrap.json``, where sections
that were not run now stay, and from there into the tables of docs/benchmarks.md. What takes long
is kept in ``bench/bootstrap`` and used again when nothing that it depends on has changed; the
pictures are there, too. Needs the benchmark (``APBC_BENCH_DATA`` or ``../shared/bench``) and, for
one line of comparison, Relion. What is missing is told at the end and makes the exit status 1.
``--quick`` tries every step with next to no training and writes to ``bench/bootstrap/quick.json``.

Truth scores, and does nothing else: no threshold, size or shape is chosen with it. All runs are
told the particle's diameter, unless they say otherwise, and take every other default.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bootstrap_mix
import bootstrap_report
import numpy as np
import pickers
import sections
from common import (
    DIAMETER,
    EDGE,
    PIXEL_SIZE,
    REPOSITORY,
    SHAPE,
    TRAINING,
    WORK,
    bench_data,
    digest,
    evaluate,
    kept,
    logger,
    marginal,
    mean_and_spread,
    measured,
    prepare,
    versions,
)
from sections import Gaps

from apbc.bootstrap.examples import SHAPES, Examples
from apbc.bootstrap.table import read_examples
from apbc.display.bootstrap import read_stages, stage_figure
from apbc.evaluation.matching import NONE, match_closest_first
from apbc.io.coordinates import write_coordinates
from apbc.io.files import read_json

RECORD = REPOSITORY / "benchmarks" / "bootstrap.json"
PICKING = REPOSITORY / "benchmarks" / "picking.json"
KEPT = WORK / "bootstrap"
SETTLED_BY = 5  # micrographs that a bootstrap looks at first
PAPER_CPU_MINUTES = 15.7  # of picking a micrograph
QUALITY = ("precision", "recall", "f1", "average_precision", "best_f1")


@dataclass(frozen=True)
class RealSet:
    """A set of the benchmark.

    Attributes
    ----------
    name : str
        As ``prepare.py`` knows it.
    binning : int
    pixel_size, diameter, edge : float
        Å: of the binned micrographs; of a particle; of the border that is not scored.
    shape : (int, int)
        Of the binned micrographs.
    """

    name: str
    binning: int
    pixel_size: float
    diameter: float
    edge: float
    shape: tuple[int, int]

    def micrographs(self) -> list[Path]:
        """Files, by name."""
        return sorted((self.folder() / "micrographs").glob("*.mrc"))

    def folder(self) -> Path:
        """Where ``prepare.py`` has put it."""
        return prepare(self.binning, self.name)

    def score(
        self, picks: Path, paths: Sequence[Path], threshold: float | None = None
    ) -> dict[str, Any]:
        """Figures of picks on some micrographs by our rule and the authors': `common.evaluate`."""
        return evaluate(
            picks,
            self.folder() / "truth",
            [path.stem for path in paths],
            threshold,
            pixel_size=self.pixel_size,
            diameter=self.diameter,
            edge=self.edge,
            shape=self.shape,
            authors_rule=True,
        )


APOFERRITIN = RealSet("empiar-10146", 1, 1.5, 110.0, 60.0, (1200, 1240))
GALACTOSIDASE = RealSet("empiar-10017", 1, PIXEL_SIZE, DIAMETER, EDGE, SHAPE)
KLH = RealSet("klh", 2, 4.4, 320.0, 0.0, (1024, 1024))

# What is on the KLH micrograph: x, y in its binned pixels. Marked by eye, on the smoothed picture
# and before any detection was looked at, by the author of this program, who is no expert.
MARKED = {
    "top": [(366, 165), (663, 117), (812, 234), (753, 499), (559, 765), (805, 810), (185, 933)],
    "side": [
        *((516, 351), (595, 412), (646, 483), (597, 560), (705, 596)),
        *((412, 581), (427, 671), (727, 753), (458, 806), (416, 880)),
    ],
}
# Side views of twice the length, and two of them across one another: neither asked for nor wrong.
DOUBTFUL = [(160, 677), (229, 850), (95, 600), (170, 552)]


# What counts as found: good and bad examples, since most bad ones are particles (but not those that
# are said to be none); without those whose evidence is thin; and the good ones alone.
KINDS: dict[str, Callable[[Examples], Any]] = {
    "all": lambda rows: rows.is_particle,
    "all but faint": lambda rows: rows.is_particle & (np.array(rows.reason, object) != "faint"),
    "good alone": lambda rows: rows.good,
}
CHOICES = {**KINDS, "labels": lambda rows: rows.is_label}  # and what `dense` is taught


@dataclass(frozen=True)
class Effort:
    """How much is trained.

    Attributes
    ----------
    folds : int
        Of the apoferritin micrographs, how many are left out in turn.
    dense : tuple
        Options of ``apbc train``.
    samples : int
        Patches of each class for the classifier; the paper's and the default are 1,500.
    classifier : tuple
        Options of its training.
    copies : int
        Micrographs in the longer of two runs that are timed.
    repeats : int
        Of what is timed.
    most : int
        Training micrographs of a set at most.
    """

    folds: int = 3
    dense: tuple[object, ...] = ()
    samples: int = 400
    classifier: tuple[object, ...] = ("--epochs", 10)
    copies: int = 30
    repeats: int = 3
    most: int = 10


FULL = Effort()
QUICK = Effort(1, ("--epochs", 1), 40, ("--epochs", 1), 8, 1, 3)


# --- detection ---------------------------------------------------------------------------------


def detection(seeds: Sequence[int], effort: Effort, gaps: Gaps) -> dict[str, Any]:
    """Score what is found on the apoferritin micrographs by detection alone."""
    del seeds, effort, gaps
    known = APOFERRITIN
    rows = {}
    for label, diameter in (("given", known.diameter), ("estimated", None)):
        out = KEPT / f"detection-{label}"
        costs = pickers.apbc_bootstrap(known.micrographs(), out, diameter, ["--examples-only"])
        record = read_json(out / "bootstrap.json")
        rows[f"diameter {label}"] = {
            "diameter": record["diameter"],
            "low": record["diameter_low"],
            "high": record["diameter_high"],
            "command": costs["commands"][0],
            "found": {
                which: _scored_examples(known, out, known.micrographs(), which) for which in KINDS
            },
        }
    return {
        "rule": _rule(known),
        "authors_rule": "a pick is right if its centre lies in the disc of a known particle, two "
        "in one disc are both right, and misses are the difference of the numbers",
        "runs": rows,
    }


def _rule(known: RealSet) -> str:
    return (
        f"one to one within half of {known.diameter:g} Å, border of {known.edge:g} Å left out, "
        "all else at its default"
    )


def found_by(out: Path, which: str) -> dict[str, Examples]:
    """Examples of a bootstrap that count as found; `which` is a key of `CHOICES`."""
    found = {path.stem: read_examples(path) for path in sorted((out / "examples").glob("*.csv"))}
    return {name: rows.select(CHOICES[which](rows)) for name, rows in found.items()}


def _scored_examples(
    known: RealSet, out: Path, paths: Sequence[Path], which: str
) -> dict[str, Any]:
    """Score examples as picks, by our rule and by the authors'."""
    folder = out / f"found-{which.replace(' ', '-')}"
    folder.mkdir(exist_ok=True)
    for name, rows in found_by(out, which).items():
        write_coordinates(folder / f"{name}.csv", rows.positions, rows.metric)
    return known.score(folder, paths)


# --- taught ------------------------------------------------------------------------------------


def taught(seeds: Sequence[int], effort: Effort, gaps: Gaps) -> dict[str, Any]:
    """Train `dense` on what was found without a label, and pick micrographs left out."""
    paths = APOFERRITIN.micrographs()
    folds = [([*paths[:i], *paths[i + 1 :]], paths[i : i + 1]) for i in range(effort.folds)]
    first = GALACTOSIDASE.micrographs()
    some = first[:TRAINING][: effort.most]
    return {
        "apoferritin": {
            "rule": _rule(APOFERRITIN),
            "folds": [_taught(APOFERRITIN, two, one, seeds, effort, gaps) for two, one in folds],
        },
        "beta-galactosidase": {
            "rule": _rule(GALACTOSIDASE),
            "folds": [_taught(GALACTOSIDASE, some, first[TRAINING:], seeds, effort, gaps)],
            "from_labels": _from_labels(),
        },
    }


def _taught(
    known: RealSet,
    training: Sequence[Path],
    test: Sequence[Path],
    seeds: Sequence[int],
    effort: Effort,
    gaps: Gaps,
) -> dict[str, Any]:
    """Bootstrap on some micrographs, train with several seeds, pick and score others."""
    name = f"{known.name}-without-{test[0].stem}"
    out = KEPT / f"boot-{name}"
    made = pickers.apbc_bootstrap(training, out, known.diameter)
    record = read_json(out / "bootstrap.json")
    runs = []
    for seed in seeds:
        place = KEPT / f"dense-{name}-{seed}"
        model = pickers.apbc_train(out / "data.h5", place, "dense", seed, effort.dense)
        picks = pickers.apbc_pick(test, model, place.with_name(f"{place.name}-picks"))
        figures = known.score(picks.folder, test, picks.threshold)
        runs.append({**figures, "seed": seed, "training_seconds": model.costs["seconds"]})
        logger.info("%s, seed %d: F1 %.3f", name, seed, figures["f1"])
    blobs = gaps.attempt(
        "Relion LoG",
        lambda: pickers.relion_log(
            test, pixel_size=known.pixel_size, diameter=known.diameter, out=KEPT / f"log-{name}"
        ),
    )
    return {
        "training": [path.stem for path in training],
        "scored": [path.stem for path in test],
        "bootstrap_seconds": made["seconds"],
        "shapes": record["shapes"],
        "warnings": record["warnings"],
        "labels": {
            key: _scored_examples(known, out, training, "labels")[key]
            for key in ("picks", "precision")
        },
        "dense": {
            **mean_and_spread(runs, (*QUALITY, "training_seconds")),
            "runs": runs,
        },
        "log": blobs and known.score(blobs.folder, test),
    }


def _from_labels() -> dict[str, Any] | None:
    """Tell the figures of the same network from labels, where ``picking.py`` has measured them."""
    rows = sections.merge(PICKING, {}).get("accuracy", {}).get("figures") or {}
    row = rows.get("pickers", {}).get("apbc `dense`")
    return row and row["all"]


# --- KLH ---------------------------------------------------------------------------------------


def klh(seeds: Sequence[int], effort: Effort, gaps: Gaps) -> dict[str, Any]:
    """Count side and top views that are found, beside those that a person marks."""
    del seeds, effort, gaps
    out = KEPT / "klh"
    made = pickers.apbc_bootstrap(KLH.micrographs(), out, KLH.diameter, ["--examples-only"])
    name = KLH.micrographs()[0].stem
    picture = draw_marked(out / "stages" / f"{name}.npz", KEPT / "klh.png")
    counts = {}
    for which in KINDS:
        counts[which] = against_marks(found_by(out, which)[name])
        logger.info("KLH, %s: %s", which, counts[which])
    return {
        "micrograph": name,
        "command": made["commands"][0],
        "marked": {shape: len(places) for shape, places in MARKED.items()},
        "marked_by": "the author of the program by eye, before any detection was looked at",
        "doubtful": len(DOUBTFUL),
        "found": counts,
        "picture": str(picture.relative_to(REPOSITORY)),
    }


def draw_marked(stages: Path, out: Path) -> Path:
    """Draw the examples of the KLH micrograph with the places that a person marks."""
    record = read_stages(stages)
    figure = stage_figure(record, "examples")
    factor = KLH.pixel_size / record.pixel_size
    kinds = {"marked: top view": ("o", MARKED["top"]), "marked: side view": ("s", MARKED["side"])}
    kinds["marked: neither"] = ("x", DOUBTFUL)
    for label, (marker, places) in kinds.items():
        x, y = ((np.array(places, float) + 0.5) * factor - 0.5).T
        figure.axes[0].plot(x, y, marker, ms=6, mec="#ffd84d", mfc="none", mew=1.4, label=label)
    figure.legend(loc="upper right", fontsize=9, facecolor="#555555", labelcolor="white")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out


def against_marks(found: Examples) -> dict[str, int]:
    """Count what was found of the marks, within half a diameter and one to one.

    Returns
    -------
    dict
        Of each shape the marks that were found (``top``, ``side``), and those whose shape was
        told wrong (``... as another shape``); ``on doubtful objects``; ``false``.
    """
    shapes = [shape for shape, places in MARKED.items() for _ in places] + ["doubtful"] * len(
        DOUBTFUL
    )
    marks = np.array([*(xy for places in MARKED.values() for xy in places), *DOUBTFUL], float)
    owners = match_closest_first(found.positions, marks, KLH.diameter / KLH.pixel_size / 2)
    counts = {key: 0 for shape in MARKED for key in (shape, f"{shape} as another shape")}
    for owner, shape in zip(owners, found.shape, strict=True):
        mark = shapes[owner] if owner != NONE else None
        if mark in MARKED:
            counts[mark] += 1
            counts[f"{mark} as another shape"] += SHAPES[shape] != mark
    counts["on doubtful objects"] = sum(shapes[o] == "doubtful" for o in owners if o != NONE)
    counts["false"] = int((owners == NONE).sum())
    return counts


# --- AlexNet -----------------------------------------------------------------------------------


def alexnet(seeds: Sequence[int], effort: Effort, gaps: Gaps) -> dict[str, Any]:
    """Train the paper's network as a classifier of four classes and as a picker of apoferritin."""
    del gaps
    seed = seeds[0]
    return {
        "classifier": classifier(seed, effort),
        "picking": _picked_by_classifier(seed, effort),
    }


def classifier(seed: int, effort: Effort) -> dict[str, Any]:
    """Train a classifier of four classes from three data sets, and score its test part."""
    barrels = bootstrap_mix.simulate_barrels(KEPT / "barrel", seed=11)
    sources = {
        "apoferritin": (APOFERRITIN.micrographs(), APOFERRITIN.diameter, "top"),
        "simulated barrel": (barrels, bootstrap_mix.BARREL, "top,side"),
        "beta-galactosidase": (
            *(GALACTOSIDASE.micrographs()[: effort.most], GALACTOSIDASE.diameter),
            "irregular",
        ),
    }
    folders = {}
    for name, (paths, diameter, shapes) in sources.items():
        folders[name] = KEPT / f"boot-patches-{name.replace(' ', '-')}"
        extra = ["--shape", shapes, "--samples", effort.samples, "--seed", seed]
        pickers.apbc_bootstrap(paths, folders[name], diameter, extra)
    mixed = KEPT / "mixed"
    request = {name: read_json(folder / "kept.json") for name, folder in folders.items()}
    kept(
        mixed,
        {"sources": request, "program": digest([Path(bootstrap_mix.__file__)])},
        lambda folder: bootstrap_mix.mix(
            {name: place / "data.h5" for name, place in folders.items()},
            folder / "data.h5",
            effort.samples,
            seed,
        ),
    )
    place = KEPT / "alexnet-mixed"
    model = pickers.apbc_train(mixed / "data.h5", place, "alexnet", seed, effort.classifier)
    script, out = bootstrap_mix.__file__, place / "sources.json"
    measured([sys.executable, script, model.path, mixed / "data.h5", "--json", out])
    card = read_json(Path(model.path) / "card.json")
    test = card["classifier"]["test"]
    logger.info("classifier: accuracy %s of %s patches", test["accuracy"], test["samples"])
    return {
        "classes": card["classes"],
        "samples": effort.samples,
        "training_options": [str(word) for word in effort.classifier],
        "training_seconds": model.costs["seconds"],
        "micrographs": {name: len(paths) for name, (paths, *_) in sources.items()},
        "parts": {part: figures["samples"] for part, figures in card["classifier"].items()},
        "test": test,
        "by_source": read_json(out),
        "shapes": {name: shapes for name, (*_, shapes) in sources.items()},
    }


def apoferritin_classifier(seed: int, effort: Effort) -> pickers.Model:
    """Classifier trained on all apoferritin micrographs but the last."""
    *training, test = APOFERRITIN.micrographs()
    out = KEPT / f"boot-{APOFERRITIN.name}-patches"
    extra = ["--samples", effort.samples, "--seed", seed]
    pickers.apbc_bootstrap(training, out, APOFERRITIN.diameter, extra)
    place = KEPT / f"alexnet-{APOFERRITIN.name}-without-{test.stem}"
    return pickers.apbc_train(out / "data.h5", place, "alexnet", seed, effort.classifier)


def _picked_by_classifier(seed: int, effort: Effort) -> dict[str, Any]:
    """Train the classifier on two apoferritin micrographs, pick and score the third."""
    *training, test = APOFERRITIN.micrographs()
    model = apoferritin_classifier(seed, effort)
    picks = pickers.apbc_pick(
        [test], model, KEPT / f"alexnet-{APOFERRITIN.name}-without-{test.stem}-picks"
    )
    card = read_json(Path(model.path) / "card.json")
    return {
        "training": [path.stem for path in training],
        "scored": [test.stem],
        "classes": card["classes"],
        "samples": effort.samples,
        "training_options": [str(word) for word in effort.classifier],
        "training_seconds": model.costs["seconds"],
        "picking_seconds": picks.costs["seconds"],
        "figures": APOFERRITIN.score(picks.folder, [test], picks.threshold),
    }


# --- time --------------------------------------------------------------------------------------


def time_taken(seeds: Sequence[int], effort: Effort, gaps: Gaps) -> dict[str, Any]:
    """Time bootstrap and picking with few and with more micrographs; the difference tells.

    The micrographs are those of apoferritin, again and again under other names.
    """
    del gaps
    folder = KEPT / "time"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "micrographs").mkdir(parents=True)
    paths, links = APOFERRITIN.micrographs(), []
    for i in range(effort.copies):
        links.append(folder / "micrographs" / f"m{i:02d}.mrc")
        links[-1].symlink_to(paths[i % len(paths)].resolve())

    def found(workers: int) -> Callable[[list[Path], Path], dict[str, Any]]:
        words = ["--examples-only", "--workers", workers]
        return lambda these, out: pickers.apbc_bootstrap(these, out, APOFERRITIN.diameter, words)

    *training, _ = paths
    two = KEPT / "boot-for-time"
    pickers.apbc_bootstrap(training, two, APOFERRITIN.diameter)
    dense = pickers.apbc_train(
        two / "data.h5", KEPT / "time-dense", "dense", seeds[0], effort.dense
    )
    classes = apoferritin_classifier(seeds[0], effort)
    several = (SETTLED_BY + 1, effort.copies)
    timed: dict[str, tuple[tuple[int, int], Callable[[list[Path], Path], dict[str, Any]]]] = {
        "bootstrap, one process": (several, found(1)),
        "bootstrap, two processes": (several, found(2)),
        "picking, `dense`": (
            several,
            lambda these, out: pickers.apbc_pick(these, dense, out).costs,
        ),
        "picking, `alexnet`": (
            (1, 3),
            lambda these, out: pickers.apbc_pick(these, classes, out).costs,
        ),
    }
    rows = {}
    for i, (label, (counts, run)) in enumerate(timed.items()):
        runs = []
        for repeat in range(effort.repeats):
            costs = [run(links[:n], folder / f"{i}-{n}-{repeat}") for n in counts]
            whole = {"whole_seconds": costs[1]["seconds"] / counts[1]}
            runs.append({**marginal(*costs, counts), **whole})
        rows[label] = {
            "micrographs": counts,
            "median": {key: statistics.median(row[key] for row in runs) for key in runs[0]},
            "runs": runs,
        }
        logger.info("%s: %s", label, rows[label]["median"])
    shutil.rmtree(folder)
    return {
        "what": "from the start to written files, the apoferritin micrographs under several names; "
        "runs of few and of more micrographs tell what one more costs, and the rest is start; "
        f"median of {effort.repeats}",
        "shape": list(APOFERRITIN.shape),
        "paper_minutes_on_a_cpu": PAPER_CPU_MINUTES,
        "rows": rows,
    }


# --- pictures ----------------------------------------------------------------------------------


def pictures(seeds: Sequence[int], effort: Effort, gaps: Gaps) -> dict[str, Any]:
    """Draw the stages of a micrograph of each real set into ``bench/bootstrap/pictures``."""
    del seeds, effort, gaps
    script, out = REPOSITORY / "scripts" / "bootstrap_pictures.py", KEPT / "pictures"
    for known in (APOFERRITIN, KLH, GALACTOSIDASE):
        words = ["--micrographs", known.micrographs()[0], "--diameter", known.diameter]
        measured([sys.executable, script, *words, "--name", known.name, "--out", out])
    return {"pictures": sorted(str(path.relative_to(REPOSITORY)) for path in out.glob("*.png"))}


# --- all ---------------------------------------------------------------------------------------


SECTIONS: dict[str, Callable[[Sequence[int], Effort, Gaps], dict[str, Any]]] = {
    "detection": detection,
    "taught": taught,
    "klh": klh,
    "alexnet": alexnet,
    "time": time_taken,
    "pictures": pictures,
}


def describe_data() -> dict[str, Any]:
    """Which data the benchmark holds."""
    found = {}
    for known in (APOFERRITIN, GALACTOSIDASE, KLH):
        folder = bench_data() / "data" / known.name
        parts = [part for part in ("micrographs", "truth") if (folder / part).is_dir()]
        found[known.name] = {
            "pixel_size": known.pixel_size,
            "diameter": known.diameter,
            "sha256": {part: digest((folder / part).iterdir()) for part in parts},
        }
    return found


def programs() -> Mapping[str, Any]:
    """Versions of ours and of Relion."""
    return {**versions(), "relion": Gaps().attempt("Relion", pickers.relion_version)}


def main() -> int:
    """Run the sections asked for; write the record and the tables."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="*", choices=[*SECTIONS], default=[*SECTIONS], help="none: tables only"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="try the steps; figures mean nothing")
    args = parser.parse_args()
    effort, record = (QUICK, KEPT / "quick.json") if args.quick else (FULL, RECORD)
    gaps: dict[str, str] = {}
    for name in args.only:
        logger.info("%s ...", name)
        section = sections.measure(
            bootstrap_report.PROGRAM,
            name,
            args.seeds,
            lambda found, name=name: SECTIONS[name](args.seeds, effort, found),
            programs,
            describe_data,
        )
        sections.merge(record, {name: section})
        gaps |= {f"{name}: {what}": why for what, why in section["not_measured"].items()}
    lines = bootstrap_report.tables(sections.merge(record, {}))
    if args.quick:
        sys.stdout.write("\n".join(lines) + "\n")
    else:
        sections.write_tables(sections.PAGE, bootstrap_report.TARGET, lines)
    for what, why in gaps.items():
        logger.error("NOT MEASURED: %s: %s", what, why)
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
