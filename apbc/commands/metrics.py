"""Measure volumes, latent spaces and poses against the ground truth.

Every metric writes its tables, pictures and metrics.json to a folder; report
puts several of them side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from apbc.commands.verbs import add_verbs
from apbc.errors import ApbcError

METRICS = {
    "fsc": "Fourier shell correlation of volumes with their ground truth",
    "pose": "error of poses after the best common rotation, hand and offset",
    "neighbours": "share of neighbours in a latent space that are neighbours in the truth",
    "imbalance": "how much a latent space tells of truth, pose and CTF",
    "embedding": "picture of a latent space, and how well clusters are the true classes",
    "align": "bring one volume onto another, hand included",
    "report": "put the metrics of several methods side by side",
}
"""Verbs and what they do; the module of VERB is ``apbc.commands.metrics_VERB``."""


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that all metrics with a record share: ``--name`` and ``--out``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "--name", default="method", help="what the report calls the method, default 'method'"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for tables and pictures"
    )


def add_seed_argument(parser: argparse.ArgumentParser, of: str = "") -> None:
    """Option ``--seed``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    of : str, optional
        What it is the seed of.
    """
    parser.add_argument("--seed", type=_seed, default=0, help=f"{of and f'of {of}, '}default 0")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise ApbcError(f"--seed {text} is no seed; give a whole number of 0 or more")
    return int(text)


def add_latent_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that all metrics of a latent space share: it, the truth, the seed.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument("latent", type=Path, metavar="LATENT", help=".csv, .npy or .pkl file")
    add_truth_arguments(parser)


def add_truth_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that tell the truth of images, and the seed.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "--truth",
        type=Path,
        required=True,
        metavar="CSV",
        help="truth of each image: id (or image), class, and continuous columns if there are any; "
        "class 0 is junk and left out; or CryoBench's gt_latents.pkl",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME",
        help="continuous columns that are the truth, instead of the class",
    )
    parser.add_argument(
        "--circular",
        nargs="+",
        default=[],
        metavar="NAME",
        help="columns in degrees that go round, such as a dihedral angle, as the truth",
    )
    parser.add_argument("--subset", action="store_true", help="images of the truth may be missing")
    add_seed_argument(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    add_verbs(parser, "metric", METRICS, "apbc.commands.metrics_", function="run_metric")


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        What the metric returns.
    """
    status: int = args.run_metric(args)
    return status
