"""Bring one volume onto another by rotation, shift and hand."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics align``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """


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
    return 0
