"""Fit one network, so that a killed run goes on where it stopped."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from apbc.dataset.store import Dataset
from apbc.errors import ApbcError
from apbc.io.files import atomic_path, write_json
from apbc.models.architecture import Architecture
from apbc.training import losses
from apbc.training.augment import Augment
from apbc.training.samples import Feedback, Samples

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
WEIGHT_DECAY = 1e-3
SCORER = "scorer"  # name of the network proper within that which is trained


@dataclass
class Fitted:
    """A trained network.

    Attributes
    ----------
    network : keras.Model
        With the weights of its best epoch.
    history : list of dict
        Figures of each epoch.
    best_epoch : int
        Epoch of the weights, counted from 1.
    name : str
        Of the fit.
    """

    network: keras.Model
    history: list[dict[str, float]]
    best_epoch: int
    name: str

    def followed_by(self, later: Fitted) -> Fitted:
        """Both fits as one, where the later one went on from this one's best weights."""
        done = len(self.history)
        history = [{**row, "epoch": row["epoch"] + done} for row in later.history]
        return Fitted(later.network, self.history + history, done + later.best_epoch, later.name)

    def record(self) -> dict[str, Any]:
        """Tell what the fit did, for the report; plain values."""
        return {"name": self.name, "best_epoch": self.best_epoch, "history": self.history}


@dataclass
class FitPlan:
    """What one fit does.

    Attributes
    ----------
    architecture : Architecture
    training, validation : ndarray of int
        Crops by position; no validation means that every epoch runs and the last
        weights are kept.
    epochs, batch_size, seed : int
    learning_rate : float
    start : keras.Model or None
        Network whose weights are the start.
    name : str
        For the log and for the folder of its checkpoint.
    unlabelled : {"weak", "pu"}
        How unlabelled places count: see `apbc.training.losses`.
    feedback : Feedback or None
        What an earlier network found on the training micrographs.
    balance_views : bool
        Draw good particles so that all views are seen alike.
    centres : ndarray, shape (labels, 2), or None
        Where the labels' particles are, in working pixels; None: where the labels are.
    """

    architecture: Architecture
    training: IntArray
    validation: IntArray
    epochs: int
    batch_size: int
    seed: int
    learning_rate: float
    start: keras.Model | None
    name: str
    unlabelled: str = "weak"
    feedback: Feedback | None = None
    balance_views: bool = True
    centres: FloatArray | None = None


def fit(dataset: Dataset, plan: FitPlan, checkpoints: Path) -> Fitted:
    """Train a network, or go on with one that was interrupted.

    After every epoch the network with its optimiser and the history are written;
    a run that finds them continues with the next epoch.

    Parameters
    ----------
    dataset : Dataset
    plan : FitPlan
    checkpoints : Path
        Folder for the checkpoints of this training.

    Returns
    -------
    Fitted

    Raises
    ------
    ApbcError
        If the loss is no longer a number.
    """
    keras.utils.set_random_seed(plan.seed)
    training = Samples(
        dataset,
        plan.training,
        plan.architecture,
        plan.batch_size,
        plan.seed,
        augment=True,
        feedback=plan.feedback,
        balance_views=plan.balance_views,
        centres=plan.centres,
    )
    validation = (
        Samples(
            dataset,
            plan.validation,
            plan.architecture,
            128,
            plan.seed,
            augment=False,
            centres=plan.centres,
        )
        if len(plan.validation)
        else None
    )
    patience = plan.architecture.patience if validation is not None else None
    keeper = Checkpoint(checkpoints / plan.name, plan.epochs, patience)
    return carry_out(
        keeper,
        training,
        validation,
        lambda: _compiled(plan, len(training), dataset.crop_size),
    )


class Resumable(Protocol):
    """Training samples that are drawn anew for every epoch."""

    def start_at(self, epoch: int) -> None:
        """Draw for an epoch, so that a resumed run sees what an unbroken one would."""


def carry_out(
    keeper: Checkpoint,
    training: Resumable,
    validation: keras.utils.PyDataset | None,
    make: Callable[[], keras.Model],
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Fitted:
    """Fit a network from its beginning or from its checkpoint, and take its best epoch.

    Parameters
    ----------
    keeper : Checkpoint
    training : PyDataset with `start_at`
    validation : PyDataset or None
    make : callable
        Gives the compiled network, in which the layer `SCORER` is the network proper.
    callbacks : sequence of keras.callbacks.Callback, optional
        Beside the keeper, before it.

    Returns
    -------
    Fitted

    Raises
    ------
    ApbcError
        If the loss is no longer a number.
    """
    network = keeper.restore() or make()
    if not network.optimizer.built:
        # Variables that the first step has to make cost a second tracing of the whole step.
        network.optimizer.build(network.trainable_variables)
    keeper.attach(training)
    if not keeper.finished:
        network.fit(
            training,
            validation_data=validation,
            epochs=keeper.epochs,
            initial_epoch=keeper.epoch,
            callbacks=[*callbacks, keeper],
            shuffle=False,
            verbose=0,
        )
    network.load_weights(keeper.best_file)
    return Fitted(network.get_layer(SCORER), keeper.history, keeper.best_epoch, keeper.name)


def _compiled(plan: FitPlan, steps: int, crop_size: int) -> keras.Model:
    """Make a new network with the augmentation before it, ready to be fitted."""
    scorer = plan.architecture.build()
    scorer.name = SCORER
    rate: Any = plan.learning_rate
    if plan.start is not None:
        scorer.set_weights(plan.start.get_weights())
    inputs = (
        keras.Input((crop_size, crop_size), dtype="float16", name="crops"),
        keras.Input((2, 3), name="placement"),
        keras.Input((2,), name="levels"),
    )
    network = keras.Model(inputs, scorer(Augment(plan.architecture.training_crop)(inputs)))
    if plan.architecture.decays:
        rate = keras.optimizers.schedules.CosineDecay(rate, max(1, plan.epochs * steps))
        optimizer = keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
    else:
        optimizer = keras.optimizers.Adam(rate)
    network.compile(
        optimizer=optimizer,
        loss=losses.LOSSES[plan.unlabelled](),
        metrics=[keras.metrics.MeanMetricWrapper(losses.accuracy, name="accuracy")],
        jit_compile=False,  # XLA's convolutions are several times slower on a CPU
    )
    return network


class Checkpoint(keras.callbacks.Callback):
    """Keeps the last and the best state of a fit on disk, stops it, and tells how far it is.

    Parameters
    ----------
    folder : Path
        Named as the fit is.
    epochs : int
        At most so many.
    patience : int or None
        Epochs without a better validation loss before the fit stops; None where there is
        no validation: every epoch runs, and the last weights are the best.
    """

    def __init__(self, folder: Path, epochs: int, patience: int | None) -> None:
        super().__init__()
        self._folder = folder
        self._patience = patience
        self.name = folder.name
        self.epochs = epochs
        self._started = 0.0
        self._begun_at = 0
        self.epoch = 0
        self.best_epoch = 0
        self.best = math.inf
        self.history: list[dict[str, float]] = []
        self.best_file = folder / "best.keras"
        self._state_file = folder / "state.json"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        waited = self.epoch - self.best_epoch
        out_of_patience = self._patience is not None and waited >= self._patience
        return self.epoch >= self.epochs or out_of_patience

    def attach(self, training: Resumable) -> None:
        """Let the samples go on at the epoch of the checkpoint."""
        training.start_at(self.epoch)

    def restore(self) -> keras.Model | None:
        """Network of an interrupted run, or None."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._state_file.is_file():
            return None
        state = json.loads(self._state_file.read_text())
        network = keras.models.load_model(self._folder / state["last"], safe_mode=True)
        self.epoch, self.best_epoch = state["epoch"], state["best_epoch"]
        self.best, self.history = state["best"], state["history"]
        logger.info("%s: goes on after epoch %d", self.name, self.epoch)
        return network

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._begun_at = self.epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the state, report, and stop where no better epoch came for long."""
        figures = {key: float(value) for key, value in (logs or {}).items()}
        self.epoch = epoch + 1
        if not all(math.isfinite(value) for value in figures.values()):
            raise ApbcError(
                f"the loss of {self.name} is not a number after epoch {self.epoch}; train "
                "with a smaller --learning-rate"
            )
        self.history.append({"epoch": self.epoch, **figures})
        watched = figures.get("val_loss")
        if watched is None or watched < self.best:
            self.best, self.best_epoch = watched or 0.0, self.epoch
            with atomic_path(self.best_file) as temporary:
                self.model.save(temporary)
        last = f"last_{self.epoch % 2}.keras"
        with atomic_path(self._folder / last) as temporary:
            self.model.save(temporary)
        write_json(
            self._state_file,
            {
                "name": self.name,
                "last": last,
                "epochs": self.epochs,
                "seconds_per_epoch": self._seconds_per_epoch(),
                "epoch": self.epoch,
                "finished": self.finished,
                "best_epoch": self.best_epoch,
                "best": self.best,
                "history": self.history,
            },
        )
        self._report(figures)
        if self.finished:
            self.model.stop_training = True

    def _seconds_per_epoch(self) -> float:
        return (time.monotonic() - self._started) / (self.epoch - self._begun_at)

    def _report(self, figures: dict[str, float]) -> None:
        logger.info(
            "%s: epoch %d/%d done, %s, %.0f s left",
            self.name,
            self.epoch,
            self.epochs,
            ", ".join(f"{key} {value:.4f}" for key, value in figures.items()),
            self._seconds_per_epoch() * (self.epochs - self.epoch),
        )


def open_checkpoints(folder: Path, request: dict[str, Any]) -> Path:
    """Folder of checkpoints of a training; one that did something else is emptied.

    Parameters
    ----------
    folder : Path
    request : dict
        What is trained and how; plain values.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    ApbcError
        If the folder holds something else, or cannot be written.
    """
    note = folder / "request.json"
    if note.is_file() and json.loads(note.read_text()) == request:
        logger.info("found the checkpoints of an interrupted training in %s", folder)
        return folder
    if folder.exists() and any(folder.iterdir()) and not note.is_file():
        raise ApbcError(
            f"{folder} is needed for checkpoints but holds something else; move it, or give "
            "another --out"
        )
    if folder.exists():
        logger.info("%s belongs to another training and is emptied", folder)
        shutil.rmtree(folder)
    write_json(note, request)
    return folder
