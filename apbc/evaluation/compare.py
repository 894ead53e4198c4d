"""Several pickers against one reference.

Every picker is scored as `apbc.evaluation.figures` scores one, on the same micrographs. What is
known of the particles besides (class, pose, contamination) tells which of them a picker loses and
what it takes for particles. Nothing of it is needed: a reference picked by hand will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from apbc.errors import ApbcError
from apbc.evaluation import contamination
from apbc.evaluation.agreement import Agreement, agreements, shared
from apbc.evaluation.figures import DIGITS, Figures, Shape, score_picks
from apbc.evaluation.recall import PartRecall, mean_interval, recall_of_parts
from apbc.evaluation.reference import Particles
from apbc.evaluation.views import VIEWS, view_classes
from apbc.io.mrc import MrcLayout
from apbc.progress import track

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

ANY_CLASS = 0  # under which views are counted where classes are not told, or all are of one
MOST_LOSSES = 3  # of each picker that get a sentence
SHARED_WORTH_TELLING = 0.3
FALSE_WORTH_TELLING = 20


@dataclass(frozen=True)
class Picker:
    """Picks of one picker.

    Attributes
    ----------
    picks : mapping of str to ndarray, shape (n, 3)
        x, y in pixels and score (NaN for none), by micrograph.
    threshold : float or None
        Picks of a lower score count for the curve alone.
    """

    picks: Mapping[str, FloatArray]
    threshold: float | None = None


@dataclass(frozen=True)
class Losses:
    """Which particles a picker finds.

    Attributes
    ----------
    classes : list of PartRecall
        By class; none where classes are not told.
    views : dict of int to list of PartRecall
        By class, or under `ANY_CLASS`: by view; none where poses are not told.
    """

    classes: list[PartRecall]
    views: dict[int, list[PartRecall]]


@dataclass(frozen=True)
class Comparison:
    """What was found of several pickers.

    Attributes
    ----------
    pixel_size : float
        Å per pixel of the coordinates.
    micrographs : list of str
    figures : dict of str to Figures
        By picker, as are the others.
    thresholds : dict of str to (float or None)
    particles, hidden : int
        Visible and hidden particles that count.
    agreements : list of Agreement
    alone : dict of str to int
        Particles that no other picker finds.
    found_by : ndarray of int, shape (pickers + 1,)
        Particles that 0, 1, 2 ... pickers find.
    shared_false : dict of str to int
        False picks where another picker has a false pick, too.
    losses : dict of str to Losses
    contamination : dict of str to ndarray of int, or None
        False picks on each kind of contamination; None without masks.
    areas : ndarray or None
        Share of the area that each kind covers.
    """

    pixel_size: float
    micrographs: list[str]
    figures: dict[str, Figures]
    thresholds: dict[str, float | None]
    particles: int
    hidden: int
    agreements: list[Agreement]
    alone: dict[str, int]
    found_by: IntArray
    shared_false: dict[str, int]
    losses: dict[str, Losses]
    contamination: dict[str, IntArray] | None
    areas: FloatArray | None

    @property
    def ranking(self) -> list[str]:
        """Pickers by falling F1."""
        return sorted(self.figures, key=lambda name: -self.figures[name].f1)

    @property
    def best(self) -> str:
        """Picker of the highest F1."""
        return self.ranking[0]

    @property
    def has_classes(self) -> bool:
        """Tell whether there is recall by class."""
        return any(losses.classes for losses in self.losses.values())

    @property
    def has_views(self) -> bool:
        """Tell whether there is recall by view."""
        return any(losses.views for losses in self.losses.values())

    def f1_interval(self, picker: str) -> tuple[float, float] | None:
        """Interval of 95% of a picker's F1; None for fewer than three micrographs."""
        return mean_interval([m.f1 for m in self.figures[picker].per_micrograph])

    def false(self, picker: str) -> int:
        """Count the false picks of a picker."""
        return sum(int(match.false.sum()) for match in self.figures[picker].matches.values())

    def on_hidden(self, picker: str) -> int:
        """Count the picks of a picker that are on hidden particles."""
        return sum(int(match.hidden.sum()) for match in self.figures[picker].matches.values())

    def as_dict(self) -> dict[str, Any]:
        """Figures as JSON knows them.

        Returns
        -------
        dict
            Keys as ``docs/architecture.md`` lists them.
        """
        return {
            "best": self.best,
            "micrographs": self.micrographs,
            "particles": self.particles,
            "hidden": self.hidden,
            "found_by": self.found_by,
            "pickers": {name: self._picker_dict(name) for name in self.figures},
            "agreement": {
                one: {
                    pair.second: round(pair.f1, DIGITS)
                    for pair in self.agreements
                    if pair.first == one
                }
                for one in self.figures
            },
            "contamination_area": None
            if self.areas is None
            else dict(zip(contamination.KINDS, self.areas.round(DIGITS))),
        }

    def _picker_dict(self, name: str) -> dict[str, Any]:
        figures = self.figures[name].as_dict(self.pixel_size)
        del figures["per_micrograph"]
        counts = [len(match.picks) for match in self.figures[name].matches.values()]
        interval, losses = self.f1_interval(name), self.losses[name]
        return {
            **figures,
            "f1_interval": None if interval is None else [round(v, DIGITS) for v in interval],
            "threshold": self.thresholds[name],
            "picks": sum(counts),
            "hits": sum(m.hits for m in self.figures[name].per_micrograph),
            "false": self.false(name),
            "on_hidden": self.on_hidden(name),
            "found_by_it_alone": self.alone[name],
            "false_shared": self.shared_false[name],
            "lost_classes": [part.part for part in losses.classes if part.lost],
            "lost_views": [
                {"class": None if of == ANY_CLASS else of, "view": VIEWS[part.part].name}
                for of, parts in losses.views.items()
                for part in parts
                if part.lost
            ],
            "contamination": None
            if self.contamination is None
            else dict(zip(contamination.KINDS, self.contamination[name])),
        }


def compare(
    pickers: Mapping[str, Picker],
    reference: Mapping[str, Particles],
    radius: float,
    pixel_size: float,
    shapes: Mapping[str, Shape] | None = None,
    edge: float = 0.0,
    masks: Mapping[str, MrcLayout] | None = None,
) -> Comparison:
    """Score several pickers against one reference.

    Parameters
    ----------
    pickers : mapping of str to Picker
    reference : mapping of str to Particles
        By micrograph. Every one counts for every picker.
    radius : float
        Half the particle diameter, in pixels.
    pixel_size : float
        Å per pixel.
    shapes : mapping of str to (int, int), optional
        Rows and columns of each micrograph.
    edge : float, optional
        What is nearer to the border does not count; pixels.
    masks : mapping of str to MrcLayout, optional
        Contamination of some or all micrographs.

    Returns
    -------
    Comparison

    Raises
    ------
    ApbcError
        If there is no picker, no micrograph or no particle to find, or a mask holds what is no
        kind of contamination.
    """
    if not pickers:
        raise ApbcError("there is no picker to compare; give NAME=PICKS")
    figures = {
        name: score_picks(picker.picks, reference, radius, shapes, edge, picker.threshold)
        for name, picker in track(pickers.items(), len(pickers), "pickers")
    }
    first = next(iter(figures.values()))
    names = sorted(reference)
    particles = sum(len(match.rows) for match in first.matches.values())
    if not particles:
        raise ApbcError(
            "no particle of the reference is left to be found; check --edge, and whether the "
            "reference has visible particles"
        )
    hidden = sum(int((~known.visible).sum()) for known in (reference[name] for name in names))
    times_found = {
        name: np.sum([f.matches[name].found for f in figures.values()], axis=0) for name in names
    }
    pooled = np.concatenate([times_found[name] for name in names]).astype(np.int64)
    return Comparison(
        pixel_size,
        names,
        figures,
        {name: picker.threshold for name, picker in pickers.items()},
        particles,
        hidden,
        agreements(
            {
                picker: {name: match.picks for name, match in f.matches.items()}
                for picker, f in figures.items()
            },
            radius,
        ),
        {
            picker: sum(
                int((match.found & (times_found[name] == 1)).sum())
                for name, match in f.matches.items()
            )
            for picker, f in figures.items()
        },
        np.bincount(pooled, minlength=len(figures) + 1),
        {picker: _shared_false(figures, picker, radius) for picker in figures},
        {picker: _losses(f, reference) for picker, f in figures.items()},
        None if masks is None else {name: _on_kinds(f, masks) for name, f in figures.items()},
        None if masks is None else contamination.areas(masks),
    )


def _shared_false(figures: Mapping[str, Figures], picker: str, radius: float) -> int:
    """Count the false picks of a picker where another one has a false pick, too."""
    others = [f for name, f in figures.items() if name != picker]
    count = 0
    for name, match in figures[picker].matches.items():
        theirs = [f.matches[name].picks[f.matches[name].false] for f in others]
        count += shared(match.picks[match.false], theirs, radius)
    return count


def _losses(figures: Figures, reference: Mapping[str, Particles]) -> Losses:
    """Recall by class and by view, as far as the reference tells them of all particles."""
    of_any = [(reference[name], match) for name, match in figures.matches.items()]
    of_any = [(known, match) for known, match in of_any if len(match.rows)]
    found = np.concatenate([match.found for _, match in of_any])
    classes: IntArray | None = None
    views: IntArray | None = None
    if all(known.classes is not None for known, _ in of_any):
        classes = np.concatenate([known.classes[match.rows] for known, match in of_any])  # type: ignore[index]
    if all(known.angles is not None for known, _ in of_any):
        angles = np.concatenate([known.angles[match.rows] for known, match in of_any])  # type: ignore[index]
        views = view_classes(angles)
    by_class: list[PartRecall] = []
    if classes is not None:
        tests = len(np.unique(classes))
        by_class = recall_of_parts(classes, found, float(found.mean()), tests)
    by_view: dict[int, list[PartRecall]] = {}
    if views is not None:
        groups = np.full(len(found), ANY_CLASS) if len(by_class) < 2 else classes
        assert groups is not None
        tests = len(np.unique(groups * len(VIEWS) + views))
        for group in np.unique(groups):
            of_it = groups == group
            mean = float(found[of_it].mean())
            by_view[int(group)] = recall_of_parts(views[of_it], found[of_it], mean, tests)
    return Losses(by_class, by_view)


def _on_kinds(figures: Figures, masks: Mapping[str, MrcLayout]) -> IntArray:
    """Count the false picks on each kind of contamination."""
    counts = np.zeros(len(contamination.KINDS), np.int64)
    for name, mask in masks.items():
        match = figures.matches[name]
        kinds = contamination.kinds_at(mask, match.picks[match.false])
        counts += np.bincount(kinds, minlength=len(counts))
    return counts


# --------------------------------- in words ----------------------------------------


def sentences(comparison: Comparison) -> list[str]:
    """Tell what the figures say.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    list of str
        The ranking first, then what each picker loses, then what is to be kept in mind.
    """
    told = [_ranking(comparison), *_difference(comparison)]
    for name in comparison.ranking:
        told += _lost(comparison, name)
    if comparison.has_views or comparison.has_classes:
        if not any(_parts_lost(losses) for losses in comparison.losses.values()):
            parts = "class or view" if comparison.has_classes else "view"
            told.append(
                f"No picker surely loses a {parts}: no recall is, beyond chance, more than a "
                "tenth below the mean of its picker."
            )
    for name in comparison.ranking:
        told += _worst_contamination(comparison, name)
    told += _shared_sentence(comparison)
    missing = [
        word
        for word, there in (("classes", comparison.has_classes), ("poses", comparison.has_views))
        if not there
    ]
    if missing:
        what = {"classes": "classes", "poses": "views"}
        told.append(
            f"The reference tells no {' and no '.join(missing)} of the particles, so there are no "
            f"tables of {' and '.join(what[word] for word in missing)}."
        )
    if comparison.hidden:
        told.append(
            f"{comparison.hidden} hidden particles of the reference need not be found, and picks "
            "on them do not count."
        )
    return told


def _ranking(comparison: Comparison) -> str:
    count = len(comparison.micrographs)
    where = f"{count} micrograph{'s' if count > 1 else ''} with {comparison.particles} particles"
    figures = comparison.figures[comparison.best]
    interval = comparison.f1_interval(comparison.best)
    surely = "" if interval is None else f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})"
    told = (
        f"On {where}, {comparison.best} has "
        f"{'the best ' if len(comparison.figures) > 1 else 'an '}F1: {figures.f1:.3f}{surely}, "
        f"precision {figures.precision:.3f}, recall {figures.recall:.3f}"
    )
    if figures.average_precision is not None:
        told += f", average precision {figures.average_precision:.3f}"
    return told + "."


def _difference(comparison: Comparison) -> list[str]:
    """Tell whether the best is surely better than the second."""
    if len(comparison.figures) < 2:
        return []
    best, second = (comparison.figures[name] for name in comparison.ranking[:2])
    pairs = list(zip(best.per_micrograph, second.per_micrograph))
    better = sum(one.f1 > other.f1 for one, other in pairs)
    interval = mean_interval([one.f1 - other.f1 for one, other in pairs])
    told = (
        f"Second is {comparison.ranking[1]} with {second.f1:.3f}; the best is better on {better} "
        f"of {len(pairs)} micrographs"
    )
    if interval is None:
        return [told + ", which are too few to tell whether that is chance."]
    low, high = interval
    verdict = "more than chance" if low > 0 else "which may be chance"
    return [
        f"{told}, by {best.f1 - second.f1:.3f} in the mean (95% interval {low:.3f} to "
        f"{high:.3f}), {verdict}."
    ]


def _parts_lost(losses: Losses) -> list[tuple[str, PartRecall, float]]:
    """Classes and views that are lost, by rising recall: name, recall, and that of all."""
    lost = []
    everything = _total(losses.classes)
    for part in losses.classes:
        if part.lost:
            lost.append((f"class {part.part}", part, everything))
    for of, parts in losses.views.items():
        mean = _total(parts)
        behind = "" if of == ANY_CLASS else f" of class {of}"
        for part in parts:
            if part.lost:
                lost.append((f"the view {VIEWS[part.part].name} degrees{behind}", part, mean))
    return sorted(lost, key=lambda row: row[1].recall - row[2])


def _total(parts: Sequence[PartRecall]) -> float:
    particles = sum(part.particles for part in parts)
    return sum(part.found for part in parts) / particles if particles else 0.0


def _lost(comparison: Comparison, name: str) -> list[str]:
    """Sentences about what a picker loses."""
    lost = _parts_lost(comparison.losses[name])
    told = [
        f"{name} loses {what}: it finds {part.found} of {part.particles} ({part.recall:.0%}, "
        f"95% interval {part.low:.0%} to {part.high:.0%}), and {mean:.0%} "
        f"of {'this class' if ' of class ' in what else 'all'}."
        for what, part, mean in lost[:MOST_LOSSES]
    ]
    if len(lost) > MOST_LOSSES:
        told.append(f"{name} loses {len(lost) - MOST_LOSSES} more, see the tables.")
    return told


def _worst_contamination(comparison: Comparison, name: str) -> list[str]:
    """Tell on which contamination a picker has most false picks for its area."""
    if comparison.contamination is None or comparison.areas is None:
        return []
    counts = comparison.contamination[name]
    if counts.sum() < FALSE_WORTH_TELLING:
        return []
    shares = counts / counts.sum()
    excess = shares - comparison.areas
    excess[0] = 0.0
    worst = int(np.argmax(excess))
    if excess[worst] < 0.1:
        return []
    return [
        f"{shares[worst]:.0%} of the false picks of {name} are on {contamination.KINDS[worst]}, "
        f"which covers {comparison.areas[worst]:.0%} of the area."
    ]


def _shared_sentence(comparison: Comparison) -> list[str]:
    """Tell of false picks on which pickers agree: the reference may lack particles."""
    told: list[str] = []
    for name in comparison.ranking:
        false, common = comparison.false(name), comparison.shared_false[name]
        if false >= FALSE_WORTH_TELLING and common >= SHARED_WORTH_TELLING * false:
            told.append(f"{common} of {false} of {name}")
    if not told:
        return []
    return [
        f"Many false picks are those of other pickers, too ({', '.join(told)}): particles that "
        "the reference lacks, or what several take for particles. Look at them before judging the "
        "precision."
    ]
