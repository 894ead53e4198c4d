"""Bring one volume onto another by rotation, shift and hand.

Both must have one box and one pixel size (apbc downsample). All rotations and shifts
are searched, and the other hand, too. With --out the volume is written on the grid of
the reference. The last line is JSON: rotation R and shift t (voxels; x, y, z) such
that a point r of MOVING, from its centre, comes to R r + t, or to R diag(1, 1, -1) r
+ t where mirrored is true; scores of the hand taken and of the other one (1 is
perfect, alike is undecided).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from apbc.errors import ApbcError

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics align``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("moving", type=Path, metavar="MOVING", help="volume to be moved")
    parser.add_argument("reference", type=Path, metavar="REFERENCE", help="volume that stays")
    parser.add_argument("--out", type=Path, metavar="FILE.mrc", help="write the moved volume here")
    parser.add_argument("--no-mirror", action="store_true", help="keep the hand of MOVING")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument(
        "--pixel-size", type=float, metavar="A", help="Å per voxel; goes before the headers'"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics align``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor mrcfile.
    from apbc.io.files import plain, write_json
    from apbc.io.volumes import check_same_grid, read_volume, write_volume
    from apbc.metrics.align import SMALLEST_BOX, align_volume, apply_alignment

    if args.pixel_size is not None and not args.pixel_size > 0:
        raise ApbcError(f"--pixel-size {args.pixel_size:g} is not a size; give Å above 0")
    reference = read_volume(args.reference, args.pixel_size)
    moving = read_volume(args.moving, args.pixel_size)
    check_same_grid([reference, moving])
    if reference.box_size < SMALLEST_BOX:
        raise ApbcError(
            f"{args.reference} has a box of {reference.box_size} voxels, which is too small to "
            f"align; give volumes of {SMALLEST_BOX} or more"
        )
    alignment = align_volume(moving.data, reference.data, not args.no_mirror)
    figures = plain(
        {
            "rotation": alignment.rotation,
            "shift_px": alignment.shift_px,
            "shift_angstrom": alignment.shift_px * reference.pixel_size,
            "mirrored": alignment.mirrored,
            "score": alignment.score,
            "score_other_hand": alignment.score_other_hand,
        }
    )
    if args.out:
        write_volume(args.out, apply_alignment(moving.data, alignment), reference.pixel_size)
    if args.json:
        write_json(args.json, figures)
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0
