"""Suggest good and bad 2D classes by a written rule.

The rule sees what the classes of every program have: the number of particles and the average. It
has no trained weights, and it is a suggestion: a person who looks at the averages knows better.

*What is measured.* A circle of the particle's diameter is laid on the middle of the average, or,
where the average is round about another point, there (programs that do not centre leave round
particles beside the middle). Grey values count from the median outside the circle.

- **contrast**: root mean square inside the circle over that outside. Averages of particles stand
  out; averages of carbon, edges and aligned noise go on outside.
- **beside**: the strongest spot outside the circle over the strongest inside (both smoothed over
  an eighth of the radius). Neighbours, edges and streaks make it 1 and more.
- **detail**: the share of the variance inside the circle that is finer than half a diameter, less
  what is as fine outside, which is taken for noise. Blobs of noise that were aligned with each
  other have none; averages of particles with sharp alignment have most of their variance there.

*The rule*, class by class:

1. A class of fewer than `SMALLEST` particles, or without an average, is left out: its average is
   mostly noise.
2. A class whose average is empty is bad.
3. A class is *crowded* if beside is `CROWDED` or more, or contrast less than `LEAST_CONTRAST`.
4. The scale of detail is the best of the classes that are not crowded and hold at least the mean
   number of particles (of all that are not crowded, if none of these is so large).
5. If all classes are crowded, all are left out: the diameter may be wrong.
6. A class of contrast less than `LEAST_CONTRAST`, and any other crowded class, is bad, but left out
   if its detail is at least `DOUBTFUL_DETAIL` of the scale: particles with neighbours look so.
7. If the scale is less than `ENOUGH_DETAIL`, the averages are blobs, and blobs of particles and of
   noise look the same, with and without something beside them: all classes are left out but those
   of contrast less than `LEAST_CONTRAST`.
8. Otherwise classes that are not crowded are good from `GOOD_DETAIL` of the scale on, bad below
   `BAD_DETAIL` of it, and left out between.

Where nobody can be asked (`unattended`), a training still needs examples of both kinds:

9. If no class is good, contrast decides: of the best, `GOOD_CONTRAST` makes a class good that is
   not crowded, and less than `BAD_CONTRAST` makes it bad; crowded classes are bad.
10. If the bad classes hold fewer than `ENOUGH_BAD` particles, those of the lowest contrast that are
    not good and have an average join them, small ones too, until they do.
"""

from dataclasses import dataclass, field
from typing import Dict, List

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from apbc_scipion.class_averages import read_averages

SMALLEST = 10
CROWDED = 0.8
LEAST_CONTRAST = 1.4
ENOUGH_DETAIL = 0.1
GOOD_DETAIL, DOUBTFUL_DETAIL, BAD_DETAIL = 0.6, 0.5, 0.3
GOOD_CONTRAST, BAD_CONTRAST = 0.6, 0.45
ENOUGH_BAD = 40

GOOD, BAD, LEFT_OUT = "good", "bad", "left out"

# The circle keeps this share of the half box at most, so that there is something outside.
LARGEST_CIRCLE = 0.84
# Radii from the middle within which the circle may lie, and how round an average must be there
# (share of its variance that a round average would not have).
FARTHEST, ROUND = 0.6, 0.4
# Pixels along the radius that suffice; larger averages are binned.
RADIUS_PIXELS = 20
# Standard deviation, in radii, of the Gaussian that passes half at a wavelength of one radius.
HALF_DIAMETER = 0.19
SPOT = 0.125


@dataclass
class ClassDescription:
    """What the rule looks at; the module's text tells what each figure is.

    Attributes
    ----------
    classId, size : int
    contrast, detail, beside : float
    problem : str
        Why there is no figure: "empty", or what hindered reading; "" where there are figures.
    """

    classId: int
    size: int
    contrast: float = 0.0
    detail: float = 0.0
    beside: float = 0.0
    problem: str = ""

    @property
    def crowded(self):
        """Whether there is as much outside the circle as inside."""
        return self.beside >= CROWDED or self.contrast < LEAST_CONTRAST


@dataclass
class Choice:
    """What the rule suggests.

    Attributes
    ----------
    good, bad : list of int
        Ids of classes, ascending.
    reasons : dict of int to str
        Why, by id of the class.
    doubt : str
        Why the suggestion as a whole is to be doubted, or "".
    """

    good: List[int]
    bad: List[int]
    reasons: Dict[int, str] = field(default_factory=dict)
    doubt: str = ""

    def word(self, classId):
        """Return "good", "bad" or "left out"."""
        if classId in self.good:
            return GOOD
        return BAD if classId in self.bad else LEFT_OUT


EMPTY = "empty"
ALL_CROWDED = "In every class there is as much outside the circle as inside. Is the diameter right?"
ALL_BLOBS = (
    "No average shows detail finer than half a diameter: blobs of particles and of noise "
    "look the same. Look at the micrographs before you call such a class good."
)


def choose_classes(descriptions, unattended=False):
    """Apply the rule.

    Parameters
    ----------
    descriptions : iterable of ClassDescription
    unattended : bool, optional
        Nobody looks at the suggestion: find good and bad classes at any rate.

    Returns
    -------
    Choice
    """
    descriptions = list(descriptions)
    told = [item for item in descriptions if item.size >= SMALLEST and not item.problem]
    scale = _scaleOf(told)
    words, reasons = {}, {}
    for item in descriptions:
        words[item.classId], reasons[item.classId] = _judge(item, scale)
    doubt = ""
    if told and scale is None:
        doubt = ALL_CROWDED
    elif told and scale < ENOUGH_DETAIL:
        doubt = ALL_BLOBS
    if unattended:
        _force(descriptions, told, words, reasons)
    return Choice(
        sorted(n for n, word in words.items() if word == GOOD),
        sorted(n for n, word in words.items() if word == BAD),
        reasons,
        doubt,
    )


def _scaleOf(told):
    """Best detail among large classes that are not crowded; None if all are crowded."""
    alone = [item for item in told if not item.crowded]
    mean = sum(item.size for item in told) / max(1, len(told))
    large = [item for item in alone if item.size >= mean]
    return max((item.detail for item in large or alone), default=None)


def _judge(item, scale):
    """Word and reason of one class."""
    if item.size < SMALLEST:
        return LEFT_OUT, "only %d particles, too few to tell" % item.size
    if item.problem:
        return (BAD, "its average is empty") if item.problem == EMPTY else (LEFT_OUT, item.problem)
    figures = "contrast %.1f, detail %.0f %%, beside %.2f" % (
        item.contrast,
        100 * item.detail,
        item.beside,
    )
    if scale is None:
        word, reason = LEFT_OUT, "as much outside the circle as inside, as in all classes"
    elif item.crowded and scale >= ENOUGH_DETAIL and item.detail >= DOUBTFUL_DETAIL * scale:
        word, reason = LEFT_OUT, "detailed, but with something beside it"
    elif item.contrast < LEAST_CONTRAST:
        word, reason = BAD, "hardly more inside the circle than outside"
    elif item.crowded and scale < ENOUGH_DETAIL:
        word, reason = LEFT_OUT, "a blob with something beside it"
    elif item.crowded:
        word, reason = BAD, "something outside the circle is as strong as inside"
    elif scale < ENOUGH_DETAIL:
        word, reason = LEFT_OUT, "a blob that stands alone, as noise can make it too"
    elif item.detail >= GOOD_DETAIL * scale:
        word, reason = GOOD, "stands alone and shows detail"
    elif item.detail < BAD_DETAIL * scale:
        word, reason = BAD, "without the detail that other classes show"
    else:
        word, reason = LEFT_OUT, "less detail than the best classes"
    return word, "%s (%s)" % (reason, figures)


def _force(descriptions, told, words, reasons):
    """Find good and bad classes where the rule left too many out (clauses 9 and 10)."""
    if GOOD not in words.values():
        alone = [item for item in told if not item.crowded] or told
        best = max((item.contrast for item in alone), default=0)
        for item in told:
            if item in alone and item.contrast >= GOOD_CONTRAST * best:
                words[item.classId] = GOOD
                reasons[item.classId] += "; taken, as no class is better"
            elif item.crowded or item.contrast < BAD_CONTRAST * best:
                words[item.classId] = BAD
    for item in sorted(descriptions, key=lambda item: item.contrast):
        held = sum(other.size for other in descriptions if words[other.classId] == BAD)
        if held >= ENOUGH_BAD:
            break
        if words[item.classId] == LEFT_OUT and not item.problem:
            words[item.classId] = BAD
            reasons[item.classId] += "; taken, as there are too few bad particles"


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
    return describe_averages(read_averages(classes), diameter)


def describe_averages(averages, diameter):
    """Describe classes whose averages have been read.

    Parameters
    ----------
    averages : list of ClassAverage
    diameter : float
        Particle diameter in Å.

    Returns
    -------
    list of ClassDescription
    """
    return [
        describe_average(
            average.image,
            diameter / 2 / average.pixelSize,
            average.classId,
            average.size,
            average.problem,
        )
        for average in averages
    ]


def describe_average(image, radius, classId=0, size=0, problem=""):
    """Measure one class average.

    Parameters
    ----------
    image : ndarray of float, shape (rows, columns), or None
    radius : float
        Radius of the particle in pixels of the average.
    classId, size : int, optional
    problem : str, optional
        Why there is no image.

    Returns
    -------
    ClassDescription
    """
    told = ClassDescription(classId, size, problem=problem)
    if image is None:
        return told
    image = np.asarray(image, float)
    radius = min(radius, LARGEST_CIRCLE * min(image.shape) / 2)
    if min(image.shape) < 8 or radius < 2:
        told.problem = "its average is too small to tell (%d x %d pixels)" % image.shape
    elif not np.isfinite(image).all():
        told.problem = "its average has pixels that are no numbers"
    elif np.ptp(image) <= 1e-6 * np.abs(image).max():
        told.problem = EMPTY
    else:
        factor = max(1, int(radius / RADIUS_PIXELS))
        told.contrast, told.detail, told.beside = _measure(_bin(image, factor), radius / factor)
    return told


def _bin(image, factor):
    """Mean over squares of pixels; what does not fill a square is cut off evenly."""
    rows, columns = (side // factor * factor for side in image.shape)
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    cut = image[top : top + rows, left : left + columns]
    return cut.reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))


def _measure(image, radius):
    """Contrast, detail and beside of an average that is not empty."""
    middle = (np.array(image.shape) - 1) / 2
    distance = _distances(image.shape, middle)
    # The corners are empty in many averages.
    field = distance <= min(image.shape) / 2
    signal = (image - np.median(image[field & (distance > 1.1 * radius)])) * field
    distance = _distances(image.shape, _centreOf(signal, radius, field, middle))
    inside, outside = field & (distance <= radius), field & (distance > 1.1 * radius)
    # What Fourier transforms and means leave of an exact zero.
    dust = 1e-6 * np.mean(signal**2)
    contrast = np.sqrt(_power(signal, inside) / (_power(signal, outside) + dust))
    fine = signal - gaussian_filter(signal, HALF_DIAMETER * radius)
    detail = (_power(fine, inside) - _power(fine, outside)) / (np.var(signal[inside]) + dust)
    spots = np.abs(gaussian_filter(signal, SPOT * radius))
    beside = spots[outside].max() / (spots[inside].max() + np.sqrt(dust))
    return float(contrast), float(max(0.0, detail)), float(beside)


def _power(image, where):
    return np.mean(image[where] ** 2)


def _distances(shape, centre):
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1])


def _centreOf(signal, radius, field, middle):
    """Centre of the circle: the middle, or the point about which the average is round."""
    reach = int(np.ceil(radius))
    disc = _distances((2 * reach + 1, 2 * reach + 1), (reach, reach)) <= radius
    held = fftconvolve(signal**2, disc.astype(float), mode="same")
    held[_distances(signal.shape, middle) > FARTHEST * radius] = 0
    # The middle of all places that are as good: a blob smaller than the circle has many.
    centre = np.argwhere(held >= 0.95 * held.max()).mean(axis=0)
    return centre if _unroundness(signal, radius, field, centre) < ROUND else middle


def _unroundness(signal, radius, field, centre):
    """Share of the variance in the circle that a round average would not have."""
    distance = _distances(signal.shape, centre)
    inside = field & (distance <= radius)
    ring = np.round(distance[inside]).astype(int)
    values = signal[inside]
    means = np.bincount(ring, values) / np.maximum(np.bincount(ring), 1)
    return np.var(values - means[ring]) / max(np.var(values), 1e-30)
