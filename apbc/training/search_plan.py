"""Which training settings a search tries next, and what its trials tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from apbc.evaluation.label_ranks import (
    LabelRanks,
    difference_error,
    measure,
    pick_window,
    shares,
)
from apbc.models.architecture import ARCHITECTURES, architecture

if TYPE_CHECKING:
    from apbc.training.train import TrainingOptions

FloatArray = npt.NDArray[np.float64]
Changes = tuple[tuple[str, Any], ...]

DEFAULTS: Changes = ()
SEEDS = 2  # of the defaults and of the best settings
# What is tried for each setting, most promising first; numbers multiply the architecture's own.
ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "learning_rate": (2.0, 0.5),
    "unlabelled": ("weak", "pu"),
    "epochs": (2.0,),
    "architecture": ARCHITECTURES,
}
CURVE_POINTS = 120
DRAWN_PICKS = 3.0  # end of the curves, in estimated numbers of particles
DIGITS = 5


@dataclass(frozen=True)
class Trial:
    """What one training of a search found.

    Attributes
    ----------
    changes : tuple of (str, value)
        Settings other than the defaults, in the order of `ALTERNATIVES`.
    seed : int
        0 for the first of these settings.
    ranks : LabelRanks
        Of the labels of the validation micrographs.
    particles : float
        Particles of a validation micrograph, as the calibrated scores count them.
    best_epoch : int
    seconds : float
    folder : str
    """

    changes: Changes
    seed: int
    ranks: LabelRanks
    particles: float
    best_epoch: int
    seconds: float
    folder: str


def single_changes(base: TrainingOptions, fixed: Sequence[str]) -> list[Changes]:
    """Every change of one setting, in the order in which they are tried.

    Parameters
    ----------
    base : TrainingOptions
        The defaults of the search.
    fixed : sequence of str
        Settings that stay.
    """
    return [
        ((name, value),)
        for name, values in ALTERNATIVES.items()
        if name not in fixed
        for value in values
        if value != getattr(base, name)
    ]


def changed(base: TrainingOptions, changes: Changes, seed: int) -> TrainingOptions:
    """Options of one training with some settings changed."""
    values = dict(changes)
    arch = architecture(values.get("architecture", base.architecture))
    if "learning_rate" in values:
        values["learning_rate"] *= base.learning_rate or arch.learning_rate
    if "epochs" in values:
        values["epochs"] = round(values["epochs"] * (base.epochs or arch.epochs))
    return replace(base, seed=base.seed + seed, **values)


def told(changes: Changes) -> str:
    """Write settings in words."""
    words = [
        f"{name.replace('_', ' ')} " + (f"x {value:g}" if isinstance(value, float) else str(value))
        for name, value in changes
    ]
    return ", ".join(words) or "defaults"


class Summary:
    """Trials side by side.

    Parameters
    ----------
    trials : sequence of Trial
        With one of the defaults among them.

    Attributes
    ----------
    particles : float
        Estimate that the numbers of picks are counted in, from the first training.
    trials : dict
        Trials of each settings.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials: dict[Changes, list[Trial]] = {}
        for trial in sorted(trials, key=lambda trial: trial.seed):
            self.trials.setdefault(trial.changes, []).append(trial)
        self.particles = self.trials[DEFAULTS][0].particles
        self._window = pick_window(self.particles)

    def measure(self, changes: Changes) -> float:
        """Mean measure of the trainings with some settings."""
        return float(np.mean([measure(t.ranks, self._window) for t in self.trials[changes]]))

    def difference(self, changes: Changes) -> float:
        """Measure less that of the defaults."""
        return self.measure(changes) - self.measure(DEFAULTS)

    def seed_spread(self) -> float:
        """Take the standard deviation of the measure between seeds of the same settings."""
        squares = [
            np.var([measure(t.ranks, self._window) for t in trials], ddof=1)
            for trials in self.trials.values()
            if len(trials) > 1
        ]
        return float(np.sqrt(np.mean(squares))) if squares else 0.0

    def noise(self, changes: Changes) -> float:
        """Twice the standard error of the difference, from the labels and from the seeds."""
        mine, default = self.trials[changes], self.trials[DEFAULTS]
        labels = difference_error(mine[0].ranks, default[0].ranks, self._window)
        seeds = self.seed_spread() * np.sqrt(1 / len(mine) + 1 / len(default))
        return float(2 * np.hypot(labels, seeds))

    def verdict(self, changes: Changes) -> str:
        """Say in a word or two how settings compare with the defaults."""
        if changes == DEFAULTS:
            return "defaults"
        difference = self.difference(changes)
        if abs(difference) <= self.noise(changes):
            return "within noise"
        return "better" if difference > 0 else "worse"

    def leader(self) -> Changes:
        """Find the settings with the highest measure; the defaults win ties."""
        return max(self.trials, key=lambda changes: (self.measure(changes), changes == DEFAULTS))

    def chosen(self) -> Changes:
        """Choose settings: the leader's if they are better beyond noise, else the defaults.

        Only settings that were trained with as many seeds as the defaults count.
        """
        leader = self.leader()
        enough = len(self.trials[leader]) >= len(self.trials[DEFAULTS])
        return leader if enough and self.verdict(leader) == "better" else DEFAULTS

    def rows(self) -> list[dict[str, Any]]:
        """Rows of the table, the best first.

        Returns
        -------
        list of dict
            Plain values; ``curve`` holds shares of good and bad labels at `picks`.
        """
        here = np.array([self.particles])
        order = sorted(self.trials, key=lambda changes: -self.measure(changes))
        rows = []
        for changes in order:
            trials = self.trials[changes]
            first = trials[0].ranks
            rows.append(
                {
                    "settings": told(changes),
                    "verdict": self.verdict(changes),
                    "measure": round(self.measure(changes), DIGITS),
                    "difference": round(self.difference(changes), DIGITS),
                    "noise": None if changes == DEFAULTS else round(self.noise(changes), DIGITS),
                    "good_found": _mean_share([t.ranks.good for t in trials], here),
                    "bad_picked": _mean_share([t.ranks.bad for t in trials], here)
                    if len(first.bad)
                    else None,
                    "trainings": len(trials),
                    "best_epochs": [t.best_epoch for t in trials],
                    "seconds": round(sum(t.seconds for t in trials), 1),
                    "folders": [t.folder for t in trials],
                    "curve": {
                        "good": shares(first.good, self.picks()).round(DIGITS).tolist(),
                        "bad": shares(first.bad, self.picks()).round(DIGITS).tolist(),
                    },
                }
            )
        return rows

    def picks(self) -> FloatArray:
        """Numbers of picks per micrograph of the curves."""
        return np.linspace(0, DRAWN_PICKS * self.particles, CURVE_POINTS)

    @property
    def window(self) -> tuple[float, float]:
        """First and last number of picks per micrograph that the measure is taken over."""
        return float(self._window[0]), float(self._window[-1])


def next_trial(
    singles: Sequence[Changes],
    trials: Sequence[Trial],
    most: int,
    failed: Mapping[Changes, str],
) -> tuple[Changes, int] | None:
    """Tell what to train with next; the same for the same trials.

    The defaults come first, with two seeds if anything is compared with them; then every
    change of one setting; then combinations of the changes that helped, the largest sum of
    their differences first; at last the best settings are repeated with the second seed.

    Parameters
    ----------
    singles : sequence of tuple
        See `single_changes`.
    trials : sequence of Trial
    most : int
        Number of settings to try, the defaults included.
    failed : mapping
        Settings that cannot be trained with.

    Returns
    -------
    (changes, seed) or None
        None when all is done.
    """
    of_defaults = sum(trial.changes == DEFAULTS for trial in trials)
    if of_defaults < (SEEDS if most > 1 and singles else 1):
        return DEFAULTS, of_defaults
    summary = Summary(trials)
    tried = {*summary.trials, *failed}
    if len(tried) < most:
        for changes in (*singles, *_combinations(singles, summary)):
            if changes not in tried:
                return changes, 0
    leader = summary.leader()
    repeats = len(summary.trials[leader])
    return (leader, repeats) if repeats < of_defaults else None


def most_settings(singles: Sequence[Changes]) -> int:
    """Count all settings that there are: every combination of the changes."""
    names = [changes[0][0] for changes in singles]
    return int(np.prod([1 + names.count(name) for name in set(names)]))


def _combinations(singles: Sequence[Changes], summary: Summary) -> list[Changes]:
    """Combine changes that helped, the largest sum of their differences first."""
    helped: dict[str, list[tuple[Any, float]]] = {}
    for changes in singles:
        if changes in summary.trials and summary.difference(changes) > 0:
            name, value = changes[0]
            helped.setdefault(name, []).append((value, summary.difference(changes)))
    found: list[tuple[float, Changes]] = []
    for choice in product(*([None, *values] for values in helped.values())):
        taken = [(name, one) for name, one in zip(helped, choice, strict=True) if one is not None]
        if len(taken) > 1:
            changes = tuple((name, value) for name, (value, _) in taken)
            found.append((sum(gain for _, (_, gain) in taken), changes))
    return [changes for _, changes in sorted(found, key=lambda pair: -pair[0])]


def _mean_share(ranks: Sequence[FloatArray], picks: FloatArray) -> float:
    return round(float(np.mean([shares(one, picks)[0] for one in ranks])), DIGITS)
