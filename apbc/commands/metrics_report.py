"""Put the metrics of several methods side by side.

Give the folders that apbc metrics wrote, or folders that hold such; records of one --name belong
to one method. DIR gets report.html (one page that needs no other file), report.csv, comparison.png,
leaderboard.json and, where two methods measured the same images or volumes, significance.csv: a
paired bootstrap of the difference of their means.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from apbc.commands.metrics import add_seed_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics report``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folders of metrics")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add_seed_argument(parser, "the bootstrap")


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics report``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command does not need Matplotlib.
    from apbc.metrics.groups import read_groups
    from apbc.metrics.report import PAGE, write_report

    groups = read_groups(args.folders)
    write_report(args.out, groups, args.seed)
    for group in groups:
        sys.stdout.write(f"{group.title}: {', '.join(group.entries)}\n")
    sys.stdout.write(f"{args.out / PAGE}\n")
    return 0
