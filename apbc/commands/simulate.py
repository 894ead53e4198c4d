"""Make simulated micrographs and particle stacks of which everything is known."""

from __future__ import annotations

import argparse
import importlib

KINDS = {
    "demo": "the demo's data set: micrographs, known particles, good and bad examples",
    "micrographs": "whole micrographs with exact truth, contamination and masks",
    "particles": "particle images with known structure, pose, shift and CTF",
}
"""What can be simulated; the module of KIND is ``apbc.commands.simulate_KIND``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc simulate``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    for name, summary in KINDS.items():
        module = importlib.import_module(f"apbc.commands.simulate_{name}")
        sub = kinds.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(simulate=module.run)


def run(args: argparse.Namespace) -> int:
    """Run ``apbc simulate``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        What the kind returns.
    """
    status: int = args.simulate(args)
    return status
