"""Share of an image's neighbours in a latent space that are its neighbours in the truth.

LATENT is a .csv (id, z1, z2, ...), a .npy, or a pickle such as cryoDRGN's z.pkl; arrays have a row
an image, in the order of the truth. Measured for neighbourhoods of 1 to 20 % of the images, beside
the curves of a perfect and of a random latent space.
"""

from __future__ import annotations

import argparse

from apbc.commands.metrics import add_latent_arguments, add_output_arguments
from apbc.errors import ApbcError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics neighbours``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    add_latent_arguments(parser)
    parser.add_argument(
        "--k",
        type=int,
        nargs="+",
        metavar="N",
        help="sizes of the neighbourhood; default 1 to 20 %% of the images of a subset",
    )
    parser.add_argument(
        "--subsets", type=int, default=5, metavar="N", help="parts to measure, default 5"
    )
    parser.add_argument(
        "--compat",
        action="store_true",
        help="count as CryoBench does: an image is its own neighbour, ties go by order, and "
        "subsets are interleaved without shuffling",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics neighbours``.

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
    from apbc.metrics.neighbours import (
        CURVE_TABLE,
        PICTURE,
        POINTS_TABLE,
        draw_similarity,
        similarity_figures,
        similarity_of_subsets,
        write_similarity_tables,
    )
    from apbc.metrics.record import Record, write_record
    from apbc.metrics.truth import TruthOptions, match_truth

    if args.subsets < 1:
        raise ApbcError(f"--subsets {args.subsets} is no number of parts; give 1 or more")
    if args.k and min(args.k) < 1:
        raise ApbcError(f"--k {min(args.k)} is no size of a neighbourhood; give 1 or more")
    options = TruthOptions(tuple(args.columns), tuple(args.circular), args.subset)
    truth = match_truth(read_latents(args.latent), args.truth, options)
    measured = similarity_of_subsets(
        truth.points, truth.latents, args.k, args.subsets, args.seed, args.compat
    )
    write_similarity_tables(args.out, measured, truth.ids)
    draw_similarity(args.out / PICTURE, measured, args.name)
    record = Record(
        "neighbours",
        args.name,
        {
            "latent": args.latent,
            "truth": args.truth,
            "columns": args.columns,
            "circular": args.circular,
            "k": args.k,
            "subsets": args.subsets,
            "compat": args.compat,
            "seed": args.seed,
        },
        {**similarity_figures(measured), "junk_left_out": truth.left_out},
        (CURVE_TABLE, POINTS_TABLE),
        (PICTURE,),
    )
    write_record(args.out, record)
    tell_record(record)
    return 0
