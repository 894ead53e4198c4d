"""How the authors of DeepCryoPicker count right and false picks, beside our own rule.

The known particles are white discs in an otherwise black picture. A pick whose rounded centre is
white is right, all others are false, and what is missed is the difference of the particles and
the right picks, whichever are more. So several picks on one particle are all right, and make
up for particles that nobody picked; with more right picks than particles the surplus counts as
missed. The figures are for comparison with the paper, not for judging a picker.

Sources: Al-Azzawi et al. 2020, BMC Bioinformatics 21:509, doi:10.1186/s12859-020-03809-7, equations
1 to 4, and the code of AutoCryoPicker (Al-Azzawi 2019, BMC Bioinformatics 20:326).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Mapping

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from apbc.evaluation.figures import Figures, f1_score, rounded
from apbc.evaluation.reference import Particles

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AuthorsFigures:
    """Figures of one micrograph by the authors' rule.

    Attributes
    ----------
    name : str
    truth : int
        Known particles.
    true, false, missed : int
        TP, FP and FN of the paper; there are no true negatives.
    """

    name: str
    truth: int
    true: int
    false: int
    missed: int

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 without picks."""
        return _share(self.true, self.true + self.false)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 where nothing can be divided."""
        return _share(self.true, self.true + self.missed)

    @property
    def accuracy(self) -> float:
        """TP / (TP + FP + FN); 0 where nothing can be divided."""
        return _share(self.true, self.true + self.false + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return f1_score(self.precision, self.recall)


FIGURES = ("precision", "recall", "accuracy", "f1")


def on_discs(picks: FloatArray, centres: FloatArray, radius: float) -> BoolArray:
    """Tell picks whose rounded centre lies in a disc.

    Parameters
    ----------
    picks : ndarray, shape (n, 2) or more columns
        x, y in pixels first; rounded to whole pixels, halves up.
    centres : ndarray, shape (m, 2)
        Of the discs.
    radius : float
        Pixels; the rim belongs to the disc.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if not len(picks) or not len(centres):
        return np.zeros(len(picks), bool)
    pixels = np.floor(picks[:, :2] + 0.5)
    return np.asarray(cKDTree(centres).query(pixels)[0] <= radius)


def score_as_authors(
    figures: Figures, truth: Mapping[str, Particles], radius: float
) -> list[AuthorsFigures]:
    """Count by the authors' rule what was scored by ours.

    Parameters
    ----------
    figures : Figures
        Of `apbc.evaluation.figures.score_picks`, which has left out what is below the threshold,
        at the border, or of other micrographs.
    truth : mapping of str to Particles
    radius : float
        Half the particle diameter, in pixels.

    Returns
    -------
    list of AuthorsFigures
        By micrograph. Picks on hidden particles alone do not count, as by our rule.
    """
    rows = []
    for name, match in figures.matches.items():
        known = truth[name]
        white = on_discs(match.picks, known.xy[match.rows], radius)
        hidden = on_discs(match.picks, known.xy[~known.visible], radius)
        true, particles = int(white.sum()), len(match.rows)
        false = int((~white & ~hidden).sum())
        rows.append(AuthorsFigures(name, particles, true, false, abs(particles - true)))
    return rows


def authors_dict(rows: list[AuthorsFigures]) -> dict[str, Any]:
    """Figures as JSON knows them, rounded to four digits.

    Parameters
    ----------
    rows : list of AuthorsFigures
        At least one.

    Returns
    -------
    dict
        Means over the micrographs of precision, recall, accuracy and F1, and `per_micrograph`.
    """
    means = {key: float(np.mean([getattr(row, key) for row in rows])) for key in FIGURES}
    each = [{**asdict(row), **{key: getattr(row, key) for key in FIGURES}} for row in rows]
    return {**rounded(means), "per_micrograph": [rounded(row) for row in each]}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
