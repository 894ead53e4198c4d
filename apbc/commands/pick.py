"""Pick particles on micrographs with a model.

Writes the candidates with their scores (candidates/NAME.csv), what the threshold
exports (NAME.csv, NAME.star, NAME.box) and a record (run.json). Candidates whose
centre is nearer than half a diameter to the border are left out; of an alexnet model
those whose box leaves the micrograph, and its CSV files tell the shape, too.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from apbc.errors import ApbcError
from apbc.picking.score_map import TILE

if TYPE_CHECKING:
    from apbc.models.folder import Model
    from apbc.picking.pipeline import Done, Share

logger = logging.getLogger(__name__)

SOME_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc pick``."""
    parser.add_argument("model", type=Path, help="model folder of apbc train")
    parser.add_argument(
        "--micrographs",
        nargs="+",
        required=True,
        metavar="GLOB",
        help="micrographs: a glob in quotes, a folder, files, or a .txt list with a path a line",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--ctf", type=Path, metavar="STAR", help="CTF of the micrographs, for a phase-flipped model"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="export candidates from this score on, 0 for all (default: the model's, which "
        "promises the best F1; about 0.45)",
    )
    parser.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="export at the lowest threshold that promises this share of particles, by the scores "
        "of all candidates in DIR",
    )
    parser.add_argument(
        "--format",
        default="csv,star,box",
        metavar="LIST",
        help="of csv, star, box, with commas (default: all three)",
    )
    parser.add_argument("--resume", action="store_true", help="leave out what is done")
    parser.add_argument("--pixel-size", type=float, metavar="Å", help="default: the headers'")
    parser.add_argument(
        "--floor", type=float, default=0.01, metavar="P", help="lowest score kept (default: 0.01)"
    )
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of micrographs that may fail before the run counts as failed (default: 0)",
    )
    parser.add_argument(
        "--tile",
        type=int,
        metavar="N",
        help="largest side in working pixels that goes through the network at once; smaller needs "
        f"less memory (default: what the memory holds; on a CPU {TILE} at most)",
    )
    parser.add_argument(
        "--every-window",
        action="store_true",
        help="of an alexnet model: cut out every window as in DeepCryoPicker's paper, which takes "
        "minutes a micrograph (default: those that one pass over all of it proposes)",
    )
    parser.add_argument(
        "--no-maps", action="store_true", help="do not write the score maps (DIR/maps/NAME.png)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes, each with its share of the micrographs and of the cores (default: 1, or "
        "one for each GPU of --gpu)",
    )
    parser.add_argument(
        "--gpu",
        metavar="LIST",
        help='GPUs such as 0,1, with a process each; "" for the CPU; default: what is there',
    )


def run(args: argparse.Namespace) -> int:
    """Pick."""
    from apbc.io.ctf import read_ctf
    from apbc.io.images import find_micrographs
    from apbc.picking.options import FORMATS, PickOptions

    formats = tuple(word.strip() for word in args.format.split(",") if word.strip())
    if not formats or set(formats) - set(FORMATS):
        raise ApbcError(f"--format {args.format}: give some of {','.join(FORMATS)}")
    for name in ("threshold", "precision", "max_failed"):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:
            raise ApbcError(f"--{name.replace('_', '-')} is {value}; give a number from 0 to 1")
    if not 0 < args.floor < 1:
        raise ApbcError(f"--floor is {args.floor}; give a number between 0 and 1")
    if args.precision is not None and args.threshold is not None:
        raise ApbcError("--threshold and --precision exclude each other; give one of them")
    if args.workers < 1:
        raise ApbcError(f"--workers is {args.workers}; give at least 1")
    if args.tile is not None and args.tile < 128:
        raise ApbcError(f"--tile is {args.tile}; give at least 128")
    micrographs = find_micrographs(args.micrographs)
    ctfs = read_ctf(args.ctf) if args.ctf else None

    from apbc.models.folder import check_folder
    from apbc.picking.pick import pick
    from apbc.picking.workers import pick_here, pick_in_processes, plan_workers

    model = check_folder(args.model)
    _check_kind(model, args)
    options = PickOptions(
        threshold=model.threshold if args.threshold is None else args.threshold,
        precision=args.precision,
        floor=args.floor,
        formats=formats,
        resume=args.resume,
        pixel_size=args.pixel_size,
        tile=args.tile,
        maps=not args.no_maps,
        every_window=args.every_window,
    )
    plan = plan_workers(args.workers, args.gpu)
    picker: Callable[[Share], Generator[Done, None, None]]
    if len(plan) == 1:
        picker = partial(pick_here, model.folder, plan[0])
    else:
        picker = partial(pick_in_processes, model.folder, plan)
    outcome = pick(model, micrographs, args.out, options, picker, ctfs)
    if args.precision is not None:
        logger.info("the threshold is %.3f", outcome.promise.threshold)
    logger.info(
        "picked %d particles (of %d candidates) on %d micrographs; wrote %s",
        sum(outcome.exported.values()),
        sum(outcome.candidates.values()),
        len(outcome.candidates),
        args.out,
    )
    empty = [name for name, n in outcome.exported.items() if n == 0]
    if empty:
        logger.info(
            "no particle on %d micrographs (%s%s)",
            len(empty),
            ", ".join(empty[:3]),
            ", ..." if len(empty) > 3 else "",
        )
    if outcome.failed:
        name, reason = next(iter(outcome.failed.items()))
        logger.error(
            "%d of %d micrographs failed, such as %s: %s; all are in %s",
            len(outcome.failed),
            len(micrographs),
            name,
            reason,
            args.out / "failed.csv",
        )
        if len(outcome.failed) > args.max_failed * len(micrographs):
            return SOME_FAILED
    return 0


def _check_kind(model: Model, args: argparse.Namespace) -> None:
    """Refuse options that the kind of the model has no meaning for."""
    from apbc.models.architecture import CLASSIFIERS

    classifier = model.architecture.name in CLASSIFIERS
    if classifier and args.precision is not None:
        raise ApbcError(
            f"--precision needs calibrated scores, and those of {args.model}, an "
            f"{model.architecture.name} model, are not; give --threshold"
        )
    if args.every_window and not classifier:
        raise ApbcError(
            f"--every-window is for alexnet models, and {args.model} is a "
            f"{model.architecture.name} model that scores every place; leave it out"
        )
