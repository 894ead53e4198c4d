"""Train the classifier of shapes on the patches of a data set, and write its model folder.

Source: Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7.
The paper's cross entropy is kept, and with plain descent its penalty on large weights; AdamW
instead shrinks weights a little in each step (decoupled decay, Loshchilov and Hutter 2019,
arXiv:1711.05101). Batch, epochs, schedule, dropout and momentum, of which the paper does not
tell, and the steps of the optimiser are ours.
`ClassifierOptions.as_in_the_paper` takes the paper's settings as far as it tells them.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.dataset.patch_store import Patches, place
from apbc.dataset.split import NAMES, TRAIN, VALIDATION
from apbc.dataset.store import Dataset
from apbc.display.tables import html_table
from apbc.errors import ApbcError
from apbc.io.files import write_text
from apbc.models.alexnet import (
    DROPOUT,
    FC_UNITS,
    NAME,
    PAPER_FC_UNITS,
    PATCH,
    THRESHOLD,
    alexnet,
    particle_columns,
    probabilities,
)
from apbc.models.architecture import Architecture
from apbc.models.calibration import Calibration
from apbc.models.folder import (
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
from apbc.training.fit import SCORER, Checkpoint, Fitted, carry_out, open_checkpoints
from apbc.training.patch_samples import PatchSamples
from apbc.training.report import ReportData, add_section, write_report
from apbc.training.sheet import Sheet, choose
from apbc.training.train import FINE_TUNING_RATE, check_out, history_csv, seen_by

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BATCH_SIZE = 64
# Times the learning rate, the part of a weight that each step takes away. In plain descent this is
# what half of it times the squared weights in the loss would do; in AdamW it is no penalty.
WEIGHT_DECAY = 5e-4
SLOWER = 0.1  # of the learning rate, after so many epochs without a better validation loss:
SLOWER_AFTER = 2
MOST_SCORED = 1200  # training patches of which figures are taken


@dataclass(frozen=True)
class ClassifierOptions:
    """What the user may set; None stands for the architecture's, or the parent's, own.

    Attributes
    ----------
    epochs : int or None
    seed : int
    batch_size : int
    learning_rate : float or None
    fc_units : int or None
        Of each fully connected layer; 512.
    activation : {"relu", "sigmoid"} or None
        Of all layers; ReLU.
    dropout : float
    plain_descent : bool
        Stochastic gradient descent without momentum, as in the paper, and not Adam.
    """

    epochs: int | None = None
    seed: int = 0
    batch_size: int = BATCH_SIZE
    learning_rate: float | None = None
    fc_units: int | None = None
    activation: str | None = None
    dropout: float = DROPOUT
    plain_descent: bool = False

    @classmethod
    def as_in_the_paper(cls, **others: Any) -> ClassifierOptions:
        """Give the paper's settings: 4096 units, sigmoids, plain descent at 0.0001.

        Starting weights are those of Glorot and Bengio (2010): with the paper's, from 0 to
        1, every sigmoid is 1 from the first layer on and nothing can be learnt.
        """
        paper = {
            "fc_units": PAPER_FC_UNITS,
            "activation": "sigmoid",
            "dropout": 0.0,
            "plain_descent": True,
            "learning_rate": 1e-4,
        }
        return cls(**{**paper, **others})


@dataclass(frozen=True)
class _Settled(ClassifierOptions):
    """Options of which the layers are known."""

    fc_units: int = FC_UNITS
    activation: str = "relu"


def train_classifier(
    dataset: Dataset,
    out: Path,
    options: ClassifierOptions,
    device: Device,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train the classifier and write its folder.

    The network learns from the training part alone; the validation part says which epoch is
    kept, and the figures of the test part are those of the delivered weights. A training
    that was killed goes on from its last epoch.

    Parameters
    ----------
    dataset : Dataset
        With patches.
    out : Path
        Model folder to make.
    options : ClassifierOptions
    device : Device
        What TensorFlow runs on, for the card.
    start : Path, optional
        Model folder of the same classes and layers to go on from.

    Returns
    -------
    dict
        The card; see `apbc.models.alexnet`. ``classifier`` holds the figures over the
        classes of each part (see `class_figures`), ``metrics`` those of particles against
        the rest.

    Raises
    ------
    ApbcError
        If the data set has no patches, or the model to go on from does not fit.
    """
    check_out(out)
    patches = dataset.patches
    if patches is None:
        raise ApbcError(
            f"{dataset.path} holds no patches of shapes, which {NAME} learns from; make the data "
            "set with apbc bootstrap, or train another architecture"
        )
    if not len(patches.drawn(TRAIN)):
        raise ApbcError(f"the patches of {dataset.path} have no training part; make them again")
    begun = time.monotonic()
    parent = load_model(start) if start else None
    options = _settled(options, parent, patches)
    arch = alexnet(len(patches.classes), options.fc_units, options.activation, options.dropout)
    seen = seen_by(parent, dataset)
    request = {
        "apbc_version": __version__,
        "data_hash": patches.data_hash,
        "from": parent.card["weights_sha256"] if parent else None,
        "architecture": NAME,
        "ensemble": 1,
        **asdict(options),
    }
    checkpoints = open_checkpoints(out.with_name(out.name + ".partial"), request)
    fitted = _fit(patches, arch, options, parent, checkpoints)
    network = join([fitted.network], arch)
    scored = {
        part: score(network, patches, drawn) for part, drawn in _drawn(patches, options).items()
    }
    particles = particle_columns(patches.classes)
    two_classes = {
        part: (values[:, particles].sum(axis=1), np.isin(labels, particles))
        for part, (values, labels) in scored.items()
    }
    card: dict[str, Any] = {
        "apbc_version": __version__,
        "keras_version": keras.__version__,
        "architecture": NAME,
        "members": 1,
        "classes": patches.classes,
        "box": patches.box,
        "patch": PATCH,
        "fc_units": options.fc_units,
        "activation": options.activation,
        "dropout": options.dropout,
        "detection": patches.detection,
        "diameter": dataset.preprocessing.diameter,
        "pixel_size": patches.box / PATCH,
        "contrast": dataset.preprocessing.contrast,
        "phase_flipped": dataset.preprocessing.phase_flipped,
        "preprocessing": dataset.preprocessing.to_dict(),
        "calibration": Calibration(method="none, a softmax over the classes").to_dict(),
        "threshold": THRESHOLD,
        "data_hash": patches.data_hash,
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
        "labels": {
            part: {"good": int(good.sum()), "bad": int((~good).sum()), "unlabelled": 0}
            for part, (_, good) in two_classes.items()
        },
        "metrics": {
            part: metrics.figures(values, good) for part, (values, good) in two_classes.items()
        },
        "classifier": {
            part: class_figures(values, labels, patches.classes)
            for part, (values, labels) in scored.items()
        },
        "picking": {},
        "promise": None,
        "rounds": [],
        "views": {},
        "lost_views": [],
        "best_epochs": [fitted.best_epoch],
        "refitted": False,
        "options": asdict(options),
        "trained_from": str(start) if start else None,
        "device": device.name,
        "seconds": round(time.monotonic() - begun, 1),
    }
    card["weights_sha256"] = save_network(network, out / NETWORK_FILE)
    write_text(out / "history.csv", history_csv([fitted.history]))
    part = next((p for p in reversed(NAMES) if len(scored[p][1])), NAMES[TRAIN])
    values, good = two_classes[part]
    drawn = _drawn(patches, options)[part]
    write_report(
        out,
        ReportData(card, [fitted.record()], values, good, part, None, Calibration()),
        _sheet(dataset, patches, drawn, values, good, part),
    )
    add_section(out, "classes", _section(card))
    write_card(out, card)
    shutil.rmtree(checkpoints)
    return card


def class_figures(values: FloatArray, labels: IntArray, classes: list[str]) -> dict[str, Any]:
    """Figures over all classes; a patch is called what is most probable.

    Parameters
    ----------
    values : ndarray, shape (n, classes)
        Probabilities.
    labels : ndarray of int, shape (n,)
    classes : list of str

    Returns
    -------
    dict
        ``samples``, ``accuracy`` (None without samples), ``confusion`` (a row for each true
        class, a column for each that was called), ``precision`` and ``recall`` by class
        (None where undefined).
    """
    called = values.argmax(axis=1) if len(values) else np.empty(0, np.int64)
    n = len(classes)
    confusion = np.bincount(labels * n + called, minlength=n * n).reshape(n, n)
    right = np.diag(confusion)

    def shares(totals: IntArray) -> dict[str, float | None]:
        return {
            name: float(hit / total) if total else None
            for name, hit, total in zip(classes, right, totals, strict=True)
        }

    return {
        "samples": len(labels),
        "accuracy": float(right.sum() / len(labels)) if len(labels) else None,
        "confusion": confusion.tolist(),
        "precision": shares(confusion.sum(axis=0)),
        "recall": shares(confusion.sum(axis=1)),
    }


def score(network: keras.Model, patches: Patches, drawn: IntArray) -> tuple[FloatArray, IntArray]:
    """Probabilities (n, classes) and classes (n,) of some draws, not augmented.

    Parameters
    ----------
    network : keras.Model
        Images of 227 pixels to logits.
    patches : Patches
    drawn : ndarray of int, shape (n,)
    """
    samples = PatchSamples(patches, drawn, BATCH_SIZE, 0, augment=False)
    if not len(samples):
        return np.empty((0, len(patches.classes))), np.empty(0, np.int64)
    whole = _behind_resizing(network, patches.side)
    logits = whole.predict(samples, verbose=0)
    return probabilities(logits), patches.label[patches.draws.row[drawn]].astype(np.int64)


def slowings(losses: list[float], patience: int = SLOWER_AFTER) -> int:
    """Count how often the learning rate was to fall, from the validation losses so far.

    It falls when no loss of some epochs was below the best before, and then waits again.

    Parameters
    ----------
    losses : list of float
        Of each epoch.
    patience : int, optional
    """
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == patience:
            count, waited = count + 1, 0
    return count


class _Slower(keras.callbacks.Callback):
    """Sets the learning rate before each epoch, so that a resumed fit has the same."""

    def __init__(self, rate: float, keeper: Checkpoint) -> None:
        super().__init__()
        self._rate = rate
        self._keeper = keeper

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Set it."""
        losses = [row["val_loss"] for row in self._keeper.history if "val_loss" in row]
        self.model.optimizer.learning_rate = self._rate * SLOWER ** slowings(losses)


def _settled(options: ClassifierOptions, parent: Model | None, patches: Patches) -> _Settled:
    """Options with the layers that are left open; refuse a parent of other classes or layers."""
    card = parent.card if parent else {"fc_units": FC_UNITS, "activation": "relu"}
    told = {name: getattr(options, name) or card.get(name) for name in ("fc_units", "activation")}
    if parent is not None:
        wanted = {"architecture": NAME, "classes": patches.classes, **told}
        for what, value in wanted.items():
            if card.get(what) != value:
                raise ApbcError(
                    f"the {what} of {parent.folder} is {card.get(what)} and that of this training "
                    f"{value}; go on from a model of the same classes and layers"
                )
    return _Settled(**{**asdict(options), **told})


def _fit(
    patches: Patches,
    arch: Architecture,
    options: ClassifierOptions,
    parent: Model | None,
    checkpoints: Path,
) -> Fitted:
    """Fit on the training part, watched by the validation part where there is one."""
    keras.utils.set_random_seed(options.seed)
    training = PatchSamples(
        patches, patches.drawn(TRAIN), options.batch_size, options.seed, augment=True
    )
    held_out = patches.drawn(VALIDATION)
    validation = PatchSamples(patches, held_out, BATCH_SIZE, options.seed, augment=False)
    keeper = Checkpoint(
        checkpoints / "split_1",
        options.epochs or arch.epochs,
        arch.patience if len(held_out) else None,
    )
    rate = options.learning_rate or arch.learning_rate
    if parent is not None:
        rate *= FINE_TUNING_RATE

    def make() -> keras.Model:
        scorer = arch.build()
        scorer.name = SCORER
        if parent is not None:
            scorer.set_weights(members_of(parent.network)[0].get_weights())
        network = _behind_resizing(scorer, patches.side)
        optimizer = (
            keras.optimizers.SGD(rate, weight_decay=WEIGHT_DECAY)
            if options.plain_descent
            else keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY)
        )
        network.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            jit_compile=False,  # XLA's convolutions are several times slower on a CPU
        )
        return network

    return carry_out(
        keeper, training, validation if len(held_out) else None, make, [_Slower(rate, keeper)]
    )


def _behind_resizing(network: keras.Model, side: int) -> keras.Model:
    """Put a network behind the enlargement of windows (n, side, side); logits (n, classes).

    Windows are stored at the detection scale and enlarged here, by the cubic kernel with
    which micrographs are enlarged for picking.
    """
    window = keras.Input((side, side), name="window")
    image = keras.layers.Reshape((side, side, 1), dtype="float32")(window)
    image = keras.layers.Resizing(PATCH, PATCH, interpolation="bicubic", dtype="float32")(image)
    return keras.Model(window, keras.layers.Flatten(dtype="float32")(network(image)))


def _drawn(patches: Patches, options: ClassifierOptions) -> dict[str, IntArray]:
    """Draws of which figures are taken, of each part; of the training part a sample."""
    rng = np.random.default_rng(options.seed)
    drawn = {name: patches.drawn(part) for part, name in enumerate(NAMES)}
    training = drawn[NAMES[TRAIN]]
    drawn[NAMES[TRAIN]] = np.sort(rng.permutation(training)[:MOST_SCORED])
    return drawn


def _sheet(
    dataset: Dataset,
    patches: Patches,
    drawn: IntArray,
    values: FloatArray,
    good: npt.NDArray[np.bool_],
    part: str,
) -> Sheet:
    """Collect the patches of the report's sheet, as they were scored."""
    chosen = choose(values, good)
    members = np.unique(np.concatenate(list(chosen.values()))).astype(np.int64)
    where = {int(member): i for i, member in enumerate(members)}
    draws = patches.draws.some(drawn[members])
    last = np.full(len(members), len(patches.stages) - 1)
    windows = place(patches.stored(draws.row, last), draws, patches.side)
    return Sheet(
        pixels=np.rint(255 * np.clip(windows.astype(np.float32), 0, 1)).astype(np.uint8),
        crops=[
            {
                "micrograph": dataset.micrograph_names[patches.micrograph[row]],
                "x": round(float(patches.coordinates[row, 0]), 2),
                "y": round(float(patches.coordinates[row, 1]), 2),
                "label": "good" if good[member] else "bad",
                "class": patches.classes[patches.label[row]],
                "score": round(float(values[member]), 5),
            }
            for member, row in zip(members, draws.row, strict=True)
        ],
        rows={name: [where[int(member)] for member in row] for name, row in chosen.items()},
        part=part,
        diameter=dataset.preprocessing.diameter,
        pixel_size=patches.pixel_size,
    )


def _section(card: dict[str, Any]) -> str:
    """Write the figures over the classes for the report's page."""
    classes, told = card["classes"], ""
    for part, row in card["classifier"].items():
        if not row["samples"]:
            continue
        table = [
            {
                "true class": name,
                **{f"called {other}": n for other, n in zip(classes, line, strict=True)},
                "recall": row["recall"][name],
                "precision": row["precision"][name],
            }
            for name, line in zip(classes, row["confusion"], strict=True)
        ]
        told += (
            f"<h3>{part}: accuracy {row['accuracy']:.3f} of {row['samples']} patches</h3>"
            f"{html_table(table)}"
        )
    return (
        "<h2>Classes</h2><p>A patch is called the class of the highest score. The figures further "
        "up are those of particles, of whatever shape, against the rest.</p>" + told
    )
