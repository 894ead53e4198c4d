"""Tell how many picks of each picker end in good 2D classes of Relion.

    . scripts/env.sh
    python benchmarks/picking_classes.py [--seeds 0] [--check] [--quick]

The picks that each picker exports by default on two of the three scored micrographs of EMPIAR-10017
(those that published pickers have, too) are extracted and classified by Relion *together*: a
particle that several pickers found is there once for each, where each has it. So the classes, and
what is called good, are the same for everyone, and no average tells whose it is. As many places at
random as a picker has picks on average lie among them: they tell what chance gives.

The blind reader is `likeness.Likeness`, which knows the atomic model and nothing else: a class of
`SMALLEST` particles or more is good from a likeness of `GOOD` on, fixed before any of the scored
micrographs was classified. ``--check`` classifies two of those that give labels.
For a person, ``bench/classes/SEED/averages.png`` shows the averages shuffled and unnamed;
``averages.csv`` beside it tells which is which.
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

import mrcfile
import numpy as np
import numpy.typing as npt
import pickers
import picking
from common import (
    DIAMETER,
    EDGE,
    PIXEL_SIZE,
    SHAPE,
    WORK,
    CommandFailed,
    Missing,
    bench_data,
    measured,
    prepare,
    split,
    without_folders,
)
from likeness import Likeness
from pickers import Picks

from apbc.evaluation.figures import inside
from apbc.evaluation.matching import match_closest_first
from apbc.geometry import box_size_for, even
from apbc.io.coordinates import STAR_VERSION, read_coordinate_folder, write_coordinates
from apbc.io.files import write_json, write_text
from apbc.io.star import StarTable, read_star, write_star

logger = logging.getLogger("picking_classes")

FloatArray = npt.NDArray[np.float64]

SCALED = 8.0  # Å per pixel of the images that are classified, about
FINEST = 30.0  # Å; what Relion aligns by
# These micrographs were denoised: at 30 Å their noise has 1/500 of its power at 94 Å.
# Relion weighs each frequency by the inverse of its noise, aligns by what denoising left there, and
# averages are round blobs. White noise, of this share of the background's deviation, mends it.
NOISE = 0.5
CLASSES, ITERATIONS = 12, 10
QUICK = (6, 3, 8)  # classes, iterations, and every how many-th particle
# Above what any round blob reaches (0.914, a disc of 70 Å across with a soft edge): blobs of noise
# look alike.
GOOD = 0.915
SMALLEST = 10
RANDOM = "places at random"
SHIFT = 0.2  # diameters that the molecule may lie off the middle of an average
RULE = (
    f"a class of {SMALLEST} particles or more is good where the likeness of its average is "
    f"{GOOD:g} or more, which no round blob reaches; likeness: "
)


def classify(
    picks: Mapping[str, Mapping[str, FloatArray]], names: Sequence[str], out: Path, quick: bool
) -> dict[str, Any]:
    """Extract and classify picks of all pickers together, and count.

    Parameters
    ----------
    picks : mapping of str to mapping of str to ndarray, shape (n, 2) or more columns
        x, y in pixels by picker and micrograph.
    names : sequence of str
        Micrographs.
    out : Path
        Folder to make anew.
    quick : bool
        Few iterations and classes, to see that it runs.

    Returns
    -------
    dict

    Raises
    ------
    Missing
        If there is no Relion.
    CommandFailed
    """
    start = time.monotonic()
    pickers.relion_version()  # tells if there is none
    shutil.rmtree(out, ignore_errors=True)
    (out / "mics").mkdir(parents=True)
    rng = np.random.default_rng(0)
    data = prepare(1)
    edge = EDGE / PIXEL_SIZE
    owners: list[tuple[str, str]] = []
    places: list[FloatArray] = []
    count = round(np.mean([len(found[name]) for found in picks.values() for name in names]))
    for name in names:
        (out / "mics" / f"{name}.mrc").symlink_to(data / "micrographs" / f"{name}.mrc")
        xy = {who: inside(found[name][:, :2], SHAPE, edge) for who, found in picks.items()}
        xy[RANDOM] = rng.uniform(edge, SHAPE[0] - edge, (count, 2))
        rows = [(who, x, y) for who, points in xy.items() for x, y in points]
        # Relion takes the first ones for its first references: nobody's go first.
        rows = [rows[k] for k in rng.permutation(len(rows))][:: QUICK[2] if quick else 1]
        owners += [(who, name) for who, _, _ in rows]
        places.append(np.array([(x, y) for _, x, y in rows]))
        write_coordinates(out / "mics" / f"{name}_all.star", places[-1])
    pixel_size = extract(out, names)
    add_noise(out / "Particles", rng)
    classes, iterations = QUICK[:2] if quick else (CLASSES, ITERATIONS)
    assigned, averages = refine(out, classes, iterations)
    if len(assigned) != len(owners):
        raise CommandFailed(f"Relion extracted {len(assigned)} of {len(owners)} particles in {out}")
    likeness = Likeness(
        bench_data() / "data" / "models" / "betaGal.mrc", averages.shape[-1], pixel_size, SHIFT
    )
    alike = likeness.of(averages)
    sizes = np.bincount(assigned, minlength=classes)
    good = (alike >= GOOD) & (sizes >= SMALLEST)
    truth = read_coordinate_folder(data / "truth")
    right = on_true(owners, places, names, truth)
    by_class = [
        {
            "class": k + 1,
            "particles": int(sizes[k]),
            "likeness": round(float(alike[k]), 3),
            "good": bool(good[k]),
            "on a true particle": round(float(right[assigned == k].mean()), 3)
            if sizes[k]
            else None,
        }
        for k in range(classes)
    ]
    who = np.array([owner for owner, _ in owners])
    figures = {
        name: {
            "particles": int((who == name).sum()),
            "in good classes": int((good[assigned] & (who == name)).sum()),
            "share": round(float(good[assigned][who == name].mean()), 4),
        }
        for name in (*picks, RANDOM)
    }
    draw_averages(averages, sizes, out / "averages.png", rng)
    return {
        "rule": RULE + likeness.rule,
        "micrographs": list(names),
        "settings": {
            "classes": classes,
            "iterations": iterations,
            "pixel_size": round(pixel_size, 3),
            "box": int(averages.shape[-1]),
            "white noise added, of the background's deviation": NOISE,
            "finest, Å": FINEST,
        },
        "pickers": figures,
        "classes": by_class,
        "seconds": round(time.monotonic() - start, 1),
    }


def extract(folder: Path, names: Sequence[str]) -> float:
    """Cut out particles with Relion, light on dark and scaled down.

    Returns
    -------
    float
        Å per pixel of the images.
    """
    path = folder / "mics.star"
    optics = ["rlnOpticsGroupName", "rlnOpticsGroup", "rlnMicrographPixelSize", "rlnVoltage"]
    optics += ["rlnSphericalAberration", "rlnAmplitudeContrast"]
    row = f"opticsGroup1 1 {PIXEL_SIZE} 300 2 0.1"
    labels, rows = ["rlnMicrographName", "rlnOpticsGroup"], [f"mics/{n}.mrc 1" for n in names]
    tables = [
        StarTable(path, "optics", optics, [row]),
        StarTable(path, "micrographs", labels, rows),
    ]
    write_star(path, tables, STAR_VERSION)
    box = box_size_for(DIAMETER, PIXEL_SIZE)
    scaled = even(box * PIXEL_SIZE / SCALED)
    measured(
        [
            *(
                "relion_preprocess",
                "--i",
                "mics.star",
                "--coord_dir",
                "./",
                "--coord_suffix",
                "_all.star",
            ),
            *("--part_star", "particles.star", "--part_dir", "Particles/", "--extract"),
            *("--extract_size", box, "--scale", scaled, "--norm", "--invert_contrast"),
            *("--bg_radius", round(0.75 * scaled / 2), "--white_dust", -1, "--black_dust", -1),
        ],
        cwd=folder,
    )
    return box * PIXEL_SIZE / scaled


def add_noise(folder: Path, rng: np.random.Generator) -> None:
    """Add white noise to the images that Relion extracted; their background's deviation is 1."""
    for path in sorted(folder.rglob("*.mrcs")):
        with mrcfile.open(path, "r+") as mrc:
            mrc.set_data(mrc.data + rng.normal(0, NOISE, mrc.data.shape).astype(np.float32))


def refine(
    folder: Path, classes: int, iterations: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Classify with Relion.

    Returns
    -------
    assigned : ndarray of int, shape (n,)
        Class of each particle from 0, in the order of extraction.
    averages : ndarray, shape (classes, side, side)
    """
    (folder / "Class2D").mkdir()
    measured(
        [
            *("relion_refine", "--i", "particles.star", "--o", "Class2D/run", "--K", classes),
            *(
                "--iter",
                iterations,
                "--tau2_fudge",
                2,
                "--particle_diameter",
                round(1.3 * DIAMETER),
            ),
            *("--zero_mask", "--flatten_solvent", "--norm", "--scale", "--oversampling", 1),
            *("--psi_step", 20, "--offset_range", 3, "--offset_step", 2, "--maxsig", 100),
            *("--strict_highres_exp", FINEST, "--pad", 2, "--dont_combine_weights_via_disc"),
            *("--preread_images", "--pool", 30, "--j", 2),
            *("--random_seed", 1),
        ],
        cwd=folder,
    )
    last = folder / "Class2D" / f"run_it{iterations:03d}"
    table = read_star(Path(f"{last}_data.star")).table_with("rlnClassNumber", "rlnImageName")
    assigned = table.numbers("rlnClassNumber").astype(np.int64) - 1
    # 000012@Particles/mics/NAME.mrcs: Relion keeps the order, but does not promise it.
    images = [image.split("@") for image in table.text("rlnImageName")]
    order = sorted(range(len(images)), key=lambda k: (images[k][1], int(images[k][0])))
    with mrcfile.open(f"{last}_classes.mrcs") as mrc:
        averages = np.array(mrc.data, np.float32)
    return assigned[order], averages.reshape(-1, *averages.shape[-2:])


def on_true(
    owners: Sequence[tuple[str, str]],
    places: Sequence[FloatArray],
    names: Sequence[str],
    truth: Mapping[str, FloatArray],
) -> npt.NDArray[np.bool_]:
    """Tell which particles are right by the expert's picks, picker by picker."""
    who = np.array([owner for owner, _ in owners])
    where = np.array([name for _, name in owners])
    xy = np.concatenate(places)
    right = np.zeros(len(who), bool)
    for name in names:
        for picker in np.unique(who):
            of_it = np.flatnonzero((who == picker) & (where == name))
            match = match_closest_first(xy[of_it], truth[name], DIAMETER / PIXEL_SIZE / 2)
            right[of_it] = match >= 0
    return right


def draw_averages(
    averages: npt.NDArray[np.float32],
    sizes: npt.NDArray[np.int64],
    path: Path,
    rng: np.random.Generator,
) -> None:
    """Draw averages in an order at random, each with a number of its own and no name.

    Which class has which number stands in ``averages.csv`` beside the picture.
    """
    from matplotlib.figure import Figure

    order = rng.permutation(np.flatnonzero(sizes))
    across = 5
    down = -(-len(order) // across)
    figure = Figure(figsize=(1.7 * across, 1.9 * down), layout="constrained")
    places = figure.subplots(down, across).flat
    for place, k in enumerate(order, start=1):
        axes = places[place - 1]
        low, high = np.percentile(averages[k], (1, 99.5))
        axes.imshow(averages[k], cmap="gray", vmin=low, vmax=high, origin="lower")
        axes.set_title(f"{place}", fontsize=9)
    for axes in figure.axes:
        axes.set_axis_off()
    figure.savefig(path, dpi=130)
    lines = [f"{place},{k + 1}" for place, k in enumerate(order, start=1)]
    write_text(path.with_suffix(".csv"), "\n".join(["picture,class", *lines]) + "\n")


def gather(
    paths: Sequence[Path], training: Sequence[Path], seed: int
) -> tuple[dict[str, dict[str, FloatArray]], dict[str, str]]:
    """Collect the picks of every picker by its default threshold, and tell who is missing and why.

    Returns
    -------
    picks : dict of str to dict of str to ndarray, shape (n, 3)
        By picker and micrograph.
    missing : dict of str to str
    """
    data = split()[0]
    peers = bench_data() / "data" / "empiar-10017" / "peers"

    def published(peer: str) -> Picks:
        if not (peers / peer).is_dir():
            raise Missing(f"there are no published picks in {peers / peer}")
        return Picks(peers / peer, None, {}, {})

    sources: dict[str, Callable[[], Picks]] = {
        "apbc `dense`": lambda: picking.our_picks(pickers.benchmark_model(seed=seed), paths),
        "Relion LoG": lambda: picking.log_picks(paths),
        "Topaz, trained on the same good labels": lambda: picking.topaz_picks(
            picking.topaz_model(data, training), paths
        ),
        "published Topaz": lambda: published("topaz"),
        "published crYOLO": lambda: published("crYOLO"),
    }
    picks, missing = {}, {}
    for name, make in sources.items():
        try:
            found = make()
        except (Missing, CommandFailed) as error:
            missing[name] = without_folders(str(error))
            logger.error("NOT MEASURED: %s: %s", name, error)
            continue
        lowest = -np.inf if found.threshold is None else found.threshold
        picks[name] = {
            stem: xy[~(xy[:, 2] < lowest)]
            for stem, xy in read_coordinate_folder(found.folder).items()
        }
    return picks, missing


def run(seeds: Sequence[int], quick: bool = False) -> dict[str, Any]:
    """Classify the picks of the scored micrographs.

    Parameters
    ----------
    seeds : sequence of int
        Our models; the first is taken.
    quick : bool, optional
        Few classes and iterations, to see that it runs.

    Returns
    -------
    dict
        Of `classify`; ``not run`` tells which pickers are missing, and why.
    """
    _, training, test = split()
    picks, missing = gather(test, training, seeds[0])
    names = [path.stem for path in picking.have_published(test)]
    folder = WORK / "classes" / (f"quick-{seeds[0]}" if quick else str(seeds[0]))
    return {**classify(picks, names, folder, quick), "not run": missing, "seed": seeds[0]}


def check(seed: int, quick: bool = False) -> dict[str, Any]:
    """Classify picks of two micrographs that give labels, to choose `GOOD`.

    Without Topaz trained here, which would have to pick them first.
    """
    _, training, _ = split()
    some = picking.have_published(training)[:2]
    model = pickers.benchmark_model(seed=seed)
    sizes = {"pixel_size": PIXEL_SIZE, "diameter": DIAMETER}
    ours = pickers.apbc_pick(some, model, pickers.KEPT / "classes-check-dense")
    log = pickers.relion_log(some, **sizes, out=pickers.KEPT / "classes-check-log")
    peers = bench_data() / "data" / "empiar-10017" / "peers"
    folders = {
        "apbc `dense`": ours.folder.parent,
        "Relion LoG": log.folder,
        "published Topaz": peers / "topaz",
        "published crYOLO": peers / "crYOLO",
    }
    picks = {name: read_coordinate_folder(folder) for name, folder in folders.items()}
    return classify(picks, [path.stem for path in some], WORK / "classes" / "check", quick)


def table(figures: Mapping[str, Any]) -> list[str]:
    """Lines of Markdown with what `run` gave."""
    settings = figures["settings"]
    lines = [
        f"Micrographs {', '.join(figures['micrographs'])}. "
        "All picks classified together by Relion: "
        f"{settings['classes']} classes, {settings['iterations']} iterations, images of "
        f"{settings['box']} pixels of {settings['pixel_size']:.1f} Å, with white noise of "
        f"{NOISE:g} of the background's deviation, which denoising took away. Blind reader: "
        f"{figures['rule']}.",
        "",
        "| picker | particles | in good classes | share |",
        "|---|---|---|---|",
    ]
    for name, row in figures["pickers"].items():
        cells = [str(row["particles"]), str(row["in good classes"]), f"{row['share']:.3f}"]
        lines.append(f"| {' | '.join([name, *cells])} |")
    return lines


def main() -> None:
    """Run it and write the figures."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.check:
        figures = check(args.seeds[0], args.quick)
    else:
        figures = run(args.seeds, args.quick)
    name = ("check" if args.check else "results") + ("-quick" if args.quick else "")
    write_json(WORK / "classes" / f"{name}.json", figures)
    sys.stdout.write("\n".join(table(figures)) + "\n")


if __name__ == "__main__":
    main()
