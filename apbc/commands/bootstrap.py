"""Find particles without any label, and make a data set to learn from.

Micrographs are prepared, their dark pixels are clustered, and round, square and irregular
particles are found among them and judged as good or bad examples (DeepCryoPicker, Al-Azzawi
et al. 2020). Writes the examples (examples/NAME.csv; good/ and bad/ for apbc dataset), the
data set that apbc train learns from (data.h5), pictures of the stages (stages/NAME.npz) and a
record (bootstrap.json). The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from apbc.errors import ApbcError

logger = logging.getLogger(__name__)

SOME_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc bootstrap``."""
    parser.add_argument(
        "--micrographs",
        nargs="+",
        required=True,
        metavar="GLOB",
        help="micrographs: a glob in quotes, a folder, files, or a .txt list with a path a line",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--diameter",
        type=float,
        metavar="Å",
        help="diameter of the particle (default: estimated from the first micrographs; look at "
        "diameter.png)",
    )
    parser.add_argument(
        "--shape",
        default="auto",
        metavar="LIST",
        help="of top (round), side (square) and irregular, with commas; auto (default) finds out",
    )
    parser.add_argument("--invert", action="store_true", help="particles are brighter than the ice")
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="default: the headers'")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes, each with its share of the micrographs (default: 1)",
    )
    parser.add_argument(
        "--examples-only",
        action="store_true",
        help="find the examples and make no data set; a run without this makes it of them",
    )
    parser.add_argument(
        "--negatives",
        choices=("background", "bad"),
        default="background",
        help="what patches show besides particles: background (default), or bad examples as well",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1500,
        metavar="N",
        help="patches of each class (default: 1500)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the split and of the draws (default: 0)"
    )
    parser.add_argument(
        "--keep-stages",
        type=int,
        default=8,
        metavar="N",
        help="keep the stages of the first N micrographs to be looked at (default: 8)",
    )
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of micrographs that may fail before the run counts as failed (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Find examples, and make the data set."""
    from apbc.bootstrap.examples import SHAPES
    from apbc.bootstrap.run import AUTO, BootstrapOptions, bootstrap
    from apbc.io.images import find_micrographs
    from apbc.models.alexnet import BACKGROUND, NEGATIVE

    if args.diameter is not None and not 0 < args.diameter < float("inf"):
        raise ApbcError(f"--diameter is {args.diameter:g} Å; give a number above 0")
    if args.pixel_size is not None and not 0 < args.pixel_size < float("inf"):
        raise ApbcError(f"--pixel-size is {args.pixel_size:g} Å; give a number above 0")
    for name, least in (("workers", 1), ("samples", 10), ("seed", 0), ("keep_stages", 0)):
        if getattr(args, name) < least:
            option = name.replace("_", "-")
            raise ApbcError(f"--{option} is {getattr(args, name)}; give {least} or more")
    if not 0 <= args.max_failed <= 1:
        raise ApbcError(f"--max-failed is {args.max_failed:g}; give a number from 0 to 1")
    shapes = [word.strip() for word in args.shape.split(",") if word.strip()]
    if shapes != [AUTO] and (not shapes or set(shapes) - set(SHAPES)):
        raise ApbcError(f"--shape {args.shape}: give some of {','.join(SHAPES)}, or {AUTO}")
    options = BootstrapOptions(
        diameter=args.diameter,
        shapes=tuple(shape for shape in SHAPES if shape in shapes),
        invert=args.invert,
        pixel_size=args.pixel_size,
        workers=args.workers,
        negatives=(BACKGROUND,) if args.negatives == "background" else (BACKGROUND, NEGATIVE),
        samples=args.samples,
        seed=args.seed,
        keep_stages=args.keep_stages,
    )
    micrographs = find_micrographs(args.micrographs)
    record = bootstrap(micrographs, args.out, options, args.examples_only)
    for shape, counts in record["shapes"].items():
        logger.info("%s: %d good and %d bad examples", shape, counts["good"], counts["bad"])
    logger.info("wrote %s", args.out / (record["data"] or "examples"))
    failed = [path.stem for path in micrographs if path.stem in record["failed"]]
    if failed:
        logger.error(
            "%d of %d micrographs failed, such as %s: %s; all are in %s",
            len(failed),
            len(micrographs),
            failed[0],
            record["failed"][failed[0]],
            args.out / "bootstrap.json",
        )
        if len(failed) > args.max_failed * len(micrographs):
            return SOME_FAILED
    return 0
