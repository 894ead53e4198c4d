"""Fourier shell correlation of volumes with their ground truth.

Every volume is compared with the reference it is paired with, in a CSV table with the
columns volume and reference (and class, image and weight where they are known; paths
relative to the table's folder), or by the order of --volumes and --references.
All must have one box and one pixel size (apbc downsample).

conformation: one volume a structure; mean, deviation and median of the areas under
the curves. image: one volume an image (or one that stands for weight of them); also
the mean over all images, and over classes. With --images N only so many are measured, chosen
by chance and not on a stride, which would fall in step with sorted images.

DIR gets curves.csv (a column a pair), pairs.csv (a row a pair: area under the curve in
cycles per pixel, and as a share of the largest there can be; resolution in Å where the
curve falls below 0.5 and 0.143), fsc.png and metrics.json.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from apbc.commands.metrics import add_output_arguments, add_seed_argument
from apbc.errors import ApbcError

logger = logging.getLogger(__name__)

ALIGNED_FOLDER = "aligned"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics fsc``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("pairs", type=Path, nargs="?", metavar="PAIRS.csv", help="table of pairs")
    parser.add_argument("--volumes", type=Path, nargs="+", metavar="FILE", help="instead of pairs")
    parser.add_argument(
        "--references", type=Path, nargs="+", metavar="FILE", help="ground truth of each volume"
    )
    parser.add_argument(
        "--kind",
        choices=("conformation", "image"),
        default="conformation",
        help="what a volume stands for, default conformation",
    )
    parser.add_argument(
        "--images",
        type=int,
        metavar="N",
        help="with --kind image: measure so many of the pairs, chosen by chance, of each class in "
        "proportion; default all",
    )
    add_seed_argument(parser, "--images")
    parser.add_argument("--mask", type=Path, metavar="FILE", help="multiplied with both volumes")
    parser.add_argument(
        "--local",
        action="store_true",
        help="measure also where the references differ, that is, the part that moves",
    )
    parser.add_argument(
        "--align", action="store_true", help="bring each volume onto its reference first"
    )
    parser.add_argument(
        "--mirror", action="store_true", help="when aligning, try the other hand, too"
    )
    parser.add_argument(
        "--keep-aligned", action="store_true", help=f"write aligned volumes to DIR/{ALIGNED_FOLDER}"
    )
    parser.add_argument(
        "--compat",
        action="store_true",
        help="shells, areas and resolutions as CryoBench computes them, to compare with published "
        "figures",
    )
    parser.add_argument(
        "--pixel-size", type=float, metavar="A", help="Å per voxel; goes before the headers'"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics fsc``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor Matplotlib.
    from apbc.metrics.fsc_pairs import (
        Comparison,
        choose_pairs,
        curve_columns,
        measure_pairs,
        pair_columns,
        pairs_by_order,
        read_pairs,
        summarise,
    )
    from apbc.metrics.fsc_picture import draw_curves
    from apbc.metrics.record import Record, write_record, write_table

    if (args.mirror or args.keep_aligned) and not args.align:
        raise ApbcError("--mirror and --keep-aligned are for volumes that are aligned; add --align")
    if args.images is not None and args.kind != "image":
        raise ApbcError("--images chooses among volumes of images; add --kind image")
    if args.pairs is not None:
        if args.volumes or args.references:
            raise ApbcError("give a table of pairs, or --volumes and --references, not both")
        pairs = read_pairs(args.pairs)
    elif args.volumes and args.references:
        pairs = pairs_by_order(args.volumes, args.references)
    else:
        raise ApbcError("nothing to compare: give a table of pairs, or --volumes and --references")
    if args.images is not None:
        pairs = choose_pairs(pairs, args.images, args.seed)
    comparison = Comparison(
        rule="cryobench" if args.compat else "nearest",
        mask=args.mask,
        align=args.align,
        mirror=args.mirror,
        local=args.local,
        pixel_size=args.pixel_size,
        aligned_folder=args.out / ALIGNED_FOLDER if args.keep_aligned else None,
    )
    measured = measure_pairs(pairs, comparison)
    figures = summarise(measured, args.kind)
    write_table(args.out / "curves.csv", curve_columns(measured))
    write_table(args.out / "pairs.csv", pair_columns(measured))
    draw_curves(args.out / "fsc.png", measured, args.name)
    parameters = {
        "kind": args.kind,
        "pairs": args.pairs,
        "images": args.images,
        "seed": args.seed,
        "rule": comparison.rule,
        "mask": args.mask,
        "align": args.align,
        "mirror": args.mirror,
        "local": args.local,
        "pixel_size": measured[0].curve.pixel_size,
        "box_size": measured[0].curve.box_size,
    }
    write_record(
        args.out,
        Record("fsc", args.name, parameters, figures, ("pairs.csv", "curves.csv"), ("fsc.png",)),
    )
    sys.stdout.write(_told(figures))
    return 0


def _told(figures: dict[str, float | None]) -> str:
    width = max(map(len, figures))
    return "".join(
        f"{name:{width}}  {'not defined' if value is None else f'{value:.4g}'}\n"
        for name, value in figures.items()
    )
