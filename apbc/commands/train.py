"""Train a model on a data set.

Writes a model folder: the network (model.keras), its card (card.json), the curves
(history.csv) and a report (report.html, report.png). A training that was killed
goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from apbc.errors import ApbcError
from apbc.models.architecture import ARCHITECTURES

if TYPE_CHECKING:
    from apbc.training.train import TrainingOptions

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc train``."""
    parser.add_argument("dataset", type=Path, help="HDF5 file of apbc dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to make")
    parser.add_argument(
        "--architecture",
        choices=ARCHITECTURES,
        help="dense (default) or the published network of Autopick-BC; with --from, its own",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="default: the architecture's own")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--from", dest="start", type=Path, metavar="MODEL", help="go on from a model"
    )
    parser.add_argument(
        "--ensemble",
        type=int,
        default=1,
        metavar="N",
        help="train N networks from different starts on different parts of the training "
        "micrographs and average their scores; the candidates then tell how much they disagree",
    )
    parser.add_argument(
        "--unlabelled",
        choices=("weak", "pu"),
        default="weak",
        help="places without label: negatives of a small weight (weak, default), or a mixture of "
        "particles and none (pu)",
    )
    parser.add_argument(
        "--feedback",
        type=int,
        default=0,
        metavar="N",
        help="at most N rounds of picking the training micrographs and learning from the "
        "confident picks; stops by itself when held-out figures rise no more (default: 0)",
    )
    parser.add_argument(
        "--no-balance-views",
        action="store_true",
        help="draw good particles as they come, not so that all 2D classes are seen alike",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="default: 32 crops")
    parser.add_argument(
        "--learning-rate", type=float, metavar="R", help="default: the architecture's"
    )
    parser.add_argument(
        "--no-refit",
        action="store_true",
        help="deliver the weights of the training split instead of fitting again on all labels",
    )
    parser.add_argument(
        "--precision",
        type=float,
        metavar="P",
        help="default threshold that promises this share of particles among the picks (default: "
        "the one that promises the best F1)",
    )
    parser.add_argument(
        "--gpu", metavar="LIST", help='GPUs such as 0,1; "" for the CPU; default: what is there'
    )


def check(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be, and choose the architecture where it was left open."""
    for name in ("epochs", "ensemble", "batch_size", "learning_rate"):
        value = getattr(args, name)
        if value is not None and value <= 0:
            raise ApbcError(f"--{name.replace('_', '-')} is {value}; give a number above 0")
    if args.feedback < 0:
        raise ApbcError(f"--feedback is {args.feedback}; give 0 or more rounds")
    if args.precision is not None and not 0 < args.precision < 1:
        raise ApbcError(f"--precision is {args.precision}; give a number between 0 and 1")
    if args.seed < 0:
        raise ApbcError(f"--seed is {args.seed}; give 0 or more")
    if args.architecture is None:
        from apbc.models.folder import read_card

        args.architecture = (
            read_card(args.start)["architecture"] if args.start else ARCHITECTURES[0]
        )


def options_of(args: argparse.Namespace) -> TrainingOptions:
    """Options of a training, once the device is selected."""
    from apbc.training.train import TrainingOptions

    return TrainingOptions(
        architecture=args.architecture,
        epochs=args.epochs,
        seed=args.seed,
        ensemble=args.ensemble,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        refit=not args.no_refit,
        precision=args.precision,
        unlabelled=args.unlabelled,
        feedback=args.feedback,
        balance_views=not args.no_balance_views,
    )


def run(args: argparse.Namespace) -> int:
    """Train."""
    check(args)
    from apbc.system.devices import select

    device = select(args.gpu, mixed_precision=True)

    from apbc.dataset.store import Dataset
    from apbc.training.train import train

    options = options_of(args)
    with Dataset(args.dataset) as dataset:
        card = train(dataset, args.out, options, device, args.start)
    for part, row in card["metrics"].items():
        if row["samples"]:
            logger.info(
                "%s: accuracy %.3f on %d particles (TP %d, TN %d, FP %d, FN %d)",
                part,
                row["accuracy"],
                row["samples"],
                row["tp"],
                row["tn"],
                row["fp"],
                row["fn"],
            )
    logger.info("wrote %s; the report is %s", args.out, args.out / "report.html")
    return 0
