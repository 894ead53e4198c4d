"""Sort the particles of a Relion star file into true and false ones.

Writes particles_true.star and particles_false.star with all columns of the input
and one column of scores, and scores.csv with the score of every row.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from apbc.errors import ApbcError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc screen``."""
    parser.add_argument("model", type=Path, help="model folder of apbc train")
    parser.add_argument("particles", type=Path, help="Relion particle star")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="P",
        help="true from this score on (default: the model's)",
    )
    parser.add_argument(
        "--micrographs",
        nargs="+",
        metavar="GLOB",
        help="cut the particles out of these micrographs, as picking sees them (recommended), "
        "instead of reading the stacks",
    )
    parser.add_argument(
        "--ctf", type=Path, metavar="STAR", help="CTF of the micrographs, for a phase-flipped model"
    )
    parser.add_argument(
        "--pixel-size",
        type=float,
        metavar="Å",
        help="of the micrographs (or of the stacks without them); default: what the files say",
    )
    parser.add_argument(
        "--stack-contrast",
        choices=("white", "dark"),
        default="white",
        help="protein in the stacks; Relion's extraction makes it white (default)",
    )
    parser.add_argument(
        "--gpu", metavar="LIST", help='GPUs such as 0,1; "" for the CPU; default: what is there'
    )


def run(args: argparse.Namespace) -> int:
    """Screen."""
    from apbc.io.ctf import read_ctf
    from apbc.io.images import find_micrographs
    from apbc.io.particles import read_particles

    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ApbcError(f"--threshold is {args.threshold}; give a number from 0 to 1")
    if args.ctf and not args.micrographs:
        raise ApbcError("--ctf needs --micrographs: stacks are scored as they are")
    table = read_particles(args.particles)
    micrographs = find_micrographs(args.micrographs) if args.micrographs else None
    ctfs = read_ctf(args.ctf) if args.ctf else None

    from apbc.models.folder import read_card, refuse_classifier
    from apbc.models.inference import load_for_inference
    from apbc.system.devices import select_for_inference

    refuse_classifier(read_card(args.model), args.model, "screen")
    device = select_for_inference(args.gpu)
    model = load_for_inference(args.model, device)

    from apbc.picking.screen import Screened, score_on_micrographs, score_stacks, write_screened

    if micrographs:
        scores = score_on_micrographs(model, table, micrographs, args.pixel_size, ctfs)
    else:
        scores = score_stacks(model, table, args.pixel_size, args.stack_contrast)
    threshold = model.threshold if args.threshold is None else args.threshold
    result = Screened(scores, threshold)
    write_screened(table, result, args.out, model, device.name)
    logger.info(
        "%d of %d particles are true at threshold %g; wrote %s",
        int(result.kept.sum()),
        table.n,
        threshold,
        args.out,
    )
    return 0
