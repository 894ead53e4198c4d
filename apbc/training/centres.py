"""Where the particles of good labels have their centres, by the scores of a network.

Labels of a person, a picker or a 2D class lie a tenth of a diameter or more beside the centre of
their particle, each in another direction. A network that learnt from many of them peaks at what
they have in common, so its peak beside a label is a better centre than the label itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from apbc.dataset.labels import GOOD
from apbc.dataset.store import Dataset
from apbc.models.architecture import Architecture
from apbc.picking.peaks import find_peaks
from apbc.picking.score_map import ScoreMap, run_network

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

REACH = 0.25  # diameters from a label to the peak that is taken for its centre
LEAST = 0.0  # logit of that peak: more of a particle than of none
BATCH = 256  # crops


def can_centre(dataset: Dataset, arch: Architecture) -> bool:
    """Whether labels may move: crops of micrographs with logits beside their middle."""
    return dataset.provenance["source"] != "stacks" and arch.training_crop > arch.window


def label_centres(dataset: Dataset, network: keras.Model, arch: Architecture) -> FloatArray:
    """Positions of all labels, good ones moved onto the peak of the scores beside them.

    A label without such a peak, or without a crop, stays.

    Parameters
    ----------
    dataset : Dataset
    network : keras.Model
        That learnt from these labels.
    arch : Architecture

    Returns
    -------
    ndarray, shape (labels, 2)
        ``x, y`` in working pixels.
    """
    centres = dataset.working.astype(float)
    diameter = dataset.preprocessing.diameter_pixels
    shape = (dataset.crop_size, dataset.crop_size)
    positions = dataset.crops_of(None, (GOOD,))
    moved = []
    for i in range(0, len(positions), BATCH):
        some = positions[i : i + BATCH]
        maps = run_network(network, dataset.crops(some)).mean(axis=-1)
        for row, scores in zip(dataset.crop_rows[some], maps, strict=True):
            found = ScoreMap(scores, arch.stride, arch.first_cell)
            peaks, _ = find_peaks(found, shape, diameter, LEAST)
            # The middle of a crop is the pixel that the label lies in.
            peaks = peaks - dataset.crop_size // 2 + np.rint(centres[row])
            away = np.hypot(*(peaks - centres[row]).T)
            if len(away) and away.min() <= REACH * diameter:
                moved.append(away.min() / diameter)
                centres[row] = peaks[away.argmin()]
    if moved:
        logger.info(
            "%d of %d good labels lie beside a peak of the scores (median %.2f diameters) and are "
            "learnt from as centred there",
            len(moved),
            len(positions),
            float(np.median(moved)),
        )
    return centres
