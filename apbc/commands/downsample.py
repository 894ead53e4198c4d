"""Bring a volume, a particle stack or the particles of a star file to a smaller box.

The spectrum is cropped: the field of view, the centre and the unit of the grey values
stay, and the header gets the new pixel size. A star file comes with one new stack of
its name, its box and pixel size changed; shifts and orientations stay true.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc downsample``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "input", type=Path, metavar="IN", help="volume (.mrc), stack (.mrcs) or particles (.star)"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="of the same kind as IN"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--box", type=int, metavar="N", help="new box in pixels")
    target.add_argument(
        "--pixel-size",
        type=float,
        metavar="A",
        help="new Å per pixel; the nearest that an even box gives is taken",
    )
    parser.add_argument(
        "--from-pixel-size", type=float, metavar="A", help="Å per pixel of IN; default: its header"
    )
    parser.add_argument(
        "--stack", action="store_true", help="IN is a stack though its name does not end in .mrcs"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc downsample``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor mrcfile.
    from apbc.preprocess.downsample import Target, downsample

    target = Target(args.box, args.pixel_size)
    pixel_size = downsample(args.input, args.out, target, args.from_pixel_size, args.stack)
    sys.stdout.write(f"{args.out}: {pixel_size:.6g} Å per pixel\n")
    return 0
