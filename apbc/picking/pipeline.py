"""Micrographs one after the other: the next is prepared while one is in the network."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc.display.score_picture import write_score_picture
from apbc.errors import ApbcError
from apbc.geometry import box_size_for
from apbc.io.coordinates import write_coordinates
from apbc.io.ctf import Ctf
from apbc.io.images import MicrographInfo, read_micrograph
from apbc.models.folder import Model
from apbc.picking.export import candidate_file, export
from apbc.picking.options import MAPS, PickOptions
from apbc.picking.peaks import find_peaks
from apbc.picking.score_map import SMALLEST_TILE, TILE, ScoreMap, score_map
from apbc.preprocess.working import WorkingImage

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]


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
    with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as after:

        def prepare(info: MicrographInfo) -> WorkingImage:
            return model.preprocessing.working_image(
                read_micrograph(info.path), share.pixel_size, share.ctfs.get(info.name)
            )

        infos = list(share.infos)
        prepared = before.submit(prepare, infos[0]) if infos else None
        written: Future[Done] | None = None
        for info, following in zip(infos, [*infos[1:], None], strict=True):
            assert prepared is not None
            ready, prepared = prepared, before.submit(prepare, following) if following else None
            try:
                work = ready.result()
                del ready
                scores = candidate_scores(model, work, tile)
            except (ApbcError, MemoryError, OSError) as error:
                reason = str(error) or "the memory is full"
                logger.error("%s failed: %s", info.name, reason)
                yield Done(info.name, device, failure=reason)
                continue
            if written:
                yield written.result()
            written = after.submit(_write, model, device, share, info.name, work, scores)
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
    while True:
        try:
            return score_map(model.network, model.architecture, work.pixels, tile)
        except MemoryError as error:
            tile = min(tile, max(work.pixels.shape)) // 2
            if tile < SMALLEST_TILE:
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


def _write(
    model: Model, device: str, share: Share, name: str, work: WorkingImage, scores: ScoreMap
) -> Done:
    """Write all files of a micrograph; its candidates tell that it is done, so they come last."""
    options = share.options
    found = candidates(model, work, scores, options.floor)
    if options.maps:
        write_map(share.out / MAPS / f"{name}.png", model, work, scores)
    exported = 0
    if options.precision is None:
        box = box_size_for(model.preprocessing.diameter, share.pixel_size)
        exported = export(share.out, name, found, options, options.threshold, box)
    disagreement = found[:, 3] if found.shape[1] > 3 else None
    write_coordinates(
        candidate_file(share.out, name), found[:, :2], found[:, 2], disagreement=disagreement
    )
    return Done(name, device, len(found), exported)


def write_map(path: Path, model: Model, work: WorkingImage, scores: ScoreMap) -> None:
    """Write the calibrated scores of all places, for a look at what the network sees."""
    (left, bottom), (right, top) = work.to_micrograph(scores.edges)
    probabilities = model.calibration.probability(scores.scores)
    write_score_picture(path, probabilities, (left, right, bottom, top))
