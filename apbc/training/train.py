"""Train a model on a data set: split, calibration, figures, refit, model folder."""

from __future__ import annotations

import csv
import io
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.dataset.labels import BAD, GOOD, UNLABELLED
from apbc.dataset.split import NAMES, TEST, TRAIN, VALIDATION
from apbc.dataset.store import Dataset
from apbc.errors import ApbcError
from apbc.io.files import write_text
from apbc.models.architecture import Architecture, architecture
from apbc.models.folder import (
    CARD_FILE,
    NETWORK_FILE,
    Model,
    join,
    load_model,
    members_of,
    save_network,
    write_card,
)
from apbc.system.devices import Device
from apbc.training import metrics
from apbc.training.candidates import (
    calibrate_on,
    crop_scores,
    default_threshold,
    find_candidates,
    from_candidates,
    is_good,
)
from apbc.training.fit import FitPlan, Fitted, fit, open_checkpoints
from apbc.training.report import ReportData, write_report
from apbc.training.sheet import make_sheet

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

ALL_KINDS = (GOOD, BAD, UNLABELLED)
FINE_TUNING_RATE = 0.2  # of the usual learning rate, when going on from a model
REFIT_RATE = 0.4  # of the usual learning rate, when the weights are refitted on all labels
REFIT_EPOCHS = 0.4  # of the epochs that were best on the split


@dataclass(frozen=True)
class TrainingOptions:
    """What the user may set for training; 0 or None stand for the architecture's own."""

    architecture: str = "dense"
    epochs: int | None = None
    seed: int = 0
    ensemble: int = 1
    batch_size: int = 32
    learning_rate: float | None = None
    refit: bool = True


def train(
    dataset: Dataset, out: Path, options: TrainingOptions, device: Device, start: Path | None = None
) -> dict[str, Any]:
    """Train a model and write its folder.

    First the networks learn from the training split; validation stops them and
    calibrates their scores, and all figures are taken. Then, unless told
    otherwise, the networks learn on from all labels for a while; the calibration is
    then taken again from all micrographs that the data set keeps, which can be
    because it needs no labels.

    Parameters
    ----------
    dataset : Dataset
    out : Path
        Model folder to make.
    options : TrainingOptions
    device : Device
        What TensorFlow runs on, for the card.
    start : Path, optional
        Model folder to go on from.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    ApbcError
        If the model to go on from does not fit, or the labels are too few.
    """
    if (out / CARD_FILE).exists():
        raise ApbcError(f"{out} already holds a model; give another --out or remove it first")
    if out.is_file():
        raise ApbcError(f"{out} is a file; give --out the name of a folder to make")
    begun = time.monotonic()
    arch = architecture(options.architecture)
    parent = load_model(start) if start else None
    starts = _starts(parent, arch, dataset, options.ensemble)
    request = {
        "data_hash": dataset.data_hash,
        "from": parent.card["weights_sha256"] if parent else None,
        **asdict(options),
    }
    seen = _seen_by(parent, dataset)
    checkpoints = open_checkpoints(out.with_name(out.name + ".partial"), request)

    members = [
        fit(dataset, _plan(dataset, arch, options, i, starts[i], f"split_{i + 1}"), checkpoints)
        for i in range(options.ensemble)
    ]
    network = join([m.network for m in members], arch)
    calibration, candidates = calibrate_on(dataset, network, arch)
    probabilities = {
        part: calibration.probability(crop_scores(dataset, network, arch, positions))
        for part, positions in _labelled(dataset).items()
    }
    figures = {
        part: metrics.figures(values, is_good(dataset, _labelled(dataset)[part]))
        for part, values in probabilities.items()
    }
    test_calibration = calibration
    everywhere = list(candidates.values())
    refitted: list[Fitted] = []
    if options.refit:
        refitted = _refit(dataset, arch, options, members, checkpoints)
        network = join([m.network for m in refitted], arch)
        everywhere = list(find_candidates(dataset, network, arch).values())
        calibration = from_candidates(everywhere, "all") or calibration
    threshold = default_threshold(everywhere, calibration)

    card: dict[str, Any] = {
        "apbc_version": __version__,
        "keras_version": keras.__version__,
        "architecture": arch.name,
        "members": options.ensemble,
        "diameter": dataset.preprocessing.diameter,
        "pixel_size": dataset.preprocessing.pixel_size,
        "contrast": dataset.preprocessing.contrast,
        "phase_flipped": dataset.preprocessing.phase_flipped,
        "preprocessing": dataset.preprocessing.to_dict(),
        "calibration": calibration.to_dict(),
        "calibration_of_split": test_calibration.to_dict(),
        "threshold": round(threshold, 3),
        "data_hash": dataset.data_hash,
        "data_source": dataset.provenance["source"],
        "training_micrographs": list(
            dict.fromkeys(
                [
                    *dataset.micrograph_names,
                    *(parent.card["training_micrographs"] if parent else []),
                ]
            )
        ),
        "held_out_seen_before": seen,
        "labels": dataset.counts(),
        "metrics": figures,
        "picking": {
            NAMES[part]: c.figures(test_calibration, default_threshold([c], test_calibration))
            for part, c in candidates.items()
        },
        "best_epochs": [m.best_epoch for m in members],
        "refitted": options.refit,
        "options": asdict(options),
        "trained_from": str(start) if start else None,
        "device": device.name,
        "seconds": round(time.monotonic() - begun, 1),
    }
    out.mkdir(parents=True, exist_ok=True)
    card["weights_sha256"] = save_network(network, out / NETWORK_FILE)
    write_text(out / "history.csv", _history_csv([m.history for m in members]))
    part = _report_part(probabilities)
    positions = _labelled(dataset)[part]
    good = is_good(dataset, positions)
    write_report(
        out,
        ReportData(
            card=card,
            fits=[m.record() for m in [*members, *refitted]],
            probabilities=probabilities[part],
            good=good,
            part=part,
            candidates=candidates.get(TEST) or candidates.get(VALIDATION),
            calibration=test_calibration,
        ),
        make_sheet(dataset, positions, probabilities[part], good, part),
    )
    write_card(out, card)
    shutil.rmtree(checkpoints)
    return card


def _seen_by(parent: Model | None, dataset: Dataset) -> list[str]:
    """Held-out micrographs that the model to go on from was trained on."""
    known = set(parent.card["training_micrographs"]) if parent else set()
    seen = []
    for i, name in enumerate(dataset.micrograph_names):
        held_out = dataset.split[dataset.micrograph == i] != TRAIN
        if name in known and held_out.any():
            seen.append(name)
    if seen:
        logger.warning(
            "%d held-out micrographs (%s, ...) trained the model that this one goes on from: the "
            "figures on them flatter it",
            len(seen),
            seen[0],
        )
    return seen


def _starts(
    model: Model | None, arch: Architecture, dataset: Dataset, n: int
) -> list[keras.Model | None]:
    """Networks to go on from, one a member."""
    if model is None:
        return [None] * n
    start = model.folder
    if model.architecture.name != arch.name:
        raise ApbcError(
            f"{start} has the architecture {model.architecture.name} and {arch.name} is asked for; "
            f"train with --architecture {model.architecture.name}"
        )
    theirs, ours = model.preprocessing, dataset.preprocessing
    for what in ("diameter_pixels", "high_pass_sigma", "clip", "phase_flipped"):
        if getattr(theirs, what) != getattr(ours, what):
            raise ApbcError(
                f"{start} was trained with {what} {getattr(theirs, what)} and {dataset.path} has "
                f"{getattr(ours, what)}; make the data set in the same way"
            )
    found = members_of(model.network)
    return [found[i % len(found)] for i in range(n)]


def _plan(
    dataset: Dataset,
    arch: Architecture,
    options: TrainingOptions,
    member: int,
    start: keras.Model | None,
    name: str,
) -> FitPlan:
    """Fit of one member on the training split."""
    kinds = ALL_KINDS
    return FitPlan(
        architecture=arch,
        training=dataset.crops_of(TRAIN, kinds),
        validation=dataset.crops_of(VALIDATION, kinds),
        epochs=options.epochs or arch.epochs,
        batch_size=options.batch_size,
        seed=options.seed * 1000 + member,
        learning_rate=(options.learning_rate or arch.learning_rate)
        * (FINE_TUNING_RATE if start is not None else 1.0),
        start=start,
        name=name,
    )


def _refit(
    dataset: Dataset,
    arch: Architecture,
    options: TrainingOptions,
    members: Sequence[Fitted],
    checkpoints: Path,
) -> list[Fitted]:
    """Networks that went on from the split's weights with all labels.

    They stay close to the networks of the split, so that the calibration holds.
    """
    fitted = []
    for i, member in enumerate(members):
        plan = _plan(dataset, arch, options, i, None, f"all_{i + 1}")
        plan.start = member.network
        plan.learning_rate *= REFIT_RATE
        plan.training = dataset.crops_of(None, ALL_KINDS)
        plan.validation = np.empty(0, np.int64)
        plan.epochs = max(1, round(REFIT_EPOCHS * member.best_epoch))
        fitted.append(fit(dataset, plan, checkpoints))
    return fitted


def _labelled(dataset: Dataset) -> dict[str, npt.NDArray[np.int64]]:
    """Crops of good and bad particles of each split."""
    return {name: dataset.crops_of(part, (GOOD, BAD)) for part, name in enumerate(NAMES)}


def _report_part(probabilities: dict[str, FloatArray]) -> str:
    """Name the last split that has crops: test, where there is one."""
    return next((name for name in reversed(NAMES) if len(probabilities[name])), NAMES[TRAIN])


def _history_csv(histories: Sequence[list[dict[str, float]]]) -> str:
    """All epochs of all members as CSV."""
    rows = [{"member": i + 1, **row} for i, history in enumerate(histories) for row in history]
    text = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: v if not isinstance(v, float) or math.isfinite(v) else "" for k, v in row.items()}
        for row in rows
    )
    return text.getvalue()
