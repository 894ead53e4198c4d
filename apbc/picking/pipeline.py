"""Micrographs one after the other: the next is prepared while one is in the network."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from apbc.display.score_picture import write_score_picture
from apbc.errors import ApbcError
from apbc.geometry import box_size_for
from apbc.io.coordinates import write_coordinates
from apbc.io.ctf import Ctf
from apbc.io.images import MicrographInfo, read_micrograph
from apbc.models.architecture import CLASSIFIERS
from apbc.models.folder import Model
from apbc.picking.export import Found, candidate_file, export
from apbc.picking.options import MAPS, PickOptions
from apbc.picking.peaks import find_peaks
from apbc.picking.score_map import SMALLEST_TILE, TILE, ScoreMap, score_map
from apbc.preprocess.working import WorkingImage

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Micrographs that one process picks, and what it needs to know of them.

    Attributes
    ----------
    infos : list of MicrographInfo
    pixel_size : float
        Å per pixel of the micrographs.
    out : Path
    options : PickOptions
    ctfs : dict of str to Ctf
        By the name of the micrograph; empty for models of unflipped micrographs.
    """

    infos: Sequence[MicrographInfo]
    pixel_size: float
    out: Path
    options: PickOptions
    ctfs: dict[str, Ctf]


@dataclass(frozen=True)
class Done:
    """What became of a micrograph.

    Attributes
    ----------
    name : str
    device : str
        What the network ran on.
    candidates, exported : int
        Numbers of candidates and of exported picks.
    failure : str, optional
        Why there are none.
    """

    name: str
    device: str
    candidates: int = 0
    exported: int = 0
    failure: str | None = None


@dataclass(frozen=True)
class Scored:
    """A micrograph that was in the network: how to find its candidates, and draw its map."""

    find: Callable[[], Found]
    draw: Callable[[Path], None]


Score = Callable[[], Scored]


def pick_share(
    model: Model, device: str, share: Share, tile: int = TILE
) -> Generator[Done, None, None]:
    """Find and write the candidates of micrographs, and export them where that is settled.

    While the network is on one micrograph, the next is read and brought to working
    scale, and the files of the one before are written; so at most one whole
    micrograph is in memory.

    Parameters
    ----------
    model : Model
    device : str
        Name of what the network runs on.
    share : Share
    tile : int, optional
        Largest side, in working pixels, that goes through the network at once.

    Yields
    ------
    Done
        For each micrograph, in order but for failures, when its files are there.
    """
    diameter = model.preprocessing.diameter
    prepare = partial(
        _of_shapes if model.architecture.name in CLASSIFIERS else _of_places, model, share, tile
    )
    with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as after:
        infos = list(share.infos)
        prepared = before.submit(prepare, infos[0]) if infos else None
        written: Future[Done] | None = None
        for info, following in zip(infos, [*infos[1:], None], strict=True):
            assert prepared is not None
            ready, prepared = prepared, before.submit(prepare, following) if following else None
            try:
                score = ready.result()
                del ready
                scored = score()
            except (ApbcError, MemoryError, OSError) as error:
                reason = str(error) or "the memory is full"
                logger.error("%s failed: %s", info.name, reason)
                yield Done(info.name, device, failure=reason)
                continue
            if written:
                yield written.result()
            written = after.submit(_write, device, share, diameter, info.name, scored)
        if written:
            yield written.result()


def candidate_scores(model: Model, work: WorkingImage, tile: int = TILE) -> ScoreMap:
    """Score map of a working image, in smaller tiles where the memory does not hold them.

    Raises
    ------
    ApbcError
        If the image is smaller than two particles.
    MemoryError
        If the memory does not hold the smallest tile.
    """
    if min(work.pixels.shape) < 2 * model.preprocessing.diameter_pixels:
        raise ApbcError(
            f"it is smaller than two particle diameters ({work.pixels.shape[1]} x "
            f"{work.pixels.shape[0]} pixels of {model.preprocessing.pixel_size:.1f} Å); check its "
            "pixel size"
        )
    network, arch = model.network, model.architecture
    pixels = work.pixels
    return _in_tiles(
        lambda side: score_map(network, arch, pixels, side), pixels.shape, tile, SMALLEST_TILE
    )


def _in_tiles(score: Callable[[int], T], shape: tuple[int, ...], tile: int, smallest: int) -> T:
    """Score with tiles of a side, in smaller ones where the memory does not hold them."""
    while True:
        try:
            return score(tile)
        except MemoryError as error:
            tile = min(tile, max(shape)) // 2
            if tile < smallest:
                raise MemoryError("the memory does not hold the smallest tile") from error
            logger.warning("the memory is short: going on in tiles of %d pixels", tile)


def candidates(model: Model, work: WorkingImage, scores: ScoreMap, floor: float) -> FloatArray:
    """Candidates of a working image.

    Returns
    -------
    ndarray, shape (n, 3) or (n, 4)
        ``x, y`` in pixels of the micrograph and the calibrated score, best first; of
        an ensemble also the standard deviation of its members' calibrated scores.
    """
    calibration = model.calibration
    xy, raw = find_peaks(
        scores, work.pixels.shape, model.preprocessing.diameter_pixels, calibration.score(floor)
    )
    columns = [work.to_micrograph(xy), calibration.probability(raw)]
    if scores.members is not None:
        columns.append(calibration.probability(scores.members_at(xy)).std(axis=1))
    return np.column_stack(columns)


def _of_places(model: Model, share: Share, tile: int, info: MicrographInfo) -> Score:
    """Read a micrograph and bring it to working scale, for a model of good against bad."""
    work = model.preprocessing.working_image(
        read_micrograph(info.path), share.pixel_size, share.ctfs.get(info.name)
    )

    def score() -> Scored:
        scores = candidate_scores(model, work, tile)

        def find() -> Found:
            found = candidates(model, work, scores, share.options.floor)
            return Found(found[:, :2], found[:, 2], found[:, 3] if found.shape[1] > 3 else None)

        return Scored(find, lambda path: write_map(path, model, work, scores))

    return score


def _of_shapes(model: Model, share: Share, tile: int, info: MicrographInfo) -> Score:
    """Read a micrograph and prepare it for a classifier of shapes, as its training was."""
    # Here, as the stages and areas take half a second to import
    from apbc.picking.shapes import particle_probability, shape_candidates
    from apbc.picking.windows import SMALLEST_TILE, slide, slide_one_by_one, window_image

    pixels, card, options = read_micrograph(info.path), model.card, share.options
    image = window_image(pixels, share.pixel_size, card["box"], card["detection"])

    def score() -> Scored:
        if options.every_window:
            seen = slide_one_by_one(model.network, image, len(card["classes"]))
        else:
            seen = _in_tiles(
                lambda side: slide(model.sliding, image, side),
                image.shape,
                tile,
                SMALLEST_TILE,
            )
        found = shape_candidates(model, image, seen, options.floor, not options.every_window)

        def draw(path: Path) -> None:
            (left, bottom), (right, top) = image.to_micrograph(seen.edges)
            write_score_picture(path, particle_probability(model, seen), (left, right, bottom, top))

        return Scored(lambda: found, draw)

    return score


def _write(
    device: str,
    share: Share,
    diameter: float,
    name: str,
    scored: Scored,
) -> Done:
    """Write all files of a micrograph; its candidates tell that it is done, so they come last."""
    options = share.options
    found = scored.find()
    if options.maps:
        scored.draw(share.out / MAPS / f"{name}.png")
    exported = 0
    if options.precision is None:
        box = box_size_for(diameter, share.pixel_size)
        exported = export(share.out, name, found, options, options.threshold, box)
    write_coordinates(
        candidate_file(share.out, name),
        found.xy,
        found.scores,
        disagreement=found.disagreement,
        shapes=found.shapes,
    )
    return Done(name, device, len(found), exported)


def write_map(path: Path, model: Model, work: WorkingImage, scores: ScoreMap) -> None:
    """Write the calibrated scores of all places, for a look at what the network sees."""
    (left, bottom), (right, top) = work.to_micrograph(scores.edges)
    probabilities = model.calibration.probability(scores.scores)
    write_score_picture(path, probabilities, (left, right, bottom, top))
