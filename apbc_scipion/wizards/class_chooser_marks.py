"""Which classes are good, bad or left out, and the way back; knows no window."""

import numpy as np

from apbc_scipion.choose_classes import (
    BAD,
    GOOD,
    LEFT_OUT,
    choose_classes,
    describe_averages,
)
from apbc_scipion.wizards.particle_sizes import average_diameter

BY_SIZE, BY_SUGGESTION, BY_ID = "size", "suggestion", "id"
BY_RESOLUTION, BY_SCORE = "resolution", "score"

# Where nobody gave a diameter, it is measured on so many of the largest classes; else it is taken
# for this share of the box.
MEASURED, BOX_SHARE = 5, 2 / 3


class ClassMarks:
    """Marks of classes, from the rule or from a person.

    Parameters
    ----------
    averages : list of ClassAverage
    diameter : float or None
        Particle diameter in Å; None: guessed from the averages.

    Attributes
    ----------
    marks : dict of int to str
        "good", "bad" or "left out", by id of the class.
    diameter : float
        Å.
    guess : str
        How the diameter was guessed; "" where it was given.
    """

    def __init__(self, averages, diameter=None):
        self.averages = averages
        self.byId = {average.classId: average for average in averages}
        if diameter and diameter > 0:
            self.diameter, self.guess = float(diameter), ""
        else:
            self.diameter, self.guess = guess_diameter(averages)
        self._described = {
            item.classId: item for item in describe_averages(averages, self.diameter)
        }
        self._choice = choose_classes(self._described.values())
        self.marks = {classId: LEFT_OUT for classId in self.byId}
        self._past = []

    # ------------------------------- marking --------------------------------------
    def suggest(self):
        """Mark as the rule suggests."""
        self._set({classId: self._choice.word(classId) for classId in self.marks})

    def setLists(self, good, bad):
        """Mark from two sets of ids.

        Returns
        -------
        list of int
            Ids that no class has.
        """
        self._set(
            {
                classId: GOOD if classId in good else BAD if classId in bad else LEFT_OUT
                for classId in self.marks
            }
        )
        return sorted((set(good) | set(bad)) - set(self.marks))

    def mark(self, classId, word):
        """Mark one class; "good", "bad" or "left out"."""
        self._set({**self.marks, classId: word})

    def toggle(self, classId, word):
        """Mark one class, or leave it out if it has this mark already."""
        self.mark(classId, LEFT_OUT if self.marks[classId] == word else word)

    def undo(self):
        """Take the last change back; returns whether there was one."""
        if not self._past:
            return False
        self.marks = self._past.pop()
        return True

    def settle(self):
        """Make what is marked now the start, behind which `undo` does not go."""
        self._past.clear()

    def _set(self, marks):
        if marks != self.marks:
            self._past.append(self.marks)
            self.marks = marks

    # ------------------------------- telling --------------------------------------
    @property
    def doubt(self):
        """Why the suggestion as a whole is to be doubted, or ""."""
        return self._choice.doubt

    def suggested(self, classId):
        """Return what the rule suggests for a class."""
        return self._choice.word(classId)

    def reason(self, classId):
        """Tell the rule's reason for a class."""
        return self._choice.reasons[classId]

    def ids(self, word):
        """Return the ids of a mark, ascending."""
        return sorted(classId for classId, mark in self.marks.items() if mark == word)

    def count(self, word):
        """Count classes and particles of a mark."""
        ids = self.ids(word)
        return len(ids), sum(self.byId[classId].size for classId in ids)

    def orders(self):
        """List the orders that these classes can be put in."""
        orders = [BY_SIZE, BY_SUGGESTION, BY_ID]
        if any(average.resolution is not None for average in self.averages):
            orders.append(BY_RESOLUTION)
        if any(average.score is not None for average in self.averages):
            orders.append(BY_SCORE)
        return orders

    def order(self, by=BY_SIZE):
        """Return the ids in an order.

        Parameters
        ----------
        by : str
            One of `orders`. Best or largest first; those that lack the figure come last.
        """
        places = {GOOD: 0, LEFT_OUT: 1, BAD: 2}

        def key(average):
            classId = average.classId
            if by == BY_SUGGESTION:
                return places[self.suggested(classId)], -self._described[classId].detail, classId
            if by == BY_RESOLUTION and average.resolution is not None:
                return 0, average.resolution, classId
            if by == BY_SCORE and average.score is not None:
                return 0, -average.score, classId
            if by == BY_SIZE:
                return 0, -average.size, classId
            return (0 if by == BY_ID else 1), classId, classId

        return [average.classId for average in sorted(self.averages, key=key)]


def guess_diameter(averages):
    """Guess the particle's diameter from class averages.

    Parameters
    ----------
    averages : list of ClassAverage
        At least one has an image.

    Returns
    -------
    diameter : float
        Å.
    guess : str
        Where it comes from.
    """
    seen = [average for average in averages if average.image is not None]
    largest = sorted(seen, key=lambda average: -average.size)[:MEASURED]
    pixels = [(average_diameter(average.image), average.pixelSize) for average in largest]
    measured = [length * pixelSize for length, pixelSize in pixels if length]
    if measured:
        return float(np.median(measured)), "measured on the averages"
    return BOX_SHARE * min(seen[0].image.shape) * seen[0].pixelSize, "two thirds of the box"


def caption(average):
    """Two lines under a class average: id, size and share; resolution and score if known."""
    first = "%d: %d (%.1f %%)" % (average.classId, average.size, 100 * average.share)
    second = []
    if average.resolution is not None:
        second.append("%.1f Å" % average.resolution)
    if average.score is not None:
        second.append("score %.2f" % average.score)
    return first, "  ".join(second)


def format_ids(ids):
    """Ids as the form takes them, for example "1,3-5"; `convert.parse_ids` reads it.

    Parameters
    ----------
    ids : iterable of int
    """
    parts, ids = [], sorted(set(ids))
    start = None
    for place, number in enumerate(ids):
        if start is None:
            start = number
        if place + 1 == len(ids) or ids[place + 1] != number + 1:
            parts.append(str(start) if start == number else "%d-%d" % (start, number))
            start = None
    return ",".join(parts)
