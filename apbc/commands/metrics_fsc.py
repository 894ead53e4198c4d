"""Fourier shell correlation of volumes with their ground truth."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics fsc``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """


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
    return 0
