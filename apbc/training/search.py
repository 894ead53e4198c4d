"""Search a few training settings on validation micrographs, and train with the best."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.dataset.labels import GOOD
from apbc.dataset.split import NAMES, TEST, VALIDATION
from apbc.dataset.store import Dataset
from apbc.display import search as pages
from apbc.errors import ApbcError
from apbc.evaluation.label_ranks import LabelRanks, measure, pick_window, shares
from apbc.io.files import plain, read_json, write_json
from apbc.models.calibration import Calibration
from apbc.models.folder import CARD_FILE, load_model, read_card
from apbc.system.devices import Device
from apbc.training.candidates import rank_labels
from apbc.training.report import add_section
from apbc.training.search_plan import (
    Changes,
    Summary,
    Trial,
    changed,
    most_settings,
    next_trial,
    single_changes,
    told,
)
from apbc.training.train import TrainingOptions, train

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

FORMAT = "apbc search 1"
TRIAL_FORMAT = "apbc trial 1"
RECORD = "search.json"
TRIALS, MODEL, TRIAL_RESULT = "trials", "model", "trial.json"
RANK_DIGITS = 4


@dataclass(frozen=True)
class SearchPlan:
    """What the user may set for a search.

    Attributes
    ----------
    options : TrainingOptions
        The defaults of the search, and what the model is trained with at the end.
    fixed : tuple of str
        Settings that are not searched, because the user gave them.
    most : int
        Number of settings to try, the defaults included.
    minutes : float or None
        No trial is begun that would end later than this.
    start : Path or None
        Model folder to go on from.
    """

    options: TrainingOptions
    fixed: tuple[str, ...] = ()
    most: int = 8
    minutes: float | None = None
    start: Path | None = None

    @property
    def of_trials(self) -> TrainingOptions:
        """Options of the trials: one network on the training split, without rounds of feedback.

        The members of an ensemble and rounds of feedback may look at the micrographs that the
        trials are measured on.
        """
        return replace(self.options, ensemble=1, refit=False, feedback=0, precision=None)


def search(dataset: Dataset, out: Path, plan: SearchPlan, device: Device) -> dict[str, Any]:
    """Try settings, train with the best, and write the table.

    Every trial is a folder below ``out/trials``; those that are complete are not trained
    again by another run, and one that was interrupted goes on where it stopped. The split is
    the data set's own for all of them; its test micrographs choose nothing, and are looked
    at once, with the network of the settings that were chosen.

    Parameters
    ----------
    dataset : Dataset
    out : Path
        Folder to make, or that of a search of the same data set.
    plan : SearchPlan
    device : Device
        What TensorFlow runs on, for the cards.

    Returns
    -------
    dict
        What ``search.json`` holds.

    Raises
    ------
    ApbcError
        If the data set has no validation micrographs with good labels, the folder holds something
        else, or training with the default settings fails.
    """
    _check(dataset, out)
    runs = _Trials(dataset, out, plan, device)
    deadline = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
    singles = single_changes(plan.of_trials, plan.fixed)
    in_time = True
    while (wanted := next_trial(singles, runs.trials, plan.most, runs.failed)) is not None:
        changes, seed = wanted
        if runs.trials and not runs.is_complete(changes, seed):
            seconds = float(np.mean([trial.seconds for trial in runs.trials]))
            if deadline is not None and time.monotonic() + seconds > deadline:
                logger.info("the time limit is reached; the same command goes on with the search")
                in_time = False
                break
        runs.run(changes, seed)
        _write(out, _record(dataset, plan, runs, finished=False))
        _report_progress(runs.trials, singles, plan.most)
    summary = Summary(runs.trials)
    chosen = summary.chosen()
    record = _record(dataset, plan, runs, finished=in_time)
    record["test"] = _test_figures(dataset, out, summary, chosen)
    _deliver(dataset, out, plan, changed(plan.options, chosen, 0), device)
    record["model"] = MODEL
    return _write(out, record)


class _Trials:
    """Trials of a search: those that were found, and how more are made."""

    def __init__(self, dataset: Dataset, out: Path, plan: SearchPlan, device: Device) -> None:
        self._dataset, self._out, self._plan, self._device = dataset, out, plan, device
        self.trials: list[Trial] = []
        self.failed: dict[Changes, str] = {}

    def is_complete(self, changes: Changes, seed: int) -> bool:
        """Tell whether an earlier run has finished a trial."""
        return (self._folder(self._request(changes, seed)) / TRIAL_RESULT).is_file()

    def run(self, changes: Changes, seed: int) -> None:
        """Train and measure, or read what an earlier run found."""
        request = self._request(changes, seed)
        folder = self._folder(request)
        name = told(changes) + (f", seed {seed + 1}" if seed else "")
        if not self.is_complete(changes, seed):
            logger.info("trial %d: %s", len(self.trials) + 1, name)
            begun = time.monotonic()
            options = changed(self._plan.of_trials, changes, seed)
            try:
                card = _trained(self._dataset, folder / MODEL, options, self._device, self._plan)
            except ApbcError as error:
                if not changes:
                    raise
                logger.warning("%s failed: %s", name, error)
                self.failed[changes] = str(error)
                return
            found = _measured(self._dataset, folder / MODEL, VALIDATION)
            result = {"format": TRIAL_FORMAT, "request": request, "settings": name, **found}
            result["best_epoch"] = card["best_epochs"][0]
            result["seconds"] = round(time.monotonic() - begun, 1)
            write_json(folder / TRIAL_RESULT, result)
        values = read_json(folder / TRIAL_RESULT)
        self.trials.append(
            Trial(
                changes=changes,
                seed=seed,
                ranks=LabelRanks(_ranks(values["good"]), _ranks(values["bad"])),
                particles=values["particles"],
                best_epoch=values["best_epoch"],
                seconds=values["seconds"],
                folder=str(folder.relative_to(self._out)),
            )
        )

    def _request(self, changes: Changes, seed: int) -> dict[str, Any]:
        start = self._plan.start
        return {
            "apbc_version": __version__,
            "data_hash": self._dataset.data_hash,
            "from": read_card(start)["weights_sha256"] if start else None,
            **asdict(changed(self._plan.of_trials, changes, seed)),
        }

    def _folder(self, request: Mapping[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self._out / TRIALS / digest[:12]


def _check(dataset: Dataset, out: Path) -> None:
    """Refuse a data set that cannot be searched on, and a folder that is not the search's."""
    if not dataset.images_of(VALIDATION):
        raise ApbcError(
            f"{dataset.path} has no whole micrographs for validation, which a search needs; make "
            "it from at least 5 labelled micrographs"
        )
    if not _has_good(dataset, VALIDATION):
        raise ApbcError(
            f"the validation micrographs of {dataset.path} have no good labels to find; make it "
            "from more labels"
        )
    if out.is_file():
        raise ApbcError(f"{out} is a file; give --out the name of a folder to make")
    if (out / RECORD).is_file():
        if read_json(out / RECORD).get("data_hash") != dataset.data_hash:
            raise ApbcError(f"{out} holds the search of another data set; give another --out")
    elif out.is_dir() and any(path.name != TRIALS for path in out.iterdir()):
        raise ApbcError(f"{out} holds something else than a search; give another --out")


def _trained(
    dataset: Dataset, folder: Path, options: TrainingOptions, device: Device, plan: SearchPlan
) -> dict[str, Any]:
    """Train, unless the folder holds that very model; one of other settings is removed."""
    if (folder / CARD_FILE).is_file():
        card = read_card(folder)
        made_of = (card["data_hash"], card["options"], card["trained_from"])
        start = str(plan.start) if plan.start else None
        if made_of == (dataset.data_hash, asdict(options), start):
            return card
    if folder.exists():
        shutil.rmtree(folder)
    return train(dataset, folder, options, device, plan.start)


def _measured(dataset: Dataset, folder: Path, part: int) -> dict[str, Any]:
    """Ranks of the labels of a split's micrographs with a trained model, as plain values."""
    model = load_model(folder)
    calibration = Calibration(**model.card["calibration_of_split"])
    ranks, scores = rank_labels(dataset, model.network, model.architecture, part)
    n = len(dataset.images_of(part))
    promised = float(calibration.probability(scores).sum()) / n
    return {
        "micrographs": n,
        "particles": max(promised, len(ranks.good) / n),
        "good": ranks.good.round(RANK_DIGITS),
        "bad": ranks.bad.round(RANK_DIGITS),
    }


def _has_good(dataset: Dataset, part: int) -> bool:
    """Whether the kept micrographs of a split have good labels."""
    return any(len(dataset.labels_on(name, GOOD)) for name in dataset.images_of(part))


def _ranks(values: Sequence[float | None]) -> FloatArray:
    """Ranks as JSON holds them: null for a label that is never found."""
    return np.array([np.inf if value is None else value for value in values], float)


def _report_progress(trials: Sequence[Trial], singles: Sequence[Changes], most: int) -> None:
    settings = len({trial.changes for trial in trials})
    total = min(most, most_settings(singles))
    # The defaults have a second training already; the best settings may get one.
    left = total - settings + (1 if total > 1 else 0)
    seconds = float(np.mean([trial.seconds for trial in trials]))
    logger.info(
        "trials: %d/%d at most done, %.0f s left", len(trials), len(trials) + left, left * seconds
    )


def _test_figures(
    dataset: Dataset, out: Path, summary: Summary, chosen: Changes
) -> dict[str, Any] | None:
    """Figures of the chosen settings on the test micrographs, or None where there are none."""
    if not _has_good(dataset, TEST):
        return None
    found = _measured(dataset, out / summary.trials[chosen][0].folder / MODEL, TEST)
    ranks = LabelRanks(found["good"], found["bad"])
    here = np.array([summary.particles])
    return {
        "micrographs": found["micrographs"],
        "good_labels": len(ranks.good),
        "bad_labels": len(ranks.bad),
        "measure": measure(ranks, pick_window(summary.particles)),
        "good_found": float(shares(ranks.good, here)[0]),
        "bad_picked": float(shares(ranks.bad, here)[0]) if len(ranks.bad) else None,
    }


def _record(dataset: Dataset, plan: SearchPlan, runs: _Trials, finished: bool) -> dict[str, Any]:
    """Everything that the search knows, as plain values."""
    summary = Summary(runs.trials)
    ranks = runs.trials[0].ranks
    return {
        "format": FORMAT,
        "apbc_version": __version__,
        "data_hash": dataset.data_hash,
        "split": NAMES[VALIDATION],
        "micrographs": len(dataset.images_of(VALIDATION)),
        "good_labels": len(ranks.good),
        "bad_labels": len(ranks.bad),
        "particles": round(summary.particles, 1),
        "window": summary.window,
        "seed_spread": summary.seed_spread(),
        "options": asdict(plan.options),
        "fixed": list(plan.fixed),
        "finished": finished,
        "leader": told(summary.leader()),
        "chosen": told(summary.chosen()),
        "trials": summary.rows(),
        "failed": {told(changes): why for changes, why in runs.failed.items()},
        "picks": summary.picks(),
        "test": None,
        "model": None,
    }


def _write(out: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Write page, picture and table, the record last; and the table in the model's report.

    Returns
    -------
    dict
        The record as it was written.
    """
    record = {
        **plain(record),
        "told": pages.sentences(record),
        "tables": [pages.TABLE],
        "pictures": [pages.PICTURE],
        "page": pages.PAGE,
    }
    section = pages.write_pages(out, record)
    if record["model"] is not None:
        add_section(out / record["model"], "search", section)
    write_json(out / RECORD, record)
    return record


def _deliver(
    dataset: Dataset, out: Path, plan: SearchPlan, options: TrainingOptions, device: Device
) -> None:
    """Train the model of the search with the settings that were chosen."""
    logger.info("training the model with the settings that were chosen")
    _trained(dataset, out / MODEL, options, device, plan)
