"""Choose good and bad 2D classes by a written rule.

A class average of true particles has signal inside the particle's circle and little outside.
The average of picks that are no particles (ice, edges, noise) is flat, or as bright outside as
inside. So each class gets a *contrast*: the root mean square of the average inside the particle's
circle over that in the ring round it.

The rule, over (size, contrast):

1. classes with fewer than `SMALLEST` particles decide nothing: they are left out;
2. the good classes are those whose contrast is at least `GOOD_SHARE` of the best contrast among
   classes of at least the mean size;
3. the bad classes are those whose contrast is below `BAD_SHARE` of it;
4. what is in between is doubtful and left out;
5. if the bad classes hold fewer than `ENOUGH` particles, those of the lowest contrast that are not
   good join them, small ones too, until they do: a training needs examples of both kinds.
"""

from dataclasses import dataclass
from typing import List

import numpy as np

SMALLEST = 10
GOOD_SHARE = 0.6
BAD_SHARE = 0.45
ENOUGH = 40


@dataclass
class ClassDescription:
    """What the rule looks at."""

    classId: int
    size: int
    contrast: float


@dataclass
class Choice:
    """Ids of good and of bad classes, in ascending order."""

    good: List[int]
    bad: List[int]

    def word(self, classId):
        """Return "good", "bad" or "left out"."""
        if classId in self.good:
            return "good"
        return "bad" if classId in self.bad else "left out"


def choose_classes(descriptions, goodShare=GOOD_SHARE, badShare=BAD_SHARE, smallest=SMALLEST):
    """Apply the rule.

    Parameters
    ----------
    descriptions : iterable of ClassDescription
    goodShare, badShare : float, optional
        Shares of the best contrast that separate good, doubtful and bad.
    smallest : int, optional
        Classes with fewer particles are left out.

    Returns
    -------
    Choice
    """
    every = list(descriptions)
    descriptions = [item for item in every if item.size >= smallest]
    if not descriptions:
        return Choice([], [])
    mean = sum(item.size for item in descriptions) / len(descriptions)
    best = max(item.contrast for item in descriptions if item.size >= mean)
    good = [item for item in descriptions if item.contrast >= goodShare * best]
    bad = [item for item in descriptions if item.contrast < badShare * best]
    rest = [item for item in every if item not in good and item not in bad]
    for item in sorted(rest, key=lambda item: item.contrast):
        if sum(other.size for other in bad) >= ENOUGH:
            break
        bad.append(item)
    return Choice(sorted(item.classId for item in good), sorted(item.classId for item in bad))


def contrast_of(average, radius):
    """Contrast of a class average.

    Parameters
    ----------
    average : ndarray, shape (n, n)
    radius : float
        Radius of the particle in pixels of the average.

    Returns
    -------
    float
        Root mean square inside the circle over that in the ring round it, both about the
        ring's median; 0 for a flat average.
    """
    average = np.asarray(average, float)
    rows, columns = np.indices(average.shape)
    centre = (np.array(average.shape) - 1) / 2
    distance = np.hypot(rows - centre[0], columns - centre[1])
    inside = average[distance <= radius]
    ring = average[(distance > 1.1 * radius) & (distance <= average.shape[0] / 2)]
    if ring.size < 8 or average.std() == 0:
        return 0.0
    background = np.median(ring)
    noise = np.mean((ring - background) ** 2) + 1e-6 * average.var()
    return float(np.sqrt(np.mean((inside - background) ** 2) / noise))


def describe_classes(classes, diameter):
    """Describe the classes of a set.

    Parameters
    ----------
    classes : SetOfClasses2D
    diameter : float
        Particle diameter in Å.

    Returns
    -------
    list of ClassDescription
    """
    from pwem.emlib.image.image_readers import ImageReadersRegistry

    descriptions = []
    for item in classes.iterItems():
        average = item.getRepresentative()
        number, stack = average.getLocation()
        image = np.squeeze(ImageReadersRegistry.open("%d@%s" % (number, stack)).getImages()[0])
        rate = average.getSamplingRate() or classes.getSamplingRate()
        descriptions.append(
            ClassDescription(
                item.getObjId(), item.getSize(), contrast_of(image, diameter / 2 / rate)
            )
        )
    return descriptions
