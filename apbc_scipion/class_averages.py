"""Class averages of any program, read into memory."""

import logging
import os
from dataclasses import dataclass
from typing import Optional

import numpy as np

from apbc.errors import ApbcError
from apbc.io.mrc import mrc_layout
from apbc_scipion.convert import STACK_EXTENSIONS

logger = logging.getLogger(__name__)

# Attributes in which Relion's plugin and tools for assessing averages leave what they found.
# cryoSPARC's and Xmipp's plugins leave nothing beside the average.
RESOLUTIONS = ("_rlnEstimatedResolution",)
SCORES = ("_rlnPredictedClassScore", "_rlnClassScore", "_cmScore")


class ClassesError(Exception):
    """The classes cannot be shown; the message says why and what to do."""


@dataclass
class ClassAverage:
    """A class as the rule and the chooser see it.

    Attributes
    ----------
    classId, size : int
        Id in the set and number of particles.
    share : float
        Of all particles in the set's classes, 0 to 1.
    image : ndarray of float, shape (rows, columns), or None
        None where it cannot be read; `problem` says why.
    pixelSize : float
        Å.
    resolution : float or None
        Å, as the classification estimated it.
    score : float or None
        Of a class ranker, higher is better.
    problem : str
    """

    classId: int
    size: int
    share: float = 0.0
    image: Optional[np.ndarray] = None
    pixelSize: float = 1.0
    resolution: Optional[float] = None
    score: Optional[float] = None
    problem: str = ""


def read_averages(classes):
    """Read the class averages of a set.

    Parameters
    ----------
    classes : SetOfClasses2D

    Returns
    -------
    list of ClassAverage
        In the order of the set.

    Raises
    ------
    ClassesError
        If the set is empty, or not one average can be read.
    """
    stacks, averages = {}, []
    for item in classes.iterItems():
        average = ClassAverage(
            classId=item.getObjId(),
            size=item.getSize(),
            resolution=_number(item, RESOLUTIONS),
            score=_number(item, SCORES),
        )
        representative = item.getRepresentative()
        average.pixelSize = _pixelSize(item, representative, classes)
        try:
            average.image = _readImage(representative, stacks)
        except ClassesError as error:
            average.problem = str(error)
        averages.append(average)
    if not averages:
        raise ClassesError("The set of 2D classes is empty: choose another one, or classify again.")
    problems = [average.problem for average in averages if average.problem]
    if len(problems) == len(averages):
        raise ClassesError("No class average can be read. %s" % problems[0])
    for problem in problems[:3]:
        logger.warning(problem)
    total = sum(average.size for average in averages)
    for average in averages:
        average.share = average.size / total if total else 0.0
    return averages


def _readImage(representative, stacks):
    """Read one average, opening each stack once."""
    number, path = representative.getLocation() if representative is not None else (0, None)
    remedy = "Classify again, or mark the classes by their ids."
    if not path:
        raise ClassesError("The class has no average. " + remedy)
    if not os.path.exists(path):
        raise ClassesError("The class average %s is missing. %s" % (path, remedy))
    index = max(0, (number or 1) - 1)
    try:
        if path.lower().endswith(STACK_EXTENSIONS):
            if path not in stacks:
                stacks[path] = mrc_layout(path).map()
            stack = stacks[path]
            if index >= len(stack):
                raise ClassesError(
                    "%s holds %d averages, not %d. %s" % (path, len(stack), index + 1, remedy)
                )
            return np.array(stack[index], dtype=np.float32)
        return _readOther(index + 1, path)
    except ApbcError as error:
        raise ClassesError("%s. %s" % (error, remedy)) from error


def _readOther(number, path):
    """Read one average of a file that is not MRC, with Scipion's readers."""
    from pwem.emlib.image.image_readers import ImageReadersRegistry

    try:
        images = ImageReadersRegistry.open("%d@%s" % (number, path)).getImages()
        image = np.squeeze(np.asarray(images[0], dtype=np.float32))
    # The readers raise what their formats come with.
    except Exception as error:
        raise ClassesError(
            "The class average %d@%s cannot be read (%s)." % (number, path, error)
        ) from error
    if image.ndim != 2:
        raise ClassesError("%d@%s is not one image but %s." % (number, path, image.shape))
    return image


def _pixelSize(item, representative, classes):
    """Å per pixel of the average: its own, else that of the particles, else 1."""
    for holder in (representative, item, classes.getImages()):
        rate = holder.getSamplingRate() if holder is not None else None
        if rate:
            return float(rate)
    return 1.0


def _number(item, names):
    """First of several attributes that is there, as a number, or None."""
    for name in names:
        attribute = getattr(item, name, None)
        if attribute is not None and attribute.get() is not None:
            value = float(attribute.get())
            return value if np.isfinite(value) else None
    return None
