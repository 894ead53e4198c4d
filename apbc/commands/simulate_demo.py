"""Write the demo's data set: micrographs, known particles, good and bad examples, their CTF."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc simulate demo``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--micrographs", type=int, default=8, metavar="N", help="default 8")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        default=(1024, 1024),
        metavar=("ROWS", "COLS"),
        help="pixels of 3.5 Å, default 1024 1024",
    )


def run(args: argparse.Namespace) -> int:
    """Run ``apbc simulate demo``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scipy nor mrcfile.
    from apbc.simulate.demo import simulate_demo

    rows, columns = args.size
    simulate_demo(args.out, args.micrographs, args.seed, (rows, columns))
    return 0
