"""The cores that a computation may use."""

from __future__ import annotations

import os


def workers() -> int:
    """Threads for a computation: ``OMP_NUM_THREADS``, else the cores this process may use."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
