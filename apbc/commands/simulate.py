"""Make simulated micrographs and particle stacks of which everything is known."""

from __future__ import annotations

import argparse

from apbc.commands.verbs import add_verbs

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
    add_verbs(parser, "kind", KINDS, "apbc.commands.simulate_", function="simulate")


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
