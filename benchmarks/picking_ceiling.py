"""Tell what errors remain on real micrographs, whose known particles are an expert's choice.

    . scripts/env.sh
    python benchmarks/picking_ceiling.py [--seeds 0] [--picks DIR --threshold P]

Sorts all false picks and all misses of ours on the three scored micrographs of EMPIAR-10017 by the
rules of `FALSE_RULES` and `MISS_RULES`, draws the fifty most confident false picks and fifty misses
at random, sorted by kind, in ``bench/ceiling/SEED/{false,missed}.png``, and estimates how many of
the false picks are particles that the expert left out, and what F1 and average precision are if
these count. What labels can teach at most is measured, too: with the expert's truth of the training
micrographs as labels.

The likeness that the rules speak of is `likeness.Likeness`: correlation of a place with
projections of the atomic model, which knows neither pickers nor the expert.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pickers
import picking
from common import DIAMETER, EDGE, PIXEL_SIZE, SHAPE, WORK, bench_data, evaluate, split
from likeness import Likeness
from scipy.spatial import cKDTree
from sections import number

from apbc.dataset.crops import cut
from apbc.evaluation.figures import Figures, inside, score_picks
from apbc.io.coordinates import read_coordinate_folder
from apbc.io.files import write_json
from apbc.io.images import read_micrograph
from apbc.preprocess.working import Preprocessing

logger = logging.getLogger("picking_ceiling")

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

RADIUS = DIAMETER / PIXEL_SIZE / 2  # pixels within which a pick is right
SHOWN = 50
DIAMETER_PIXELS = 24  # of the images that are compared
CROP = 1.5  # diameters, side of these
PEERS = ("crYOLO", "topaz")
LEAST_ALIKE = 10  # percentile of random places

# The first rule that holds for an error tells its kind.
FALSE_RULES = {
    "duplicate": "within 0.5 diameters of a known particle, which another pick has claimed",
    "beside a particle": "0.5 to 0.8 diameters from a known particle",
    "contamination": "within a diameter of a bad label, or a quarter of one of the border that is "
    "left out, where streaks begin",
    "picked by a peer": "within half a diameter of a pick of published crYOLO or published Topaz",
    "looks like a particle": "likeness of the median known particle or more",
    "doubtful": "likeness between those of the median random place and the median known particle",
    "looks like ice": "likeness below that of the median random place",
}
MISS_RULES = {
    "scored low": "a candidate below the threshold lies within half a diameter",
    "crowded": "a pick within a diameter has claimed another known particle",
    "no contrast": f"no candidate, and likeness below the {LEAST_ALIKE}th percentile of known "
    "particles",
    "not seen": "no candidate, and likeness above that",
}
LEFT_OUT_RULE = (
    "at least 0.8 diameters from every known particle, within half a diameter of a pick of another "
    "picker (of apbc, published crYOLO and published Topaz, which do not know each other), and of "
    "the likeness of the median known particle or more"
)


class Place:
    """Images round places of one micrograph, and what lies near.

    Parameters
    ----------
    path : Path
        Micrograph.
    """

    def __init__(self, path: Path) -> None:
        preprocessing = Preprocessing(DIAMETER, DIAMETER_PIXELS)
        # Protein is dark in the working image.
        self.work = preprocessing.working_image(read_micrograph(path), PIXEL_SIZE)
        self.name = path.stem

    def images(self, xy: FloatArray, diameters: float = CROP) -> npt.NDArray[np.float32]:
        """Images round places, light on dark, of a side of some diameters."""
        side = 2 * round(diameters * DIAMETER_PIXELS / 2)
        return -cut(self.work.pixels, self.work.to_working(xy[:, :2]), side)[0]


def nearest(xy: FloatArray, others: FloatArray) -> FloatArray:
    """Distance to the nearest of others in diameters; infinite where there is none."""
    if not len(others):
        return np.full(len(xy), np.inf)
    distance: FloatArray = cKDTree(others[:, :2]).query(xy[:, :2])[0] / (2 * RADIUS)
    return distance


def sort_false(
    picks: FloatArray,
    alike: FloatArray,
    known: FloatArray,
    bad: FloatArray,
    peers: FloatArray,
    median_known: float,
    median_random: float,
) -> npt.NDArray[np.str_]:
    """Kind of each false pick by `FALSE_RULES`."""
    border = np.min([picks[:, :2], np.array(SHAPE[::-1]) - picks[:, :2]], axis=(0, 2))
    holds = [
        nearest(picks, known) < 0.5,
        nearest(picks, known) < 0.8,
        (nearest(picks, bad) < 1) | (border < EDGE / PIXEL_SIZE + RADIUS / 2),
        nearest(picks, peers) < 0.5,
        alike >= median_known,
        alike >= median_random,
    ]
    return np.select(holds, list(FALSE_RULES)[:-1], list(FALSE_RULES)[-1])


def sort_missed(
    missed: FloatArray,
    alike: FloatArray,
    candidates: FloatArray,
    hits: FloatArray,
    least: float,
) -> npt.NDArray[np.str_]:
    """Kind of each miss by `MISS_RULES`."""
    holds = [
        nearest(missed, candidates) < 0.5,
        nearest(missed, hits) < 1,
        alike < least,
    ]
    return np.select(holds, list(MISS_RULES)[:-1], list(MISS_RULES)[-1])


def shares(kinds: npt.NDArray[np.str_], rules: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Count each kind, beside its rule."""
    return {
        kind: {
            "rule": rule,
            "number": int((kinds == kind).sum()),
            "share": round(float((kinds == kind).mean()), 4) if len(kinds) else None,
        }
        for kind, rule in rules.items()
    }


def scored(
    picks: Mapping[str, FloatArray],
    truth: Mapping[str, FloatArray],
    names: Sequence[str],
    threshold: float | None,
) -> Figures:
    """Figures by the rule of the benchmark."""
    shapes, edge = dict.fromkeys(names, SHAPE), EDGE / PIXEL_SIZE
    return score_picks(picks, truth, RADIUS, shapes, edge, threshold, names)


def run(
    seeds: Sequence[int], picks: Path | None = None, threshold: float | None = None
) -> dict[str, Any]:
    """Sort the errors of ours.

    Parameters
    ----------
    seeds : sequence of int
        Of our models; the first is taken.
    picks : Path, optional
        Folder of candidates to look at instead of those of the benchmark's model.
    threshold : float, optional
        From which on `picks` are picks.

    Returns
    -------
    dict
    """
    data, _, test = split()
    if picks is None:
        found = picking.our_picks(pickers.benchmark_model(seed=seeds[0]), test)
        picks, threshold = found.folder, found.threshold
    names = [path.stem for path in test]
    ours, truth, bad = (read_coordinate_folder(p) for p in (picks, data / "truth", data / "bad"))
    peers = {
        name: read_coordinate_folder(bench_data() / "data" / "empiar-10017" / "peers" / name)
        for name in PEERS
    }
    figures = scored(ours, truth, names, threshold)
    side = 2 * round(CROP * DIAMETER_PIXELS / 2)
    like = Likeness(
        bench_data() / "data" / "models" / "betaGal.mrc", side, DIAMETER / DIAMETER_PIXELS
    )
    rng = np.random.default_rng(0)
    places = {path.stem: Place(path) for path in test}
    known = {name: truth[name][figures.matches[name].rows, :2] for name in names}
    alike_known = {name: like.of(places[name].images(known[name])) for name in names}
    alike_random = [like.of(places[name].images(empty_places(truth[name], rng))) for name in names]
    everywhere = np.concatenate(list(alike_known.values()))
    median_known = float(np.median(everywhere))
    median_random = float(np.median(np.concatenate(alike_random)))
    least = float(np.percentile(everywhere, LEAST_ALIKE))

    false, missed = [], []
    for name in names:
        match = figures.matches[name]
        wrong = match.picks[match.false]
        alike = like.of(places[name].images(wrong))
        theirs = np.concatenate([p.get(name, np.empty((0, 3))) for p in peers.values()])
        kinds = sort_false(
            wrong, alike, truth[name], bad[name], theirs, median_known, median_random
        )
        false.append((name, wrong, kinds, alike))
        lost = ~match.found
        below = ours[name] if threshold is None else ours[name][ours[name][:, 2] < threshold]
        alike = alike_known[name][lost]
        kinds = sort_missed(known[name][lost], alike, below, match.picks[match.hit], least)
        missed.append((name, known[name][lost], kinds, alike))
    folder = WORK / "ceiling" / str(seeds[0])
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "false.png", places, false, FALSE_RULES, most_confident)
    draw(folder / "missed.png", places, missed, MISS_RULES, lambda rows: rng.permutation(len(rows)))
    have = [path.stem for path in picking.have_published(test)]
    of_false, of_missed = (np.concatenate([rows[3] for rows in some]) for some in (false, missed))
    return {
        "seed": seeds[0],
        "micrographs": names,
        "threshold": threshold,
        "likeness": {
            "rule": like.rule,
            "median of known particles": round(median_known, 3),
            "median of random places": round(median_random, 3),
            f"{LEAST_ALIKE}th percentile of known particles": round(least, 3),
            "share of false picks above the median of known particles": round(
                float((of_false >= median_known).mean()), 3
            ),
            f"share of misses below the {LEAST_ALIKE}th percentile of known particles": round(
                float((of_missed < least).mean()), 3
            ),
        },
        "false": shares(np.concatenate([kinds for _, _, kinds, _ in false]), FALSE_RULES),
        "missed": shares(np.concatenate([kinds for _, _, kinds, _ in missed]), MISS_RULES),
        "taught with the truth": taught_with_truth(seeds[0]),
        "left out by the expert": left_out(
            {"apbc": (ours, threshold), **{name: (p, None) for name, p in peers.items()}},
            truth,
            have,
            lambda name, xy: like.of(places[name].images(xy)) >= median_known,
        ),
    }


def taught_with_truth(seed: int) -> dict[str, float]:
    """Figures of ours where the expert's truth of the training micrographs is its good labels."""
    data, training, test = split()
    folder = pickers.KEPT / f"taught-with-truth-{seed}"
    dataset, _ = pickers.apbc_dataset(
        training, data / "truth", data / "bad", DIAMETER, folder / "dataset"
    )
    model = pickers.apbc_train(dataset, folder / "train", seed=seed)
    picks = pickers.apbc_pick(test, model, folder / "picks")
    found = evaluate(picks.folder, data / "truth", [path.stem for path in test], picks.threshold)
    keys = ("precision", "recall", "f1", "best_f1", "average_precision")
    return {key: found[key] for key in (*keys, "median_centred_localisation_share")}


def empty_places(known: FloatArray, rng: np.random.Generator, count: int = 300) -> FloatArray:
    """Draw places away from the border and 0.75 diameters or more from known particles."""
    edge = EDGE / PIXEL_SIZE
    xy = rng.uniform(edge, SHAPE[0] - edge, (20 * count, 2))
    return xy[nearest(xy, known) >= 0.75][:count]


def left_out(
    pickers_: Mapping[str, tuple[Mapping[str, FloatArray], float | None]],
    truth: Mapping[str, FloatArray],
    names: Sequence[str],
    looks_right: Callable[[str, FloatArray], BoolArray],
) -> dict[str, Any]:
    """Estimate which particles the expert left out, and what figures are if they count.

    Every picker gives and gains by the same rule, `LEFT_OUT_RULE`, and is scored with the same
    particles.
    """
    chosen = {
        who: {
            name: inside(
                found[name] if low is None else found[name][found[name][:, 2] >= low],
                SHAPE,
                EDGE / PIXEL_SIZE,
            )
            for name in names
        }
        for who, (found, low) in pickers_.items()
    }
    more: dict[str, FloatArray] = {}
    for name in names:
        added = np.empty((0, 3))
        for who in chosen:
            xy = chosen[who][name]
            others = np.concatenate([chosen[other][name] for other in chosen if other != who])
            fits = (nearest(xy, truth[name]) >= 0.8) & (nearest(xy, others) < 0.5)
            fits[fits] = looks_right(name, xy[fits])
            fits &= nearest(xy, added) >= 0.5
            added = np.concatenate([added, xy[fits]])
        more[name] = added
    wider = {name: np.concatenate([truth[name], more[name]]) for name in names}
    rows = {}
    for who, (found, low) in pickers_.items():
        before, after = (scored(found, some, names, low) for some in (truth, wider))
        false = sum(int(match.false.sum()) for match in before.matches.values())
        left = sum(int(match.false.sum()) for match in after.matches.values())
        rows[who] = {
            "false picks": false,
            "share of them": round((false - left) / false, 4) if false else None,
            "as known": told(before),
            "counted": told(after),
        }
    return {
        "rule": LEFT_OUT_RULE,
        "micrographs": list(names),
        "particles": sum(map(len, more.values())),
        "pickers": rows,
    }


def told(figures: Figures) -> dict[str, float | None]:
    """Figures that are compared."""
    found = figures.as_dict(PIXEL_SIZE)
    return {key: found[key] for key in ("precision", "recall", "f1", "average_precision")}


Errors = tuple[str, FloatArray, npt.NDArray[np.str_], FloatArray]


def most_confident(rows: FloatArray) -> npt.NDArray[np.intp]:
    """Order of picks by falling score."""
    return np.argsort(-rows[:, 2], kind="stable")


def draw(
    path: Path,
    places: Mapping[str, Place],
    errors: Sequence[Errors],
    rules: Mapping[str, str],
    order: Callable[[FloatArray], npt.NDArray[np.integer]],
) -> None:
    """Draw the first `SHOWN` errors of an order, sorted by kind."""
    from matplotlib.figure import Figure

    images = np.concatenate([places[name].images(xy, 2.0) for name, xy, _, _ in errors])
    xy = np.concatenate([xy for _, xy, _, _ in errors])
    kinds = np.concatenate([kinds for _, _, kinds, _ in errors])
    alike = np.concatenate([alike for *_, alike in errors])
    first = order(xy)[:SHOWN]
    ranks = [list(rules).index(kind) for kind in kinds[first]]
    first = first[np.argsort(ranks, kind="stable")]
    across = 10
    figure = Figure(figsize=(1.5 * across, 1.8 * -(-SHOWN // across)), layout="constrained")
    boxes = figure.subplots(-(-SHOWN // across), across).flat
    for axes in boxes:
        axes.set_axis_off()
    for axes, k in zip(figure.axes, first, strict=False):
        axes.imshow(-images[k], cmap="gray", vmin=-3, vmax=3, origin="lower")
        score = f", score {xy[k, 2]:.2f}" if xy.shape[1] > 2 else ""
        axes.set_title(f"{kinds[k]}\nlike {alike[k]:.2f}{score}", fontsize=7)
    figure.savefig(path, dpi=110)


def table(figures: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown with what `run` gave."""
    lines = []
    for which in ("false", "missed"):
        word = "false picks" if which == "false" else "misses"
        lines += [f"| {word} | number | share | rule |", "|---|---|---|---|"]
        for kind, row in figures[which].items():
            lines.append(
                f"| {kind} | {row['number']} | {number(row['share'], 2)} | {row['rule']} |"
            )
        lines.append("")
    best = figures["taught with the truth"]
    lines += [
        "Taught with the expert's truth of the training micrographs instead of labels, all else "
        f"the same, `dense` has F1 {number(best['f1'])} ({number(best['best_f1'])} at the best "
        f"threshold) and average precision {number(best['average_precision'])} on the scored ones, "
        "an estimate of the most that labels of these micrographs can teach it.",
        "",
    ]
    found = figures["left out by the expert"]
    lines += [
        f"Particles that the expert seems to have left out on {len(found['micrographs'])} "
        f"micrographs: {found['particles']} ({found['rule']}).",
        "",
        "| picker | share of its false picks | F1 | F1 with them | average precision | with them |",
        "|---|---|---|---|---|---|",
    ]
    for who, row in found["pickers"].items():
        cells = [who, number(row["share of them"], 2)]
        for key in ("f1", "average_precision"):
            cells += [number(row[which][key]) for which in ("as known", "counted")]
        lines.append(f"| {' | '.join(cells)} |")
    alike = ", ".join(f"{k} {v}" for k, v in figures["likeness"].items() if k != "rule")
    return [*lines, "", f"Likeness: {figures['likeness']['rule']} ({alike})."]


def main() -> None:
    """Run it and write the figures."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--picks", type=Path, metavar="DIR", help="candidates of apbc pick")
    parser.add_argument("--threshold", type=float, metavar="P", help="of --picks")
    args = parser.parse_args()
    figures = run(args.seeds, args.picks, args.threshold)
    write_json(WORK / "ceiling" / "results.json", figures)
    sys.stdout.write("\n".join(table(figures)) + "\n")


if __name__ == "__main__":
    main()
