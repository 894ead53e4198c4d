"""Train a model on a data set: split, calibration, figures, refit, model folder."""

from __future__ import annotations

import csv
import io
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from apbc.models.calibration import Calibration
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
    Candidates,
    calibrate_on,
    crop_scores,
    default_threshold,
    find_candidates,
    from_candidates,
    is_good,
    promise,
    recall_of_views,
)
from apbc.training.centres import can_centre, label_centres
from apbc.training.feedback import (
    Round,
    find_feedback,
    held_out_measure,
    rounds,
)
from apbc.training.fit import FitPlan, Fitted, fit, open_checkpoints
from apbc.training.report import ReportData, write_report
from apbc.training.samples import Feedback
from apbc.training.sheet import make_sheet

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

FEWEST_TO_LEAVE_OUT = 5  # training micrographs, so that a member of an ensemble leaves some out
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
    unlabelled: str = "weak"
    feedback: int = 0
    balance_views: bool = True
    precision: float | None = None


@dataclass
class Trained:
    """Networks that learnt from the training split, together and calibrated."""

    members: list[Fitted]
    network: keras.Model
    calibration: Calibration
    candidates: dict[int, Candidates]
    feedback: Feedback | None = None


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
    check_out(out)
    begun = time.monotonic()
    arch = architecture(options.architecture)
    parent = load_model(start) if start else None
    starts = _starts(parent, arch, dataset, options.ensemble)
    request = {
        "apbc_version": __version__,
        "data_hash": dataset.data_hash,
        "from": parent.card["weights_sha256"] if parent else None,
        **asdict(options),
    }
    seen = seen_by(parent, dataset)
    checkpoints = open_checkpoints(out.with_name(out.name + ".partial"), request)

    first, trained, records = _with_feedback(dataset, arch, options, starts, checkpoints)
    members, network = trained.members, trained.network
    calibration, candidates = trained.calibration, trained.candidates
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
        refitted = _refit(dataset, arch, options, trained, checkpoints)
        network = join([m.network for m in refitted], arch)
        everywhere = list(find_candidates(dataset, network, arch).values())
        calibration = from_candidates(everywhere, "all") or calibration
    threshold = default_threshold(everywhere, calibration, options.precision)
    threshold = math.floor(threshold * 1000) / 1000  # rounded up, it might keep nothing
    lowest = test_calibration.score(threshold)
    views = recall_of_views(dataset, trained.network, arch, lowest)
    before = _recall_before(dataset, arch, parent, first if trained is not first else None)
    lost = [str(view.part) for view in views if view.lost]
    if lost:
        logger.warning(
            "views that this picker loses (2D classes %s): it finds far fewer of their held-out "
            "labels than of all; give more particles of these classes",
            ", ".join(lost),
        )

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
        "threshold": threshold,
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
        "promise": promise(
            everywhere, calibration, threshold, candidates, test_calibration, options.precision
        ),
        "rounds": [record.to_dict() for record in records],
        "views": {
            str(view.part): {
                "labels": view.particles,
                "recall": view.recall,
                "recall_before": before.get(view.part),
            }
            for view in views
        },
        "lost_views": lost,
        "best_epochs": [m.best_epoch for m in members],
        "refitted": options.refit,
        "options": asdict(options),
        "trained_from": str(start) if start else None,
        "device": device.name,
        "seconds": round(time.monotonic() - begun, 1),
    }
    card["weights_sha256"] = save_network(network, out / NETWORK_FILE)
    write_text(out / "history.csv", history_csv([m.history for m in members]))
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


def check_out(out: Path) -> None:
    """Refuse a folder that holds a model, and a file.

    Raises
    ------
    ApbcError
    """
    if (out / CARD_FILE).exists():
        raise ApbcError(f"{out} already holds a model; give another --out or remove it first")
    if out.is_file():
        raise ApbcError(f"{out} is a file; give --out the name of a folder to make")


def seen_by(parent: Model | None, dataset: Dataset) -> list[str]:
    """Name the held-out micrographs that the model to go on from was trained on."""
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


def _with_feedback(
    dataset: Dataset,
    arch: Architecture,
    options: TrainingOptions,
    starts: list[keras.Model | None],
    checkpoints: Path,
) -> tuple[Trained, Trained, list[Round]]:
    """Fits on the training split, then on what these find there, as long as that helps.

    Returns what was trained without feedback, what was best, and what each round did.
    """

    def fitted(name: str, feedback: Feedback | None) -> Trained:
        members = []
        for i in range(options.ensemble):
            plan = _plan(dataset, arch, options, i, starts[i], f"{name}_{i + 1}")
            plan = replace(plan, feedback=feedback)
            members.append(_fit_and_centre(dataset, plan, checkpoints))
        network = join([m.network for m in members], arch)
        return Trained(members, network, *calibrate_on(dataset, network, arch), feedback)

    def again(number: int, before: Trained) -> tuple[Trained, Round]:
        feedback, purity = find_feedback(dataset, before.network, arch, before.calibration)
        sure = sum(map(len, feedback.likely.values()))
        mined = sum(map(len, feedback.mined.values()))
        return fitted(f"round{number}", feedback), Round(number, None, sure, purity, mined)

    first = fitted("split", None)
    held_out = first.candidates.get(VALIDATION)
    particles = 0.0
    if held_out is not None:
        particles = first.calibration.probability(held_out.scores).sum() / held_out.micrographs
    best, records = rounds(
        options.feedback,
        first,
        lambda made: held_out_measure(dataset, made.network, arch, particles),
        again,
    )
    return first, best, records


def _fit_and_centre(dataset: Dataset, plan: FitPlan, checkpoints: Path) -> Fitted:
    """Fit in two halves: what the first finds tells the second where the labels' particles are."""
    half = plan.epochs // 2
    if not half or not can_centre(dataset, plan.architecture):
        return fit(dataset, plan, checkpoints)
    first = fit(dataset, replace(plan, name=f"{plan.name}_start", epochs=half), checkpoints)
    centres = label_centres(dataset, first.network, plan.architecture)
    rest = replace(plan, start=first.network, epochs=plan.epochs - half, centres=centres)
    return first.followed_by(fit(dataset, rest, checkpoints))


def _recall_before(
    dataset: Dataset, arch: Architecture, parent: Model | None, first: Trained | None
) -> dict[int, float]:
    """Recall of each view before: by the model that this one went on from, or without feedback."""
    if parent is not None:
        network, threshold = parent.network, parent.calibration.score(parent.threshold)
    elif first is not None:
        probability = default_threshold(list(first.candidates.values()), first.calibration)
        network, threshold = first.network, first.calibration.score(probability)
    else:
        return {}
    return {view.part: view.recall for view in recall_of_views(dataset, network, arch, threshold)}


def _left_out(dataset: Dataset, seed: int, member: int) -> npt.NDArray[np.bool_]:
    """Training micrographs that a member of an ensemble does not learn from.

    Each member but the first leaves out a part of its own, a fifth, so that members
    differ in more than their first weights. Shape: micrographs.
    """
    out = np.zeros(max(1, len(dataset.micrograph_names)), bool)
    if member == 0 or not dataset.split_by_micrograph:
        return out
    mine = np.unique(dataset.micrograph[dataset.split == TRAIN])
    if len(mine) >= FEWEST_TO_LEAVE_OUT:
        rng = np.random.default_rng([seed, member])
        out[rng.permutation(mine)[: max(1, len(mine) // 5)]] = True
    return out


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
    training = dataset.crops_of(TRAIN, kinds)
    owner = dataset.micrograph[dataset.crop_rows[training]]
    training = training[~_left_out(dataset, options.seed, member)[owner]]
    return FitPlan(
        architecture=arch,
        training=training,
        validation=dataset.crops_of(VALIDATION, kinds),
        epochs=options.epochs or arch.epochs,
        batch_size=options.batch_size,
        seed=options.seed * 1000 + member,
        learning_rate=(options.learning_rate or arch.learning_rate)
        * (FINE_TUNING_RATE if start is not None else 1.0),
        start=start,
        name=name,
        unlabelled=options.unlabelled,
        balance_views=options.balance_views,
    )


def _refit(
    dataset: Dataset,
    arch: Architecture,
    options: TrainingOptions,
    trained: Trained,
    checkpoints: Path,
) -> list[Fitted]:
    """Networks that went on from the split's weights with all labels.

    They stay close to the networks of the split, so that the calibration holds.
    """
    fitted = []
    for i, member in enumerate(trained.members):
        plan = _plan(dataset, arch, options, i, None, f"all_{i + 1}")
        plan.start = member.network
        plan.feedback = trained.feedback
        if can_centre(dataset, arch):
            plan.centres = label_centres(dataset, member.network, arch)
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


def history_csv(histories: Sequence[list[dict[str, float]]]) -> str:
    """Write all epochs of all members as CSV."""
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
