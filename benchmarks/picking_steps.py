"""Tell where time and memory of picking go: each step by itself, one after the other.

    . scripts/env.sh
    python benchmarks/picking_steps.py MODEL MICROGRAPH ... [--gpu 0] [--json FILE]

``apbc pick`` does the steps of several micrographs at once; here none waits for another. The first
micrograph warms up and does not count. Prints a table: medians in milliseconds a micrograph, and
the most memory that the process had taken until the step was first done.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from apbc.io.coordinates import write_coordinates
from apbc.io.files import write_json
from apbc.io.images import micrograph_info, read_micrograph
from apbc.models.folder import Model
from apbc.models.inference import load_for_inference
from apbc.picking.options import FORMATS
from apbc.picking.pipeline import candidate_scores, candidates, write_map
from apbc.picking.workers import tile_for
from apbc.preprocess.binning import fourier_resample, resampled_shape
from apbc.preprocess.normalise import high_pass, normalise
from apbc.preprocess.working import WorkingImage
from apbc.system.devices import select_for_inference

FLOOR = 0.01  # lowest score of a candidate, that of apbc pick


def peak_gb() -> float:
    """Most memory that this process has taken so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def steps_of(model: Model, path: Path, tile: int, folder: Path) -> Iterator[str]:
    """Pick a micrograph as apbc does, and yield the name of each step when it is done."""
    preprocessing, pixel_size = model.preprocessing, micrograph_info(path).pixel_size
    pixels = read_micrograph(path)
    yield "reading"
    shape = resampled_shape(pixels.shape, pixel_size, preprocessing.pixel_size)
    scale = (shape[1] / pixels.shape[1], shape[0] / pixels.shape[0])
    pixels = fourier_resample(pixels, shape)
    yield "binning"
    pixels = high_pass(pixels, preprocessing.high_pass_sigma * preprocessing.diameter_pixels)
    yield "high-pass"
    work = WorkingImage(normalise(pixels, preprocessing.clip), scale)
    yield "normalising"
    scores = candidate_scores(model, work, tile)
    yield "network"
    found = candidates(model, work, scores, FLOOR)
    yield "peaks"
    write_map(folder / f"{path.stem}.png", model, work, scores)
    yield "score map"
    for place in (folder, folder / "candidates"):
        for suffix in FORMATS if place == folder else ("csv",):
            write_coordinates(place / f"{path.stem}.{suffix}", found[:, :2], found[:, 2], 100)
    yield "files"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("micrographs", type=Path, nargs="+")
    parser.add_argument("--gpu", default="", metavar="LIST", help="default: the CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    args = parser.parse_args()
    memory = {"imports": peak_gb()}
    start = time.monotonic()
    device = select_for_inference(args.gpu)
    model = load_for_inference(args.model, device)
    tile = tile_for(model, device, None)
    loading = time.monotonic() - start
    memory["loading"] = peak_gb()
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in [args.micrographs[0], *args.micrographs]:
            last = time.monotonic()
            for step in steps_of(model, path, tile, Path(folder)):
                spent.setdefault(step, []).append(time.monotonic() - last)
                memory.setdefault(step, peak_gb())
                last = time.monotonic()
    memory["all"] = peak_gb()
    figures = {
        "device": device.name,
        "tile": tile,
        "loading": loading,
        "micrographs": len(args.micrographs),
        "seconds": {step: statistics.median(values[1:]) for step, values in spent.items()},
        "peak_gb": memory,
    }
    if args.json:
        write_json(args.json, figures)
    seconds = {"loading": loading, **figures["seconds"]}
    for step, peak in memory.items():
        told = f"{1000 * seconds[step]:8.0f} ms" if step in seconds else " " * 11
        sys.stdout.write(f"{step:<14}{told}{peak:8.3f} GB\n")


if __name__ == "__main__":
    main()
