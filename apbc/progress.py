"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """Yield the items and report how many are done.

    On a terminal a tqdm bar is drawn; elsewhere (Scipion's logs, a queue) one
    plain line with done/total and the time left is logged every few seconds and
    at the end.

    Parameters
    ----------
    items : iterable
    total : int
        How many items there are.
    what : str
        Name of one item, in the plural: ``"micrographs"``.

    Yields
    ------
    object
        The items, in order.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit="")
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or done == total:
            last = now
            left = (now - start) / done * (total - done)
            logger.info("%s: %d/%d done, %.0f s left", what, done, total, left)
