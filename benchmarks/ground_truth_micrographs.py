"""Measure `apbc simulate micrographs`: time and memory, and what Relion's blob finder makes of it.

    . scripts/env.sh; python benchmarks/ground_truth_micrographs.py --out bench/micrographs.json

Micrographs of 4096 x 4096 pixels at 1.5 Å with 400 particles of 171 Å (box 180), all contamination
at its default. Seconds are of the wall and of the processor: on a machine that is busy with
something else the second is the one to look at. Memory is the peak of a process of its own.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "bench" / "micrographs"
SIDE, PIXEL_SIZE, PARTICLES, DIAMETER = 4096, 1.5, 400, 171.0
MATCH = 0.25  # of the diameter
WORDS = ["--builtin", "barrel", "--pixel-size", str(PIXEL_SIZE), "--particles", str(PARTICLES)]


def simulate(out, count, *words):
    """Run the command in a process of its own.

    Returns
    -------
    dict
        Seconds of the wall and of the processor, and peak memory in GB.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    command = [sys.executable, "-m", "apbc", "simulate", "micrographs", "--out", str(out)]
    command += ["--micrographs", str(count), *WORDS, *words]
    subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "processor": processor, "peak_gb": after.ru_maxrss / 1e6}


def blob_finder(folder):
    """Score Relion's LoG picks on the micrographs of a folder.

    Returns
    -------
    list of dict
        One a micrograph: precision, recall, F1, median offset in pixels.
    """
    import numpy as np
    from scipy.spatial import cKDTree

    from apbc.io.coordinates import read_coordinates, read_truth_columns

    words = "--i micrographs_ctf.star --odir picks/ --pickname log --LoG --LoG_diam_min 120"
    subprocess.run(
        ["relion_autopick", *words.split(), "--LoG_diam_max", "175", "--lowpass", "20"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    rows = []
    for path in sorted((folder / "truth").glob("*.csv")):
        truth = read_coordinates(path)[:, :2]
        seen = truth[read_truth_columns(path)[path.stem]["visible"] == 1]
        picks = read_coordinates(folder / "picks" / "micrographs" / f"{path.stem}_log.star")[:, :2]
        reach = MATCH * DIAMETER / PIXEL_SIZE
        distance, nearest = cKDTree(picks).query(seen)
        hit = distance < reach
        recall = len(set(nearest[hit])) / len(seen)
        precision = float(np.mean(cKDTree(truth).query(picks)[0] < reach))
        offset = np.median((picks[nearest] - seen)[hit], axis=0)
        rows.append(
            {
                "micrograph": path.stem,
                "precision": precision,
                "recall": recall,
                "f1": 2 * precision * recall / (precision + recall),
                "offset": offset.tolist(),
            }
        )
    return rows


def main():
    """Measure and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "micrographs.json")
    parser.add_argument("--threads", default=str(os.cpu_count()))
    args = parser.parse_args()
    shutil.rmtree(WORK, ignore_errors=True)
    threads = ["--threads", args.threads]
    figures = {"threads": int(args.threads)}
    # One after the other, so that the largest child so far is the one just measured or as large.
    figures["one"] = simulate(WORK / "one", 1, *threads)
    figures["six"] = simulate(WORK / "six", 6, *threads)
    for kind in ("wall", "processor"):
        figures[f"{kind}_each"] = (figures["six"][kind] - figures["one"][kind]) / 5
    shutil.rmtree(WORK / "one")
    if shutil.which("relion_autopick"):
        simulate(WORK / "log", 2, *threads, "--no-carbon")
        figures["log"] = blob_finder(WORK / "log")
    shutil.rmtree(WORK)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
