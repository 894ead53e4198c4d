"""Train on troubled labels: wrong, few, of one kind, beside their particles.

    . scripts/env.sh
    python benchmarks/labels.py [--seeds 0 1 2] [--cases all flipped ...] [--development]

Labels of the first seven micrographs of the benchmark, scored on the last three. Every case takes
the published labels and spoils them, with the seed that the training has:

- ``all``: as they are;
- ``flipped``: 20 % of them, good and bad alike, on the other side;
- ``few``: 50 good and 50 bad ones;
- ``good alone``: without the bad ones;
- ``beside``: each moved by a fifth of the diameter, in any direction;
- ``beside, told``: the same, with that shift as Relion's alignment would tell it.

``--development`` trains on five of the seven and scores the other two, and leaves the last three
alone: for tuning. Figures go to ``bench/labels``; what was run before is kept there.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    DIAMETER,
    PIXEL_SIZE,
    SHAPE,
    WORK,
    evaluate,
    logger,
    machine,
    mean_and_spread,
    split,
    versions,
)
from pickers import apbc_dataset, apbc_pick, apbc_train
from sections import spread

from apbc.io.coordinates import read_coordinate_folder
from apbc.io.files import write_json, write_text

LABELS = WORK / "labels"
DEVELOPMENT_TRAINING = 5  # of the first seven micrographs
FLIPPED = 0.2
FEW = 50
BESIDE = 0.2  # diameters
QUALITY = ("precision", "recall", "f1", "best_f1", "average_precision")
QUALITY += ("median_localisation_error",)
KINDS = ("good", "bad")

# Rows of micrograph, kind (0 good, 1 bad), x, y, and rlnOriginXAngst and rlnOriginYAngst: what is
# to be taken off x and y (but in Å).
Table = np.ndarray[Any, Any]


def read_labels(data: Path, names: Sequence[str]) -> Table:
    """Labels of some micrographs, one row each."""
    rows = []
    for kind, folder in enumerate(KINDS):
        known = read_coordinate_folder(data / folder)
        for i, name in enumerate(names):
            rows += [(i, kind, x, y, 0.0, 0.0) for x, y, _ in known.get(name, ())]
    return np.array(rows)


def flipped(labels: Table, rng: np.random.Generator) -> Table:
    """Call a share of the labels what they are not."""
    wrong = rng.permutation(len(labels))[: round(FLIPPED * len(labels))]
    labels[wrong, 1] = 1 - labels[wrong, 1]
    return labels


def few(labels: Table, rng: np.random.Generator) -> Table:
    """Keep some of either kind, of all micrographs."""
    chosen = [rng.permutation(np.flatnonzero(labels[:, 1] == kind))[:FEW] for kind in (0, 1)]
    return labels[np.sort(np.concatenate(chosen))]


def good_alone(labels: Table, rng: np.random.Generator) -> Table:
    """Keep the good ones."""
    return labels[labels[:, 1] == 0]


def beside_and_told(labels: Table, rng: np.random.Generator) -> Table:
    """Move every label, within its micrograph, and tell by how much."""
    length = BESIDE * DIAMETER
    moved = labels.copy()
    last = np.array(SHAPE[::-1]) - 1
    left = np.ones(len(labels), bool)
    while left.any():
        angle = rng.uniform(0, 2 * np.pi, left.sum())
        moved[left, 4:6] = length * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        moved[left, 2:4] = labels[left, 2:4] + moved[left, 4:6] / PIXEL_SIZE
        left = ((moved[:, 2:4] < 0) | (moved[:, 2:4] > last)).any(axis=1)
    return moved


def beside(labels: Table, rng: np.random.Generator) -> Table:
    """Move every label and do not tell."""
    moved = beside_and_told(labels, rng)
    moved[:, 4:6] = 0
    return moved


CASES: dict[str, Callable[[Table, np.random.Generator], Table]] = {
    "all": lambda labels, rng: labels,
    "flipped": flipped,
    "few": few,
    "good alone": good_alone,
    "beside": beside,
    "beside, told": beside_and_told,
}


def write_labels(labels: Table, names: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write star files as Relion's alignment leaves them; give the folder of each kind."""
    shutil.rmtree(folder, ignore_errors=True)
    folders = {}
    for number, kind in enumerate(KINDS):
        mine = labels[labels[:, 1] == number]
        if not len(mine):
            continue
        folders[kind] = folder / kind
        folders[kind].mkdir(parents=True)
        for i, name in enumerate(names):
            columns = ["CoordinateX", "CoordinateY", "OriginXAngst", "OriginYAngst"]
            text = "data_\n\nloop_\n"
            text += "".join(f"_rln{column} #{n}\n" for n, column in enumerate(columns, 1))
            rows = mine[mine[:, 0] == i][:, 2:6]
            text += "".join(" ".join(f"{value:.3f}" for value in row) + "\n" for row in rows)
            write_text(folders[kind] / f"{name}.star", text)
    return folders


def run_case(
    case: str, seed: int, development: bool = False, extra: Sequence[object] = ()
) -> dict[str, Any]:
    """Spoil the labels, train, pick and score with one seed.

    Parameters
    ----------
    case : str
        One of `CASES`.
    seed : int
        Of what is spoilt, the split and the training.
    development : bool, optional
        Leave the scored micrographs of the benchmark alone.
    extra : sequence, optional
        Words for ``apbc train``.

    Returns
    -------
    dict
        Figures, and the labels of each kind under ``labels``.
    """
    data, training, test = split()
    part = "fair"
    if development:
        training, test = training[:DEVELOPMENT_TRAINING], training[DEVELOPMENT_TRAINING:]
        part = "development"
    names = [path.stem for path in training]
    labels = CASES[case](read_labels(data, names), np.random.default_rng([seed, 5]))
    name = case.replace(",", "").replace(" ", "-")
    folder = LABELS / part / f"{name}-{seed}"
    folders = write_labels(labels, names, folder / "labels")
    dataset, _ = apbc_dataset(
        training,
        folders["good"],
        folders.get("bad"),
        DIAMETER,
        folder / "dataset",
        ("--seed", seed),
    )
    words = "-".join("".join(filter(str.isalnum, str(word))) for word in extra)
    trained = folder / "-".join(filter(None, ["train", words]))
    model = apbc_train(dataset, trained, "dense", seed, extra)
    picks = apbc_pick(test, model, trained.with_name(f"picks{trained.name[5:]}"))
    figures = evaluate(picks.folder, data / "truth", [p.stem for p in test], picks.threshold)
    return {
        "labels": {kind: int((labels[:, 1] == n).sum()) for n, kind in enumerate(KINDS)},
        "threshold": picks.threshold,
        **{key: figures[key] for key in QUALITY},
        "training_seconds": model.costs["seconds"],
    }


def run(
    seeds: Sequence[int],
    cases: Sequence[str] | None = None,
    development: bool = False,
    extra: Sequence[object] = (),
) -> dict[str, Any]:
    """Run all cases.

    Parameters
    ----------
    seeds : sequence of int
    cases : sequence of str, optional
        Default: all.
    development : bool, optional
        Train on five of the first seven micrographs and score the other two.
    extra : sequence, optional
        Words for ``apbc train``.

    Returns
    -------
    dict
        By case, the mean and spread of the figures over the seeds, and the runs; ``f1_falls``:
        by how much the mean F1 of each case lies below that of ``all``.
    """
    found: dict[str, Any] = {}
    for case in cases or CASES:
        rows = []
        for seed in seeds:
            rows.append(run_case(case, seed, development, extra))
            logger.info("%s, seed %d: %s", case, seed, rows[-1])
        found[case] = {**mean_and_spread(rows, QUALITY), "runs": rows}
    falls = {}
    if "all" in found:
        best = found["all"]["f1"]["mean"]
        falls = {case: best - row["f1"]["mean"] for case, row in found.items() if case != "all"}
    return {
        "seeds": list(seeds),
        "development": development,
        "extra": [str(word) for word in extra],
        "flipped_share": FLIPPED,
        "few": FEW,
        "beside_diameters": BESIDE,
        "cases": found,
        "f1_falls": falls,
    }


def table(figures: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown with what `run` gave."""
    whole = f"{figures['flipped_share']:.0%}"
    words = {
        "all": "all labels",
        "flipped": f"{whole} of the labels flipped",
        "few": f"{figures['few']} good and {figures['few']} bad labels",
        "good alone": "good labels alone",
        "beside": f"labels {figures['beside_diameters']:g} diameters beside their particles",
        "beside, told": "the same, with the shifts that tell it",
    }
    lines = [
        "| labels | precision | recall | F1 | best F1 | average precision | localisation error |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, row in figures["cases"].items():
        cells = [spread(row.get(key)) for key in QUALITY[:-1]]
        error = row.get(QUALITY[-1])
        cells.append("-" if error is None else f"{spread(error, 1)} Å")
        lines.append(f"| {' | '.join([words[case], *cells])} |")
    return lines


def main() -> None:
    """Run it and write the figures."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--development", action="store_true")
    parser.add_argument("--extra", default="", help="words for apbc train, in quotes")
    args = parser.parse_args()
    result = run(args.seeds, args.cases, args.development, args.extra.split())
    told = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions()}
    out = LABELS / ("development.json" if args.development else "results.json")
    write_json(out, {**told, "figures": result})
    sys.stdout.write("\n".join(table(result)) + "\n")
    logger.info("wrote %s", out)


if __name__ == "__main__":
    main()
