"""Where the threshold wizard finds scores: an earlier run, other runs of the model, its report."""

import json
import os
from dataclasses import dataclass
from typing import Optional

import numpy as np

from apbc_scipion import convert

REPORT = "report.json"


@dataclass
class Scores:
    """Scores to choose a threshold on.

    Attributes
    ----------
    values : ndarray, shape (n,)
        Empty where nothing is known but the model's threshold.
    micrographs : int
        Number of micrographs they come from; 0 if they do not come from micrographs.
    what : str
        "candidates", "particles" or "labels".
    told : str
        A sentence about where they come from.
    own : float or None
        The threshold that -1 in the form stands for.
    ownName : str
        What that is.
    calibrated : bool
        Whether scores are probabilities.
    """

    values: np.ndarray
    micrographs: int
    what: str
    told: str
    own: Optional[float]
    ownName: str = "the model's own"
    calibrated: bool = True

    @property
    def limits(self):
        """Lowest and highest score to show."""
        if self.calibrated or not len(self.values):
            return 0.0, 1.0
        low, high = float(self.values.min()), float(self.values.max())
        return low, high if high > low else low + 1


def picked_scores(protocol):
    """Scores of all candidates of a run of *pick particles*.

    Parameters
    ----------
    protocol : ApbcProtPick

    Returns
    -------
    values : ndarray, shape (n,)
    micrographs : int
        0 where the run has picked nothing yet.
    """
    folder = _absolute(protocol, protocol._getExtraPath("candidates"))
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    values = [
        row[2]
        for name in names
        if name.endswith(".csv")
        for row in convert.read_picks(os.path.join(folder, name))
    ]
    return np.array(values, float), len(names)


def screened_scores(protocol):
    """Scores of all particles of a run of *screen particles*; empty before it has any.

    Parameters
    ----------
    protocol : ApbcProtScreen

    Returns
    -------
    ndarray, shape (n,)
    """
    path = _absolute(protocol, protocol._getExtraPath("screened", "scores.csv"))
    if not os.path.exists(path):
        return np.empty(0)
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).reshape(-1, 2)[:, 1]


def report_scores(folder):
    """Scores of a model's report: of the candidates on held-out micrographs, else of its labels.

    Parameters
    ----------
    folder : str
        Of the model.

    Returns
    -------
    values : ndarray, shape (n,)
        Middles of the histogram's bins, each as often as it was counted. Empty for a model
        without such a report.
    what : str
        "candidates" or "labels".
    """
    path = os.path.join(folder, REPORT)
    if not os.path.exists(path):
        return np.empty(0), "labels"
    with open(path) as handle:
        histogram = json.load(handle).get("histogram") or {}
    if not histogram.get("edges"):
        return np.empty(0), "labels"
    edges = np.array(histogram["edges"], float)
    middles = (edges[:-1] + edges[1:]) / 2
    if histogram.get("candidates") is not None:
        return np.repeat(middles, histogram["candidates"]), "candidates"
    counts = np.array(histogram["good"]) + np.array(histogram["bad"])
    return np.repeat(middles, counts), "labels"


def source_scores(source):
    """Scores of picks, of whatever program, that get another threshold.

    Parameters
    ----------
    source : apbc_scipion.pick_sources.PickSource

    Returns
    -------
    Scores
        Those of picks without a score are left out.
    """
    return Scores(
        source.getScores(),
        len(source.getLabels()),
        "candidates" if source.calibrated else "picks",
        "Picks of '%s'." % source.title,
        source.threshold,
        "that of the run",
        source.calibrated,
    )


def scores_for(protocol, model, project):
    """Find the scores that tell most about a threshold of a protocol.

    Parameters
    ----------
    protocol : ApbcProtPick or ApbcProtScreen
    model : ApbcModel
    project : pyworkflow.project.Project

    Returns
    -------
    Scores
    """
    from apbc_scipion.protocols import ApbcProtPick, ApbcProtScreen

    own = model.getThreshold()
    earlier = "of an earlier run of this protocol"
    others = [
        run
        for run in project.getRuns()
        if isinstance(run, (ApbcProtPick, ApbcProtScreen))
        and run.getObjId() != protocol.getObjId()
        and _same_model(run.inputModel.get(), model)
    ]
    # The runs made last are the likeliest to be about the same data.
    others.sort(key=lambda run: -run.getObjId())
    tried = [(protocol, earlier)] + [
        (run, "of the run '%s' with the same model" % run.getObjLabel()) for run in others
    ]
    kinds = [ApbcProtScreen, ApbcProtPick]
    if not isinstance(protocol, ApbcProtScreen):
        kinds.reverse()
    for kind in kinds:
        for run, told in tried:
            if not isinstance(run, kind):
                continue
            if kind is ApbcProtPick:
                values, micrographs = picked_scores(run)
                if micrographs:
                    return Scores(values, micrographs, "candidates", "Candidates %s." % told, own)
            else:
                values = screened_scores(run)
                if len(values):
                    return Scores(values, 0, "particles", "Particles %s." % told, own)
    values, what = report_scores(_absolute(protocol, model.getPath()))
    if len(values):
        source = (
            "Candidates on micrographs that the training held out."
            if what == "candidates"
            else "Labels that the training held out: there are more bad ones among candidates."
        )
        return Scores(values, 0, what, source, own)
    return Scores(
        np.empty(0),
        0,
        "candidates",
        "No scores yet: run this once, and open the wizard again to see the histogram.",
        own,
    )


def _same_model(one, other):
    return (
        one is not None
        and one.getPath() is not None
        and os.path.abspath(one.getPath()) == os.path.abspath(other.getPath())
    )


def _absolute(protocol, path):
    """Path in the protocol's project."""
    return os.path.join(protocol.getProject().getPath(), path)
