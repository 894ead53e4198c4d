"""The tutorial on ground truth from its first command to its last: simulate, classify, measure.

    python benchmarks/ground_truth_relion.py [--out bench/ground_truth_relion] [--images N]

A two-state molecule is simulated twice, with exact poses and with poses that are off. Relion parts
the states in 3D, and the metrics tell how well: poses, classes and volumes against the truth, both
cases side by side. Needs Relion on PATH; prints the commands, which are those of
docs/ground_truth.md, and the figures.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

logger = logging.getLogger("ground_truth_relion")

ITERATIONS = 12
SIMULATION = ("--pixel-size", 4, "--box", 64, "--seed", 1)
CASES = {
    "exact poses": (),
    "poses 10 degrees off": ("--pose-error", 10, "--shift-error", 4),
}


def run(*words: object, cwd: Path) -> float:
    """Run a command of the tutorial in its folder; return its seconds."""
    line = shlex.join(str(word) for word in words)
    logger.info("$ %s", line)
    command = [str(word) for word in words]
    if words[0] == "apbc":
        command = [sys.executable, "-m", *command]
    start = time.monotonic()
    with (cwd / "commands.log").open("a") as log:
        log.write(f"$ {line}\n")
        log.flush()
        done = subprocess.run(command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        sys.exit(f"that failed; see {cwd / 'commands.log'}")
    seconds = time.monotonic() - start
    logger.info("  %.0f s", seconds)
    return seconds


def classify(folder: Path) -> Path:
    """Part the images in 3D with the poses of particles.star; returns Relion's last data."""
    run(
        *("relion_reconstruct", "--i", "particles.star", "--o", "consensus.mrc", "--ctf"),
        cwd=folder,
    )
    (folder / "class3d").mkdir()
    run(
        *("relion_refine", "--i", "particles.star", "--o", "class3d/run", "--ref", "consensus.mrc"),
        *("--firstiter_cc", "--ini_high", 40, "--K", 2, "--iter", ITERATIONS, "--tau2_fudge", 4),
        *("--ctf", "--particle_diameter", 200, "--zero_mask", "--flatten_solvent", "--norm"),
        *("--scale", "--skip_align", "--sym", "C1", "--pad", 2, "--j", 2, "--random_seed", 1),
        "--dont_combine_weights_via_disc",
        cwd=folder,
    )
    return Path("class3d") / f"run_it{ITERATIONS:03d}_data.star"


def measure(folder: Path, name: str, data: Path) -> list[Path]:
    """Poses, classes and volumes against the truth; returns the folders of the metrics."""
    run(
        *("apbc", "metrics", "pose", "particles.star", "truth.csv", "--frames", "fixed"),
        *("--name", name, "--out", "metrics/pose"),
        cwd=folder,
    )
    run(
        *("apbc", "metrics", "embedding", "--clusters", data, "--truth", "truth.csv"),
        *("--name", name, "--out", "metrics/classes"),
        cwd=folder,
    )
    with (folder / "metrics" / "classes" / "clusters.csv").open() as table:
        states = {row["cluster"]: int(row["stands_for"]) for row in csv.DictReader(table)}
    truth = json.loads((folder / "simulation.json").read_text())["structures"]
    volumes = [data.parent / f"run_it{ITERATIONS:03d}_class{int(c):03d}.mrc" for c in states]
    run(
        *("apbc", "metrics", "fsc", "--volumes", *volumes, "--references"),
        *(truth[state - 1]["volume"] for state in states.values()),
        *("--mask", "mask.mrc", "--local", "--name", name, "--out", "metrics/fsc"),
        cwd=folder,
    )
    return [folder / "metrics" / part for part in ("pose", "classes", "fsc")]


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("bench/ground_truth_relion"))
    parser.add_argument("--images", type=int, default=2000)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if shutil.which("relion_refine") is None:
        sys.exit("Relion is not on PATH")
    shutil.rmtree(args.out, ignore_errors=True)
    args.out.mkdir(parents=True)
    out = args.out.resolve()
    start, measured = time.monotonic(), []
    for name, options in CASES.items():
        case = "off" if options else "exact"
        run(
            *("apbc", "simulate", "particles", "--out", case, "--images", args.images),
            *(*SIMULATION, *options),
            cwd=out,
        )
        measured += measure(out / case, name, classify(out / case))
    run(
        *("apbc", "metrics", "report", *(f.relative_to(out) for f in measured), "--out", "report"),
        cwd=out,
    )
    sys.stdout.write((out / "report" / "report.csv").read_text())
    logger.info("all of it took %.0f s; see %s", time.monotonic() - start, out / "report")


if __name__ == "__main__":
    main()
