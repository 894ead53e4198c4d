"""Sizes of particles: measured on class averages, and the boxes that go with them."""

import numpy as np

from apbc.geometry import even
from apbc_scipion.class_averages import read_averages

BOX_RATIO = 1.5
MOST_CLASSES = 8
# Percentile of a ring of pixels: above the mean, so that long particles are measured by their
# long side.
RING_PERCENTILE = 90
# What a ring must hold of the range of the profile to belong to the particle.
EDGE = 0.05
SMALLEST_AVERAGE = 16
SMALLEST_RADIUS = 3
FACTORS = (2, 3, 5, 7)


def average_diameter(image):
    """Measure the diameter of the particle in a class average.

    The bright end of the pixels of each ring round the centre falls from inside to outside down
    to the background (with CTF, to the dark halo round the particle). The particle ends where it
    has fallen by 95 %.

    Parameters
    ----------
    image : ndarray, shape (n, n)
        The particle is white.

    Returns
    -------
    float or None
        Pixels; None where there is no fall: the average shows no particle in its middle.
    """
    image = np.asarray(image, float)
    size = min(image.shape)
    if size < SMALLEST_AVERAGE or not np.isfinite(image).all() or image.std() == 0:
        return None
    rows, columns = np.indices(image.shape)
    centre = (np.array(image.shape) - 1) / 2
    distance = np.hypot(rows - centre[0], columns - centre[1])
    radii = np.arange(size // 2)
    profile = np.array(
        [np.percentile(image[(distance >= r) & (distance < r + 1)], RING_PERCENTILE) for r in radii]
    )
    top = int(profile[: size // 4].argmax())
    bottom = top + int(profile[top:].argmin())
    level = profile[bottom] + EDGE * (profile[top] - profile[bottom])
    below = top + np.flatnonzero(profile[top:] <= level)
    if profile[top] <= profile[bottom] or not below.size:
        return None
    after = int(below[0])
    if after < SMALLEST_RADIUS:
        return None
    inside, outside = image[distance < after / 2], image[distance > after]
    if not outside.size or inside.mean() - outside.mean() < outside.std():
        return None
    # Between the middles of two rings, half a pixel outside of their inner edges.
    fall = (profile[after - 1] - level) / (profile[after - 1] - profile[after])
    return float(2 * (after - 1 + fall + 0.5))


def classes_diameter(classes, ids=()):
    """Measure the particle's diameter on the averages of 2D classes.

    Parameters
    ----------
    classes : SetOfClasses2D
    ids : collection of int, optional
        Of good classes. Without any the largest are taken.

    Returns
    -------
    diameter : float or None
        Median in Å.
    count : int
        Number of averages it was measured on.

    Raises
    ------
    apbc_scipion.class_averages.ClassesError
        If the set is empty, or not one average can be read.
    """
    averages = [
        average
        for average in read_averages(classes)
        if average.image is not None and (not ids or average.classId in ids)
    ]
    averages.sort(key=lambda average: -average.size)
    found = []
    for average in averages[:MOST_CLASSES]:
        diameter = average_diameter(average.image)
        if diameter:
            found.append(diameter * average.pixelSize)
    return (float(np.median(found)), len(found)) if found else (None, 0)


def good_box_size(pixels):
    """Nearest even size whose prime factors are 2, 3, 5 and 7: Fourier transforms of it are quick.

    Parameters
    ----------
    pixels : float

    Returns
    -------
    int
    """
    wanted = even(pixels)
    for away in range(0, wanted + 2, 2):
        for size in (wanted + away, wanted - away):
            if size >= 2 and is_quick(size):
                return size
    raise AssertionError("2 is quick")


def is_quick(size):
    """Tell whether a size is even and has small prime factors only.

    Parameters
    ----------
    size : int

    Returns
    -------
    bool
    """
    if size < 2 or size % 2:
        return False
    for factor in FACTORS:
        while size % factor == 0:
            size //= factor
    return size == 1
