"""How much a latent space tells of the truth, and of pose and CTF, and the other way round.

0 tells all and 1 tells nothing (information imbalance). LATENT is as for apbc metrics neighbours.
A latent space should tell the truth and be told by it, and neither should it tell the pose (9
numbers of the rotation matrix) nor the CTF (each parameter scaled to a standard deviation of 1).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from apbc.commands.metrics import add_latent_arguments, add_output_arguments
from apbc.errors import ApbcError

if TYPE_CHECKING:
    from apbc.metrics.imbalance import FloatArray
    from apbc.metrics.truth import Truth

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics imbalance``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    add_latent_arguments(parser)
    tables = "truth.csv of apbc simulate particles, a .star file, or cryoDRGN's"
    parser.add_argument(
        "--poses", type=Path, metavar="FILE", help=f"poses of the images: {tables} poses.pkl"
    )
    parser.add_argument(
        "--ctf", type=Path, metavar="FILE", help=f"CTF of the images: {tables} ctf.pkl"
    )
    parser.add_argument(
        "--k",
        type=int,
        nargs="+",
        metavar="N",
        help="sizes of the neighbourhood, default 1 3 10 30 100 300",
    )
    parser.add_argument(
        "--subset-size", type=int, default=2000, metavar="N", help="images a part, default 2000"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics imbalance``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor Matplotlib.
    from apbc.io.latents import read_latents
    from apbc.metrics.catalogue import tell_record
    from apbc.metrics.imbalance import (
        FEWEST_POINTS,
        MOST_POINTS,
        PICTURE,
        TABLE,
        draw_imbalance,
        imbalance_figures,
        measure_imbalance,
        perfect_imbalance,
        smeared,
        write_imbalance_table,
    )
    from apbc.metrics.record import Record, write_record
    from apbc.metrics.truth import TruthOptions, match_truth

    if args.k and min(args.k) < 1:
        raise ApbcError(f"--k {min(args.k)} is no size of a neighbourhood; give 1 or more")
    if args.subset_size > MOST_POINTS:
        raise ApbcError(
            f"--subset-size {args.subset_size} needs too much memory (it grows with the square); "
            f"give {MOST_POINTS} or less, all images are used in parts of that size"
        )
    if args.subset_size < FEWEST_POINTS:
        raise ApbcError(
            f"--subset-size {args.subset_size} is too few to compare neighbours; give "
            f"{FEWEST_POINTS} or more"
        )
    options = TruthOptions(tuple(args.columns), tuple(args.circular), args.subset)
    truth = match_truth(read_latents(args.latent), args.truth, options)
    spaces = {"truth": smeared(truth.points, args.seed), **_nuisances(args, truth)}
    measured = {}
    for name, points in spaces.items():
        measured[name] = measure_imbalance(
            truth.latents, points, args.k, args.subset_size, args.seed
        )
        retained, given = measured[name].retained, measured[name].given
        if retained < given:
            logger.warning(
                "%d of %d images share their row of the latent space or the %s with another and "
                "are dropped",
                given - retained,
                given,
                name,
            )
    perfect = perfect_imbalance(truth.points, args.k, args.subset_size, args.seed)
    best = float(perfect.averaged(perfect.corrected(perfect.from_latent)).mean())
    write_imbalance_table(args.out, measured)
    draw_imbalance(args.out / PICTURE, measured, args.name, best)
    record = Record(
        "imbalance",
        args.name,
        {
            "latent": args.latent,
            "truth": args.truth,
            "columns": args.columns,
            "circular": args.circular,
            "poses": args.poses,
            "ctf": args.ctf,
            "k": args.k,
            "subset_size": args.subset_size,
            "seed": args.seed,
        },
        {
            **imbalance_figures(measured),
            "latent_to_truth_perfect": best,
            "images": len(truth.ids),
            "junk_left_out": truth.left_out,
        },
        (TABLE,),
        (PICTURE,),
    )
    write_record(args.out, record)
    tell_record(record)
    return 0


def _nuisances(args: argparse.Namespace, truth: Truth) -> dict[str, FloatArray]:
    """Spaces of pose and CTF of the images, of those that were given."""
    from apbc.io.poses import read_ctf_rows, read_pose_table
    from apbc.metrics.truth import rows_of, scaled

    spaces = {}
    if args.poses:
        table = read_pose_table(args.poses, box_length=1.0)
        rows = rows_of(truth, table.ids, len(table.rotations), args.poses)
        spaces["pose"] = table.rotations.reshape(-1, 9)[rows]
    if args.ctf:
        ids, parameters = read_ctf_rows(args.ctf)
        chosen = parameters[rows_of(truth, ids, len(parameters), args.ctf)]
        values = scaled(chosen)
        if values.shape[1]:
            spaces["ctf"] = values
        else:
            logger.warning("all images of %s have the same CTF, so it is not compared", args.ctf)
    return spaces
