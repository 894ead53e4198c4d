"""What a training leaves on disk, while it runs and when its model is complete."""

import csv
import json
import os
import re
import time
import zipfile

import numpy as np

from apbc_scipion import convert
from apbc_scipion.constants import MODEL_CARD

PARTIAL = ".partial"
HISTORY, REPORT, CROPS, PIXELS = "history.csv", "report.json", "crops.json", "crops.npz"
REPORT_KEYS = ("part", "threshold", "fits", "precision_recall", "reliability", "histogram")
CROP_KEYS = ("part", "diameter", "pixel_size", "rows", "crops")
OLDER = (
    "An older version of apbc trained this model and left no %s beside it. Train again to see "
    "them, or open report.html in the folder of the model."
)
# A fit on the split has a first part, before labels are centred, where the architecture has that.
FIT_NAME = re.compile(r"(split|all)_(\d+)(_start)?$")


class TrainingRecord:
    """Curves, figures and crops of a training; what is not there is None or empty.

    Attributes
    ----------
    folder : str
        Folder of the model.
    fits : list of dict
        ``name`` (``split_N`` or ``all_N``), ``history`` and ``best_epoch`` of every fit.
    card : dict or None
        Card of the model; None until it is complete.
    report : dict or None
        Precision-recall, reliability, histogram.
    crops : dict or None
        ``crops`` and ``rows`` of the sheet, ``diameter`` (Å) and ``pixel_size`` (Å per pixel).
    pixels : ndarray of uint8, shape (n, side, side), or None
    progress : Progress or None
        How far a training is that goes on.
    notes : dict of str to str
        Why the report or the crops are not there, in a sentence.
    """

    def __init__(self, folder):
        self.folder = folder
        self.fits = []
        self.card = self.report = self.crops = self.pixels = self.progress = None
        self.notes = {}

    def isComplete(self):
        """Tell whether the model is there."""
        return self.card is not None

    def getTitle(self):
        """One line about the model."""
        if self.card is None:
            return "The model is not ready yet."
        count = self.card.get("members") or 1
        return "%s, particle of %g Å at %0.2f Å/px, trained on %s in %s; threshold %0.3g" % (
            "%s network" % self.card["architecture"]
            if count == 1
            else "%d %s networks" % (count, self.card["architecture"]),
            self.card["diameter"],
            self.card["pixel_size"],
            self.card.get("device") or "a device that the card does not name",
            duration(self.card.get("seconds") or 0),
            self.card.get("threshold", 0.5),
        )


class Progress:
    """How far a training is.

    Attributes
    ----------
    fit : str
        Name of the fit that runs, or ran last.
    epoch, epochs : int
        Done, and at most to do; 0 while the first one runs.
    finished : bool
        Whether this fit is done.
    secondsLeft : float or None
        For this fit, at most.
    networks : int or None
        Size of the ensemble.
    """

    def __init__(self, fit, state, networks, now, changed):
        self.fit = fit
        self.networks = networks
        self.epoch, self.epochs = state.get("epoch", 0), state.get("epochs", 0)
        self.finished = bool(state.get("finished"))
        each = state.get("seconds_per_epoch")
        self.secondsLeft = (
            None
            if each is None
            else max(0.0, each * (self.epochs - self.epoch) - max(0.0, now - changed))
        )

    def getShare(self):
        """Share of the fit's epochs that is done."""
        return float(self.epoch) / self.epochs if self.epochs else 0.0

    def getText(self):
        """Tell in a sentence how far it is."""
        kind, number, first = FIT_NAME.match(self.fit).groups()
        many = self.networks is not None and self.networks > 1
        what = "Network %s of %d" % (number, self.networks) if many else "The network"
        if kind == "all":
            what += ", refit on all labels"
        if first:
            what += ", before labels are centred"
        if not self.epochs:
            return "%s: the first epoch is running." % what
        text = "%s: epoch %d of %d" % (what, self.epoch, self.epochs)
        if self.finished:
            rest = "labels are centred" if first else "scores are calibrated and figures taken"
            return text + " was its last; %s." % rest
        if self.secondsLeft is not None:
            text += ", at most %s left for it" % duration(self.secondsLeft)
        if kind == "split":
            text += "; it stops before when validation no longer improves"
        return text + "."


def duration(seconds):
    """Write a time in words."""
    if seconds < 90:
        return "%d s" % round(seconds)
    return "%d min" % round(seconds / 60.0) if seconds < 5400 else "%0.1f h" % (seconds / 3600.0)


def signature(folder):
    """Tell when the files that `read_record` reads were changed.

    Returns
    -------
    tuple
    """
    paths = [os.path.join(folder, name) for name in (MODEL_CARD, HISTORY, REPORT, CROPS)]
    paths += [path for _, path in _states(folder)]
    return tuple((path, _changed(path)) for path in paths)


def read_record(folder):
    """Read what a training has left so far.

    Parameters
    ----------
    folder : str
        Folder of the model, complete or not; that of the checkpoints is beside it.

    Returns
    -------
    TrainingRecord
    """
    record = TrainingRecord(folder)
    record.card = _read(os.path.join(folder, MODEL_CARD), record.notes, "card")
    if record.card is None:
        _read_checkpoints(record)
        return record
    missing = OLDER % "curves of its scores"
    record.report = _read(
        os.path.join(folder, REPORT), record.notes, "report", missing, REPORT_KEYS
    )
    record.fits = (
        record.report["fits"] if record.report is not None else _fits_of_history(folder, record)
    )
    _read_crops(record)
    return record


def _read_checkpoints(record):
    """Read the curves of a training that goes on, and how far it is."""
    states = _states(record.folder)
    request = _read(os.path.join(record.folder + PARTIAL, "request.json"), {}, "request") or {}
    for name, path in states:
        state = _read(path, record.notes, "curves")
        if state is not None:
            state = _add_fit(record.fits, name, state)
        record.progress = Progress(
            name, state or {}, request.get("ensemble"), time.time(), _changed(path) or time.time()
        )


def _add_fit(fits, name, state):
    """Add a fit, or go on with its first part; returns what there is of it."""
    fit = dict(state, name=name.replace("_start", ""))
    if fits and fits[-1]["name"] == fit["name"]:
        first = fits.pop()["history"]
        later = [dict(row, epoch=row["epoch"] + len(first)) for row in state["history"]]
        for key in ("epoch", "epochs", "best_epoch"):
            fit[key] = state[key] + len(first)
        fit["history"] = first + later
    fits.append(fit)
    return fit


def _states(folder):
    """Names of the fits of a training that goes on, in their order, and their files."""
    partial = folder + PARTIAL
    if not os.path.isdir(partial):
        return []
    found = [FIT_NAME.match(name) for name in os.listdir(partial)]
    ordered = sorted(
        (match for match in found if match),
        key=lambda match: (match.group(1) == "all", int(match.group(2)), not match.group(3)),
    )
    return [
        (match.group(0), os.path.join(partial, match.group(0), "state.json")) for match in ordered
    ]


def _fits_of_history(folder, record):
    """Curves of the training split as an older version left them."""
    path = os.path.join(folder, HISTORY)
    if not os.path.exists(path):
        record.notes["curves"] = "There are no curves: the folder of the model has no %s." % HISTORY
        return []
    best = record.card.get("best_epochs") or []
    fits = {}
    try:
        with open(path, newline="") as handle:
            for row in csv.DictReader(handle):
                member = int(row.pop("member"))
                values = {key: float(value) for key, value in row.items() if value}
                values["epoch"] = int(values["epoch"])
                fits.setdefault(member, []).append(values)
    except (KeyError, TypeError, ValueError) as error:
        record.notes["curves"] = "There are no curves: %s of the model is damaged (%s)." % (
            HISTORY,
            error,
        )
        return []
    return [
        {
            "name": "split_%d" % member,
            "history": history,
            "best_epoch": best[member - 1] if member <= len(best) else None,
        }
        for member, history in sorted(fits.items())
    ]


def _read_crops(record):
    """Read the crops of the sheet."""
    missing = OLDER % "crops"
    crops = _read(os.path.join(record.folder, CROPS), record.notes, "crops", missing, CROP_KEYS)
    path = os.path.join(record.folder, PIXELS)
    if crops is None:
        return
    try:
        with np.load(path, allow_pickle=False) as file:
            pixels = file["pixels"]
    except FileNotFoundError:
        record.notes["crops"] = missing
        return
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        record.notes["crops"] = "%s of the model is damaged (%s): get it again." % (PIXELS, error)
        return
    if len(pixels) != len(crops["crops"]) or pixels.ndim != 3 or pixels.dtype != np.uint8:
        record.notes["crops"] = "%s and %s of the model do not belong together: get them again." % (
            PIXELS,
            CROPS,
        )
        return
    record.crops, record.pixels = crops, pixels


def _read(path, notes, key, missing=None, needed=()):
    """Contents of a JSON file that has some keys, or None with a note."""
    name = os.path.basename(path)
    try:
        values = convert.read_json(path)
    except FileNotFoundError:
        if missing is not None:
            notes[key] = missing
        return None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        notes[key] = "%s of the model cannot be read (%s): get it again." % (name, error)
        return None
    lost = [word for word in needed if not isinstance(values, dict) or word not in values]
    if lost:
        notes[key] = "%s of the model lacks %s: get it again." % (name, ", ".join(lost))
        return None
    return values


def _changed(path):
    """Time at which a file was changed, or None."""
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None
