"""What may be set for picking, and the names of what it writes."""

from __future__ import annotations

from dataclasses import dataclass

CANDIDATES = "candidates"
MAPS = "maps"
FORMATS = ("csv", "star", "box")
DEFAULT_FLOOR = 0.01


@dataclass(frozen=True)
class PickOptions:
    """What the user may set for picking.

    Attributes
    ----------
    threshold : float
        Candidates from this score on are exported.
    precision : float, optional
        Share of particles among the exported that the threshold is to promise; it
        is then chosen when all candidates are known, and `threshold` is what is
        taken where none can promise that.
    floor : float
        Lowest score of a candidate.
    formats : tuple of str
        Of ``"csv"``, ``"star"``, ``"box"``.
    resume : bool
        Leave out micrographs that are done.
    pixel_size : float, optional
        Å per pixel of the micrographs, over their headers.
    tile : int, optional
        Largest side, in working pixels, that goes through the network at once; what
        the memory holds when left out.
    maps : bool
        Write score maps, too.
    every_window : bool
        Of a classifier: cut out every window, which takes minutes a micrograph.
    """

    threshold: float
    precision: float | None = None
    floor: float = DEFAULT_FLOOR
    formats: tuple[str, ...] = FORMATS
    resume: bool = False
    pixel_size: float | None = None
    tile: int | None = None
    maps: bool = True
    every_window: bool = False
