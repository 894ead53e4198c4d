"""Tell where the time of picking goes: each step by itself, one after the other.

    . scripts/env.sh
    python benchmarks/picking_steps.py MODEL MICROGRAPH ... [--gpu 0] [--json FILE]

``apbc pick`` does the steps of several micrographs at once; here none waits for another. The first
micrograph warms up and does not count. Prints medians in seconds a micrograph.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from apbc.io.files import write_json
from apbc.io.images import micrograph_info, read_micrograph
from apbc.models.inference import load_for_inference
from apbc.picking.pipeline import candidate_scores, candidates
from apbc.picking.workers import tile_for
from apbc.system.devices import select_for_inference

FLOOR = 0.01  # lowest score of a candidate, that of apbc pick


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("micrographs", type=Path, nargs="+")
    parser.add_argument("--gpu", default="", metavar="LIST", help="default: the CPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    args = parser.parse_args()
    start = time.monotonic()
    device = select_for_inference(args.gpu)
    model = load_for_inference(args.model, device)
    tile = tile_for(model, device, None)
    loading = time.monotonic() - start
    steps: dict[str, list[float]] = {"reading": [], "preparing": [], "network": [], "peaks": []}
    for path in [args.micrographs[0], *args.micrographs]:
        marks = [time.monotonic()]
        pixels = read_micrograph(path)
        marks.append(time.monotonic())
        work = model.preprocessing.working_image(pixels, micrograph_info(path).pixel_size, None)
        marks.append(time.monotonic())
        scores = candidate_scores(model, work, tile)
        marks.append(time.monotonic())
        candidates(model, work, scores, FLOOR)
        marks.append(time.monotonic())
        for step, one, other in zip(steps, marks, marks[1:], strict=False):
            steps[step].append(other - one)
    figures = {
        "device": device.name,
        "tile": tile,
        "loading": loading,
        "micrographs": len(args.micrographs),
        "seconds": {step: statistics.median(spent[1:]) for step, spent in steps.items()},
    }
    if args.json:
        write_json(args.json, figures)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
