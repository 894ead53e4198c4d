"""What a person looks at and changes in the picks viewer; knows no window."""

from collections import OrderedDict

import numpy as np

from apbc.display.thumbnail import read_thumbnail
from apbc.evaluation.expected import expected_precision, threshold_for_precision
from apbc.io.images import micrograph_info
from apbc_scipion.pick_sources import NO_PICKS, erased_mask
from apbc_scipion.viewers.picks_figure import Selection

KEPT_MICROGRAPHS = 200
ADDED, ERASED = "added", "erased"


class PicksReview:
    """Picks of a source at a threshold, with what was added and erased by hand.

    Parameters
    ----------
    source : PickSource
    cache : str, optional
        Folder for thumbnails.

    Attributes
    ----------
    problems : dict of str to str
        Why the picks of a micrograph cannot be read, by its label.
    """

    def __init__(self, source, cache=None):
        self.source = source
        self.cache = cache
        self.labels = source.getLabels()
        self.threshold = source.threshold
        self.problems = {}
        self._picks = OrderedDict()
        self._disagreement = {}
        self._scores = {}
        self._sorted = None
        self._edits = []
        self._earlier = []

    # ------------------------------- reading -------------------------------------
    def refresh(self):
        """Look for micrographs that were picked since; returns whether there are new ones."""
        self.source.refresh()
        labels = self.source.getLabels()
        new = len(labels) > len(self.labels)
        self.labels = labels
        return new

    def isLoaded(self):
        """Tell whether the scores of all micrographs are known."""
        return all(label in self._scores for label in self.labels)

    def load(self):
        """Read the scores of the micrographs, one a step, for the counts of the whole set.

        Yields
        ------
        int
            Number of micrographs that are read.
        """
        for label in list(self.labels):
            if label not in self._scores:
                self.getPicks(label)
                yield len(self._scores)

    def getPicks(self, label):
        """Give the picks of a micrograph, shape (n, 3); none (and a problem) if damaged."""
        picks = self._picks.pop(label, None)
        if picks is None:
            try:
                picks = self.source.getPicks(label)
                self._disagreement[label] = self.source.getDisagreement(label)
            except (OSError, ValueError) as error:
                self.problems[label] = "%s" % error
                picks, self._disagreement[label] = NO_PICKS, None
            if label not in self._scores:
                self._scores[label] = np.sort(picks[:, 2])
                self._sorted = None
        self._picks[label] = picks
        if len(self._picks) > KEPT_MICROGRAPHS:
            earliest, _ = self._picks.popitem(last=False)
            del self._disagreement[earliest]
        return picks

    def getThumbnail(self, label):
        """Micrograph at display size."""
        return read_thumbnail(self.source.getPath(label), self.cache)

    # ------------------------------- scores ---------------------------------------
    def hasScores(self):
        """Tell whether the picks that are known have scores."""
        return self.threshold is not None

    def getScores(self):
        """Scores of all candidates that were read, ascending; none without scores."""
        if self._sorted is None:
            parts = [scores for scores in self._scores.values() if len(scores)]
            pooled = np.concatenate(parts) if parts else np.empty(0)
            self._sorted = np.sort(pooled[np.isfinite(pooled)])
        return self._sorted

    def getLimits(self):
        """Lowest and highest score to show: 0 and 1 for probabilities."""
        scores = self.getScores()
        if self.source.calibrated or not len(scores):
            return 0.0, 1.0
        low, high = float(scores[0]), float(scores[-1])
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def getExpectedPrecision(self):
        """Precision that calibrated scores promise at the threshold, or None."""
        if not self.source.calibrated or not self.hasScores():
            return None
        return expected_precision(self.getScores(), self.threshold)

    def getThresholdFor(self, precision):
        """Threshold whose candidates promise a precision, or None."""
        if not self.source.calibrated:
            return None
        return threshold_for_precision(self.getScores(), precision)

    # ------------------------------- selections -----------------------------------
    def getSelection(self, label):
        """Sort the picks of a micrograph by the threshold.

        Returns
        -------
        Selection
        """
        source, picks = self.source, self.getPicks(label)
        border = None
        if source.edge > 0 and source.hasReference():
            border = micrograph_info(source.getPath(label)).shape, source.edge
        return Selection(
            picks,
            self.threshold,
            self.getAdded(label),
            self._getErasedMask(label, picks),
            source.getReference(label) if source.hasReference() else None,
            source.diameter / source.pixelSize / 2,
            border,
            source.getHidden(label) if source.hasReference() else None,
            self._disagreement[label],
        )

    def count(self):
        """Numbers of picks and of candidates of the micrographs that were read."""
        kept = total = sum(len(scores) for scores in self._scores.values())
        if self.hasScores():
            kept -= int(np.searchsorted(self.getScores(), self.threshold))
        for kind, _, pick in self._edits:
            if kind == ADDED:
                kept += 1
                total += 1
            elif not self.hasScores() or not pick[2] < self.threshold:
                kept -= 1
        return kept, total

    def compare(self):
        """Compare all micrographs with the reference, one a step.

        Yields
        ------
        (float, float)
            Mean precision and mean recall of the micrographs so far.
        """
        precision, recall = [], []
        for label in self.labels:
            selection = self.getSelection(label)
            precision.append(selection.precision)
            recall.append(selection.recall)
            yield float(np.mean(precision)), float(np.mean(recall))

    # ------------------------------- edits -----------------------------------------
    def add(self, label, x, y, score=None):
        """Add a pick by hand; `score` is None where none is known."""
        value = float("nan") if score is None else float(score)
        self._earlier.append((label, list(self._edits)))
        self._edits.append((ADDED, label, (float(x), float(y), value)))

    def erase(self, label, x, y, reach):
        """Erase the nearest pick within a reach (pixels); returns whether there was one."""
        selection = self.getSelection(label)
        there = np.concatenate([selection.accepted, selection.added])
        if not len(there):
            return False
        distances = np.hypot(there[:, 0] - x, there[:, 1] - y)
        nearest = int(np.argmin(distances))
        if distances[nearest] > reach:
            return False
        pick = tuple(float(value) for value in there[nearest])
        self._earlier.append((label, list(self._edits)))
        if nearest >= len(selection.accepted):
            self._edits = [
                edit
                for edit in self._edits
                if edit[:2] != (ADDED, label) or edit[2][:2] != pick[:2]
            ]
        else:
            self._edits.append((ERASED, label, pick))
        return True

    def undo(self):
        """Take the last change back; returns the label of its micrograph, or None."""
        if not self._earlier:
            return None
        label, self._edits = self._earlier.pop()
        return label

    def getAdded(self, label):
        """Give the picks that were added by hand, shape (n, 3)."""
        rows = [pick for kind, where, pick in self._edits if kind == ADDED and where == label]
        return np.array(rows, float).reshape(-1, 3)

    def getEdits(self):
        """Tell what was added and erased, as the protocol *create coordinates* reads it.

        Returns
        -------
        dict
            ``{"added": {label: [[x, y, score or None]]}, "erased": {label: [[x, y]]}}``
        """
        edits = {ADDED: {}, ERASED: {}}
        for kind, label, (x, y, score) in self._edits:
            row = [x, y]
            if kind == ADDED:
                row.append(score if np.isfinite(score) else None)
            edits[kind].setdefault(label, []).append(row)
        return edits

    def _getErasedMask(self, label, picks):
        rows = [pick[:2] for kind, where, pick in self._edits if kind == ERASED and where == label]
        return erased_mask(picks, rows)
