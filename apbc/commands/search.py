"""Try a few settings of the training on validation micrographs, and train with the best.

The settings are the learning rate, the handling of unlabelled background, the number of
epochs and the network; one that is given here stays as it is given. They are compared by how
many of the good labels of the validation micrographs are found in equal numbers of picks.
Other settings than the defaults are taken only where they are better beyond noise.

Writes a table (search.html, search.csv, search.json, search.png), the model (model/) and every
trial (trials/). The same command goes on where it was stopped, and after a time limit.
"""

from __future__ import annotations

import argparse
import logging

from apbc.commands import train as training
from apbc.errors import ApbcError
from apbc.models.architecture import CLASSIFIERS

logger = logging.getLogger(__name__)

SETTINGS = ("learning_rate", "unlabelled", "epochs", "architecture")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc search``: those of ``apbc train``, and how long to search."""
    training.add_arguments(parser)
    parser.set_defaults(**dict.fromkeys(SETTINGS))
    parser.add_argument(
        "--trials",
        type=int,
        default=8,
        metavar="N",
        help="settings to try, the defaults included (default: 8)",
    )
    parser.add_argument(
        "--time-limit",
        type=float,
        metavar="MINUTES",
        help="begin no trial that would end later; the model is trained after that",
    )


def run(args: argparse.Namespace) -> int:
    """Search."""
    if args.trials < 1:
        raise ApbcError(f"--trials is {args.trials}; give 1 or more")
    if args.time_limit is not None and not args.time_limit > 0:
        raise ApbcError(f"--time-limit is {args.time_limit:g}; give a number of minutes above 0")
    fixed = tuple(name for name in SETTINGS if getattr(args, name) is not None)
    if args.start is not None and "architecture" not in fixed:
        fixed += ("architecture",)
    training.check(args)
    if args.architecture in CLASSIFIERS:
        raise ApbcError(
            f"a search compares networks by their candidates, which {args.architecture} is not "
            "trained with; train it with apbc train"
        )
    from apbc.system.devices import select

    device = select(args.gpu, mixed_precision=True)

    from apbc.dataset.store import Dataset
    from apbc.training.search import SearchPlan, search
    from apbc.training.train import TrainingOptions

    if args.unlabelled is None:
        args.unlabelled = TrainingOptions.unlabelled
    plan = SearchPlan(
        training.options_of(args), fixed, args.trials, args.time_limit, start=args.start
    )
    with Dataset(args.dataset) as dataset:
        record = search(dataset, args.out, plan, device)
    for sentence in record["told"]:
        logger.info(sentence)
    logger.info("wrote %s; the table is %s", args.out / "model", args.out / record["page"])
    return 0
