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
from apbc.models.alexnet import ACTIVATIONS
from apbc.models.architecture import ARCHITECTURES, CLASSIFIERS

if TYPE_CHECKING:
    from apbc.training.classifier import ClassifierOptions
    from apbc.training.train import TrainingOptions

logger = logging.getLogger(__name__)

# Options that one kind of architecture has, and what they are when they are not given.
OF_LABELS = ("ensemble", "unlabelled", "feedback", "no_balance_views", "no_refit", "precision")
OF_CLASSIFIERS = ("fc_units", "activation", "paper")
NOT_GIVEN: dict[str, tuple[object, ...]] = {
    "ensemble": (1,),
    "unlabelled": ("weak", None),
    "feedback": (0,),
    "no_balance_views": (False,),
    "no_refit": (False,),
    "precision": (None,),
    "fc_units": (None,),
    "activation": (None,),
    "paper": (False,),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc train``."""
    parser.add_argument("dataset", type=Path, help="HDF5 file of apbc dataset")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder to make")
    parser.add_argument(
        "--architecture",
        choices=(*ARCHITECTURES, *CLASSIFIERS),
        help="dense (default), the published network of Autopick-BC, or alexnet, the classifier of "
        "DeepCryoPicker, for data sets of apbc bootstrap; with --from, its own",
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
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="default: 32 crops; 64 patches for alexnet"
    )
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
        "--fc-units",
        type=int,
        metavar="N",
        help="alexnet: units of the two fully connected layers (default: 512)",
    )
    parser.add_argument(
        "--activation", choices=ACTIVATIONS, help="alexnet: of all layers (default: relu)"
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="alexnet: the settings of DeepCryoPicker's paper as far as it tells them: 4096 units, "
        "sigmoids, no dropout, plain descent at a rate of 0.0001",
    )
    parser.add_argument(
        "--gpu", metavar="LIST", help='GPUs such as 0,1; "" for the CPU; default: what is there'
    )


def check(args: argparse.Namespace) -> None:
    """Refuse numbers that cannot be, and choose the architecture where it was left open."""
    for name in ("epochs", "ensemble", "batch_size", "learning_rate", "fc_units"):
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
    classifier = args.architecture in CLASSIFIERS
    for name in OF_LABELS if classifier else OF_CLASSIFIERS:
        if getattr(args, name) not in NOT_GIVEN[name]:
            raise ApbcError(
                f"--{name.replace('_', '-')} is not for the architecture {args.architecture}; "
                "leave it out"
            )


def options_of(args: argparse.Namespace) -> TrainingOptions:
    """Options of a training, once the device is selected."""
    from apbc.training.train import TrainingOptions

    return TrainingOptions(
        architecture=args.architecture,
        epochs=args.epochs,
        seed=args.seed,
        ensemble=args.ensemble,
        batch_size=args.batch_size or TrainingOptions.batch_size,
        learning_rate=args.learning_rate,
        refit=not args.no_refit,
        precision=args.precision,
        unlabelled=args.unlabelled,
        feedback=args.feedback,
        balance_views=not args.no_balance_views,
    )


def classifier_options_of(args: argparse.Namespace) -> ClassifierOptions:
    """Options of a classifier's training, once the device is selected."""
    from apbc.training.classifier import ClassifierOptions

    names = ("epochs", "batch_size", "learning_rate", "fc_units", "activation")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    make = ClassifierOptions.as_in_the_paper if args.paper else ClassifierOptions
    return make(seed=args.seed, **given)


def run(args: argparse.Namespace) -> int:
    """Train."""
    check(args)
    from apbc.system.devices import select

    device = select(args.gpu, mixed_precision=True)

    from apbc.dataset.store import Dataset

    with Dataset(args.dataset) as dataset:
        if args.architecture in CLASSIFIERS:
            from apbc.training.classifier import train_classifier

            options = classifier_options_of(args)
            card = train_classifier(dataset, args.out, options, device, args.start)
        else:
            from apbc.training.train import train

            card = train(dataset, args.out, options_of(args), device, args.start)
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
    for part, row in card.get("classifier", {}).items():
        if row["samples"]:
            logger.info(
                "%s: accuracy over the classes %.3f on %d patches",
                part,
                row["accuracy"],
                row["samples"],
            )
    logger.info("wrote %s; the report is %s", args.out, args.out / "report.html")
    return 0
