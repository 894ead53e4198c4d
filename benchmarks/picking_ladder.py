"""Score pickers on simulated micrographs of rising difficulty, of which every particle is known.

    . scripts/env.sh
    python benchmarks/picking_ladder.py [--seeds 0] [--steps easy ...] [--convergence] [--quick]

Each step (`STEPS`) is simulated once and kept in ``bench/ladder/STEP``; the first eight micrographs
give labels, the last five are scored. The labels (`make_labels`) are few and partly wrong, as a
user's are, and the same for every picker that learns. Figures are those of ``apbc compare``, which
leaves out hidden particles, and go to ``bench/ladder/results.json``; its reports, with curves and
recall by view, are in ``bench/ladder/STEP/runs/SEED/report``. Only ours is run with every seed.

``--convergence`` trains Topaz for twice as long on the first step, too, to see that the ladder
does not stop it early.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import numpy.typing as npt
import pickers
from common import (
    WORK,
    CommandFailed,
    Missing,
    apbc,
    machine,
    mean_and_spread,
    versions,
    without_folders,
)
from pickers import Model, Picks
from scipy.spatial import cKDTree
from sections import spread

from apbc.io.coordinates import read_coordinates, read_truth_columns, write_coordinates
from apbc.io.files import write_json, write_text
from apbc.io.volumes import write_volume
from apbc.simulate.builtin import builtin_molecule
from apbc.simulate.density import points_to_potential
from apbc.simulate.molecule import Molecule

logger = logging.getLogger("picking_ladder")

FloatArray = npt.NDArray[np.float64]

LADDER = WORK / "ladder"
MOLECULE, DIAMETER = "barrel", 171.0  # Å
PIXEL_SIZE, SIDE = 3.0, 1536  # Å, pixels
TRAINING, SCORED = 8, 5  # micrographs
EDGE = DIAMETER / 2  # no picker finds what is not whole
# Of Topaz, the same for every step; see `--convergence`.
MINIBATCHES, EPOCHS = 75, 4

CLEAN = ("--no-contamination", "--overlap", "0")
DIRT = ("--carbon", "0.5", "--ice-blobs", "30", "--crystals", "4", "--ethane", "1.5")
DIRT += ("--aggregates", "8", "--broken", "0.15")
CROWD = ("--density", "1500", "--overlap", "0.15", "--clusters", "0.4")


@dataclass(frozen=True)
class Step:
    """One step of the ladder.

    Attributes
    ----------
    told : str
        What is difficult about it.
    words : tuple of str
        Options of ``apbc simulate micrographs``.
    rare : float
        Share of the particles that lie on their side while the others show their top; 0 where
        all views are alike.
    """

    told: str
    words: tuple[str, ...] = field(default_factory=tuple)
    rare: float = 0.0


STEPS = {
    "easy": Step("40 e/Å², apart from one another, no contamination", CLEAN),
    "faint": Step(
        "15 e/Å², 0.45 of the theoretical contrast, ice of 500 Å",
        (*CLEAN, "--dose", "15", "--particle-contrast", "0.45", "--ice-thickness", "500"),
    ),
    "crowded": Step(
        "1,500 particles per µm², of which 15 % overlap another and 40 % touch one",
        ("--no-contamination", *CROWD, "--dose", "25", "--particle-contrast", "0.5"),
    ),
    "dirty": Step(
        "carbon, thick and crystalline ice, ethane, aggregates, broken particles",
        (*DIRT, "--dose", "25", "--particle-contrast", "0.5"),
    ),
    "all": Step(
        "faint, crowded and dirty, and one particle in ten lies on its side",
        (
            *(*DIRT, "--density", "1000", "--overlap", "0.1", "--clusters", "0.3"),
            *("--dose", "15", "--particle-contrast", "0.35", "--ice-thickness", "500"),
            *("--views", "preferred:20"),
        ),
        rare=0.1,
    ),
}

# What the labels are like.
LABELLED = 0.2  # of the visible particles of a training micrograph
RARE_LABELLED = 0.5  # chance of a rare view to be labelled, over that of the others
CENTRING = 0.05  # standard deviation along x and along y, in diameters
FALSE_GOOD = 0.1  # of the good labels
# 45 bad labels on a micrograph of the benchmark on real data, whose frame is 2.5 times as large.
BAD = 18
DIRTY_BAD = 0.5  # of the bad labels, where there is contamination
CLEARANCE = 0.75  # diameters between a bad label and a particle that can be seen


def simulate(step: str) -> Path:
    """Micrographs of a step; those that are there are kept.

    Returns
    -------
    Path
        Folder as ``apbc simulate micrographs`` makes it.
    """
    out, number = LADDER / step, list(STEPS).index(step)
    structures: list[object] = ["--builtin", MOLECULE]
    if rare := STEPS[step].rare:
        # Class 1 stands, class 2 is the same molecule lying on its side.
        structures = ["--structures", *poses_of_molecule(), "--weights", 1 - rare, rare]
    apbc(
        *("simulate", "micrographs", "--out", out, "--micrographs", TRAINING + SCORED),
        *("--size", SIDE, SIDE, "--pixel-size", PIXEL_SIZE, "--seed", 101 + number),
        *(*structures, *STEPS[step].words, "--threads", 1),
    )
    return out


def poses_of_molecule() -> list[Path]:
    """Make maps of the molecule, standing and turned by 90 degrees about x."""
    molecule, _ = builtin_molecule(MOLECULE)
    side = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
    paths = []
    for name, turn in (("standing", np.eye(3)), ("lying", side)):
        path = LADDER / "maps" / f"{name}.mrc"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            turned = Molecule(molecule.positions @ turn.T, molecule.potential, molecule.blur)
            box = 2 * round(0.75 * molecule.diameter / PIXEL_SIZE)
            write_volume(path, points_to_potential(turned, PIXEL_SIZE, box, 9.0), PIXEL_SIZE)
        paths.append(path)
    return paths


def make_labels(folder: Path, names: Sequence[str], out: Path, seed: int) -> dict[str, int]:
    """Labels as a user would have them, from the truth of the training micrographs.

    Good: a random fifth of the visible particles, off centre by 5 % of the diameter along x and
    along y, and one false label in ten. A particle of the rare view is labelled half as often.
    Bad, and the false good ones: half on contamination where there is any, the others at random on
    the ice, 0.75 diameters or more from every particle that can be seen.

    Returns
    -------
    dict of str to int
        How many there are of each kind.
    """
    rng = np.random.default_rng(1000 + seed)
    diameter = DIAMETER / PIXEL_SIZE
    counts = dict.fromkeys(("good", "of the rare view", "false good", "bad"), 0)
    for name in names:
        truth = folder / "truth" / f"{name}.csv"
        xy, known = read_coordinates(truth)[:, :2], read_truth_columns(truth)[name]
        with mrcfile.open(folder / "masks" / f"{name}.mrc") as mrc:
            mask = np.array(mrc.data)
        rows, columns = mask.shape
        seen, rare = known["visible"] == 1, known["class"] == 2
        chance = np.where(rare, RARE_LABELLED, 1.0) * seen
        right = rng.choice(
            len(xy), round(LABELLED * seen.sum()), replace=False, p=chance / chance.sum()
        )
        false = round(len(right) * FALSE_GOOD / (1 - FALSE_GOOD))
        # Particles under contamination cannot be seen, those in a clump can.
        column, row = np.rint(xy).astype(int).T
        shown = xy[seen | (mask[row, column] == 0)]
        wrong = draw_bad(mask, shown, diameter, false + BAD, rng)
        good = xy[right] + rng.normal(0, CENTRING * diameter, (len(right), 2))
        good = np.clip(good, 0, (columns - 1, rows - 1))
        for kind, points in (
            ("good", np.concatenate([good, wrong[:false]])),
            ("bad", wrong[false:]),
        ):
            (out / kind).mkdir(parents=True, exist_ok=True)
            write_coordinates(out / kind / f"{name}.csv", points)
        views = np.concatenate([known["class"][right], np.ones(false)]).astype(int)
        write_views(
            out / "good with views" / f"{name}.csv", np.concatenate([good, wrong[:false]]), views
        )
        counts["good"] += len(right) + len(wrong[:false])
        counts["of the rare view"] += int(rare[right].sum())
        counts["false good"] += len(wrong[:false])
        counts["bad"] += len(wrong[false:])
    return counts


def write_views(path: Path, points: FloatArray, views: npt.NDArray[np.integer]) -> None:
    """Write labels with the 2D class that each is of; false ones are in that of most particles."""
    rows = [f"{x:.2f},{y:.2f},{view}" for (x, y), view in zip(points, views, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(["x,y,view", *rows, ""]))


def draw_bad(
    mask: npt.NDArray[Any],
    particles: FloatArray,
    diameter: float,
    count: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Draw places that hold no particle, in random order; fewer where there is no room."""
    rows, columns = mask.shape
    places = rng.uniform(diameter / 2, (columns - diameter / 2, rows - diameter / 2), (40000, 2))
    places = places[cKDTree(particles).query(places)[0] >= CLEARANCE * diameter]
    column, row = np.rint(places).astype(int).T
    dirty = mask[row, column] != 0
    wanted = round(DIRTY_BAD * count) if dirty.any() else 0
    chosen = [places[dirty][:wanted], places[~dirty][: count - wanted]]
    return rng.permutation(np.concatenate(chosen))


@dataclass(frozen=True)
class Task:
    """What the pickers of a step are given.

    Attributes
    ----------
    training, scored : list of Path
        Micrographs.
    labels : Path
        Folder with ``good`` and ``bad``.
    expected : float
        Particles of a training micrograph that can be seen, as a user would guess from the labels.
    out : Path
        For the pickers' work.
    seed : int
    quick : bool
        Train next to nothing.
    """

    training: list[Path]
    scored: list[Path]
    labels: Path
    expected: float
    out: Path
    seed: int
    quick: bool

    @property
    def sizes(self) -> dict[str, float]:
        """Sizes in Å that most pickers ask for."""
        return {"pixel_size": PIXEL_SIZE, "diameter": DIAMETER}


def dense(task: Task) -> tuple[Picks, Model | None]:
    """Ours, all at its default."""
    good, bad = task.labels / "good", task.labels / "bad"
    dataset, _ = pickers.apbc_dataset(task.training, good, bad, DIAMETER, task.out / "dataset")
    extra = ("--epochs", 2) if task.quick else ()
    model = pickers.apbc_train(dataset, task.out / "dense", seed=task.seed, extra=extra)
    return pickers.apbc_pick(task.scored, model, task.out / "dense-picks"), model


def dense_with_views(task: Task, *extra: object) -> tuple[Picks, Model | None]:
    """Ours with labels that know their 2D classes, so that views are balanced."""
    good, bad = task.labels / "good with views", task.labels / "bad"
    name = "views" + "".join(map(str, extra))
    dataset, _ = pickers.apbc_dataset(
        task.training, good, bad, DIAMETER, task.out / "views-dataset"
    )
    words = ("--epochs", 2) if task.quick else ()
    model = pickers.apbc_train(dataset, task.out / name, seed=task.seed, extra=[*extra, *words])
    return pickers.apbc_pick(task.scored, model, task.out / f"{name}-picks"), model


def relion_log(task: Task) -> tuple[Picks, Model | None]:
    """Blobs; learns nothing."""
    return pickers.relion_log(task.scored, **task.sizes, out=task.out / "log"), None


def topaz_trained(
    task: Task, minibatches: int = MINIBATCHES, correct_share: bool = True
) -> tuple[Picks, Model | None]:
    """Topaz, trained on the same good labels."""
    name = f"topaz-{minibatches}" + ("" if correct_share else "-own-share")
    model = pickers.topaz_train(
        task.training,
        task.labels / "good",
        expected=task.expected,
        **task.sizes,
        out=task.out / name,
        seed=task.seed,
        minibatches=5 if task.quick else minibatches,
        epochs=1 if task.quick else EPOCHS,
        correct_share=correct_share,
    )
    picks = pickers.topaz_pick(task.scored, model, **task.sizes, out=task.out / f"{name}-picks")
    return picks, model


def topaz_with_its_share(task: Task) -> tuple[Picks, Model | None]:
    """Topaz, told how many particles to expect, of which it makes the share of pixels itself."""
    return topaz_trained(task, correct_share=False)


def topaz_general(task: Task) -> tuple[Picks, Model | None]:
    """Topaz with the model that comes with it."""
    return pickers.topaz_pick(task.scored, None, **task.sizes, out=task.out / "topaz"), None


OURS, VIEWS = "apbc `dense`", "apbc `dense`, 2D classes of labels known"
OWN_SHARE = "Topaz, the same, share of particle as it counts it"
HARDEST = (VIEWS, OWN_SHARE)  # run on the step with rare views alone
PICKERS: dict[str, Callable[[Task], tuple[Picks, Model | None]]] = {
    OURS: dense,
    VIEWS: dense_with_views,
    "Relion LoG": relion_log,
    "Topaz, trained here": topaz_trained,
    OWN_SHARE: topaz_with_its_share,
    "Topaz, pretrained": topaz_general,
}
FIGURES = ("precision", "recall", "f1", "best_f1", "average_precision")
FIGURES += ("median_localisation_error", "recall_of_rare", "recall_of_others")
FIGURES += ("picks", "training_seconds", "picking_seconds")


def make_task(step: str, seed: int, quick: bool = False) -> tuple[Task, dict[str, Any]]:
    """Simulate, draw labels, and say of what kind they are."""
    folder = simulate(step)
    paths = sorted((folder / "micrographs").glob("*.mrc"))
    training, scored = paths[:TRAINING], paths[TRAINING:]
    if quick:
        training, scored = training[:3], scored[:2]
    out = folder / ("quick" if quick else "runs") / str(seed)
    labels = out / "labels"
    shutil.rmtree(labels, ignore_errors=True)
    counts = make_labels(folder, [path.stem for path in training], labels, seed)
    right = counts["good"] - counts["false good"]
    expected = round(right / LABELLED / len(training))
    return Task(training, scored, labels, expected, out, seed, quick), counts


def score(step: str, task: Task, found: Mapping[str, Picks]) -> dict[str, dict[str, Any]]:
    """Figures of several pickers on the scored micrographs, and their report.

    Returns
    -------
    dict of str to dict
        By picker.
    """
    # Here, since what is measured in commands would inherit the memory that these take.
    from apbc.display.comparison_report import write_report
    from apbc.evaluation.compare import Picker, compare
    from apbc.evaluation.contamination import find_masks
    from apbc.evaluation.reference import particles_of
    from apbc.io.coordinates import read_coordinate_folder

    folder = task.training[0].parents[1]
    names = [path.stem for path in task.scored]
    truth = read_coordinate_folder(folder / "truth")
    columns = read_truth_columns(folder / "truth")
    comparison = compare(
        {
            name: Picker(read_coordinate_folder(picks.folder), picks.threshold)
            for name, picks in found.items()
        },
        {name: particles_of(truth[name], columns[name]) for name in names},
        DIAMETER / PIXEL_SIZE / 2,
        PIXEL_SIZE,
        dict.fromkeys(names, (SIDE, SIDE)),
        EDGE / PIXEL_SIZE,
        find_masks(folder / "masks", names),
    )
    write_report(task.out / "report", comparison, {"diameter": DIAMETER, "edge": EDGE})
    told = comparison.as_dict()["pickers"]
    rows: dict[str, dict[str, Any]] = {}
    for name, figures in comparison.figures.items():
        keys = ("precision", "recall", "f1", "average_precision", "best_f1", "best_threshold")
        keys += ("threshold", "picks", "hits", "false", "on_hidden", "contamination")
        row = rows[name] = {key: told[name][key] for key in keys}
        offsets = figures.offsets
        error = float(np.median(offsets)) * PIXEL_SIZE if len(offsets) else None
        row["median_localisation_error"] = None if error is None else round(error, 2)
        if STEPS[step].rare:
            by_class = {part.part: part for part in comparison.losses[name].classes}
            row["recall_of_others"] = round(by_class[1].recall, 4)
            row["recall_of_rare"] = round(by_class[2].recall, 4)
            row["rare"] = by_class[2].particles
            row["loses the rare view"] = by_class[2].lost
    return rows


def run_step(
    step: str, seed: int, names: Sequence[str] = tuple(PICKERS), quick: bool = False
) -> dict[str, Any]:
    """Run pickers on one step with one seed: of labels, and of training."""
    task, counts = make_task(step, seed, quick)
    if not STEPS[step].rare:
        names = [name for name in names if name not in HARDEST]
    found: dict[str, Picks] = {}
    costs: dict[str, dict[str, float]] = {}
    missing = {}
    for name in names:
        logger.info("%s, seed %d: %s ...", step, seed, name)
        try:
            found[name], model = PICKERS[name](task)
        except (Missing, CommandFailed) as error:
            missing[name] = without_folders(str(error))
            logger.error("NOT MEASURED: %s, %s: %s", step, name, error)
            continue
        costs[name] = {"picking_seconds": round(found[name].costs["seconds"], 1)}
        if model is not None:
            costs[name]["training_seconds"] = round(model.costs["seconds"], 1)
    rows = score(step, task, found)
    for name, row in rows.items():
        row.update(costs[name])
    return {"labels": {**counts, "expected": task.expected}, "pickers": rows, "not run": missing}


def run(
    seeds: Sequence[int], steps: Sequence[str] | None = None, quick: bool = False
) -> dict[str, Any]:
    """Run the ladder.

    Parameters
    ----------
    seeds : sequence of int
        Of labels and of training; the micrographs stay the same.
    steps : sequence of str, optional
        Default: all.
    quick : bool, optional
        Hardly any training on few micrographs, to see that it runs.

    Returns
    -------
    dict
        By step: what it is, and for every picker the mean and spread of its figures over the seeds.
        ``not run`` tells which pickers are missing, and why.
    """
    result: dict[str, Any] = {
        "seeds": list(seeds),
        "micrographs": {
            "training": TRAINING,
            "scored": SCORED,
            "side": SIDE,
            "pixel_size": PIXEL_SIZE,
            "molecule": MOLECULE,
            "diameter": DIAMETER,
        },
        "labels": " ".join((make_labels.__doc__ or "").partition("Returns")[0].split()),
        "topaz": {"minibatches": MINIBATCHES, "epochs": EPOCHS},
        "quick": quick,
        "not run": {},
        "steps": {},
    }
    for step in steps or STEPS:
        runs = {
            str(seed): run_step(step, seed, [*PICKERS] if seed == seeds[0] else [OURS], quick)
            for seed in seeds
        }
        for one in runs.values():
            gaps = {f"{step}, {name}": why for name, why in one["not run"].items()}
            result["not run"].update(gaps)
        names = dict.fromkeys(name for one in runs.values() for name in one["pickers"])
        result["steps"][step] = {
            "what": STEPS[step].told,
            "options": " ".join(STEPS[step].words),
            "pickers": {
                name: mean_and_spread(
                    [one["pickers"][name] for one in runs.values() if name in one["pickers"]],
                    FIGURES,
                )
                for name in names
            },
            "runs": runs,
        }
        for name, row in result["steps"][step]["pickers"].items():
            logger.info(
                "%s, %s: %s",
                step,
                name,
                ", ".join(f"{key} {row[key]['mean']:.3f}" for key in FIGURES if key in row),
            )
    return result


def table(figures: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown with what `run` gave."""
    many = len(figures["seeds"]) > 1
    lines = [
        f"{figures['micrographs']['training']} micrographs for labels, "
        f"{figures['micrographs']['scored']} scored, per step; {figures['labels']}",
        "",
        *(f"- {step}: {told['what']}." for step, told in figures["steps"].items()),
        "",
        "| step | picker | precision | recall | F1 | best F1 | average precision "
        "| localisation error, median | recall of the rare view |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for step, told in figures["steps"].items():
        for name, row in told["pickers"].items():
            keys = ("precision", "recall", "f1", "best_f1", "average_precision")
            cells = [spread(row.get(key)) for key in keys]
            error = row.get("median_localisation_error")
            cells.append("-" if error is None else f"{spread(error, 1)} Å")
            cells.append(spread(row.get("recall_of_rare")))
            lines.append(f"| {' | '.join([step, name, *cells])} |")
    lines += [
        "",
        f"Topaz trained with {figures['topaz']['minibatches']} minibatches an epoch, "
        f"{figures['topaz']['epochs']} epochs.",
    ]
    if many:
        lines[-1] += f" Mean and range of seeds {', '.join(map(str, figures['seeds']))} for apbc."
    return lines


def convergence(seed: int, quick: bool = False) -> dict[str, Any]:
    """Train Topaz as long as on the ladder and twice as long, on its first step."""
    step = next(iter(STEPS))
    task, _ = make_task(step, seed, quick)
    found = {
        f"{n * EPOCHS} minibatches": topaz_trained(task, n)[0]
        for n in (MINIBATCHES, 2 * MINIBATCHES)
    }
    rows = score(step, task, found)
    return {name: {key: row[key] for key in FIGURES if key in row} for name, row in rows.items()}


def main() -> None:
    """Run it and write the figures."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", nargs="+", choices=STEPS)
    parser.add_argument("--convergence", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.convergence:
        out, result = LADDER / "convergence.json", convergence(args.seeds[0], args.quick)
    else:
        out, result = LADDER / "results.json", run(args.seeds, args.steps, args.quick)
    if args.quick:
        out = out.with_stem(f"{out.stem}-quick")
    told = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": versions()}
    write_json(out, {**told, "figures": result})
    if not args.convergence:
        sys.stdout.write("\n".join(table(result)) + "\n")
    logger.info("wrote %s", out)


if __name__ == "__main__":
    main()
