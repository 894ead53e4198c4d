"""Checks of the numbers in forms.

Those of Scipion end with an exception where a field was emptied, and do not tell their limit.
"""

from pyworkflow.protocol import params


class Number(params.Conditional):
    """Refuse a number for which a condition does not hold, and a field without one.

    Parameters
    ----------
    condition : callable
        Tells whether a number is right.
    error : str
        What it must be; the label of the field stands before.
    """

    def __init__(self, condition, error):
        params.Conditional.__init__(self, error)
        self._condition = lambda value: value is not None and condition(value)


GIVEN = Number(lambda value: True, "must be given.")
POSITIVE = Number(lambda value: value > 0, "must be above 0.")
NOT_BOTH = "Give a threshold or a precision that it is to promise, not both: -1 for the other."
# Of what a threshold is to promise; -1 asks for nothing.
PRECISION = Number(
    lambda value: value == -1 or 0 < value < 1, "must lie between 0 and 1, or be -1."
)


def at_least(least):
    """Make a check that a number is not below a limit."""
    return Number(lambda value: value >= least, "must be %s or more." % least)


def within(least, most, error=None):
    """Make a check that a number lies between two others, or is one of them."""
    return Number(
        lambda value: least <= value <= most,
        error or "must lie between %s and %s." % (least, most),
    )
