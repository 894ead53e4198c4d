"""Score the particles that somebody has picked already, and sort them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.dataset import crops as crop_maker
from apbc.dataset.build import crop_size, stack_chunks
from apbc.errors import ApbcError
from apbc.io.ctf import Ctf
from apbc.io.files import write_json, write_text
from apbc.io.images import micrograph_info, pixel_size_of, read_micrograph
from apbc.io.particles import ParticleTable, compare_pixel_sizes
from apbc.models.folder import Model
from apbc.picking.score_map import middle_scores
from apbc.progress import track

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float64]

SCORE_COLUMNS = ("rlnParticleFigureOfMerit", "apbcScore")
TRUE_FILE, FALSE_FILE, SCORES_FILE = "particles_true.star", "particles_false.star", "scores.csv"
RUN_FILE = "run.json"


@dataclass(frozen=True)
class Screened:
    """Scores of the particles of a star file, and where they were split."""

    scores: FloatArray
    threshold: float

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Particles that are called true."""
        return self.scores >= self.threshold


def score_stacks(
    model: Model, table: ParticleTable, pixel_size: float | None, stack_contrast: str
) -> FloatArray:
    """Scores of particles from their extracted images.

    Parameters
    ----------
    model : Model
    table : ParticleTable
    pixel_size : float or None
        Å per pixel of the stacks, over what the star file says.
    stack_contrast : {"white", "dark"}

    Returns
    -------
    ndarray, shape (n,)
        Calibrated, in the order of the table.
    """
    if model.preprocessing.phase_flipped:
        logger.warning(
            "%s was trained on phase-flipped micrographs and the stacks are scored as they are; "
            "give --micrographs and --ctf for the best scores",
            model.folder,
        )
    scores = np.full(table.n, np.nan)
    size = crop_size(model.preprocessing)
    rng = np.random.default_rng(0)
    for rows, images, own_size in stack_chunks(table, np.arange(table.n), pixel_size):
        crops = crop_maker.from_particle_images(
            images, own_size, model.preprocessing, size, stack_contrast, rng
        )
        scores[rows] = _probabilities(model, crops)
    return scores


def score_on_micrographs(
    model: Model,
    table: ParticleTable,
    paths: Sequence[Path],
    pixel_size: float | None,
    ctfs: dict[str, Ctf] | None = None,
) -> FloatArray:
    """Scores of particles cut out of their micrographs, which are read once each.

    Parameters
    ----------
    model : Model
    table : ParticleTable
        With coordinates and micrograph names.
    paths : sequence of Path
        Micrographs.
    pixel_size : float or None
        Å per pixel of the micrographs, over their headers.
    ctfs : dict, optional
        CTF by name of micrograph, for models of phase-flipped micrographs.

    Returns
    -------
    ndarray, shape (n,)
        Calibrated, in the order of the table.

    Raises
    ------
    ApbcError
        If a micrograph is missing, or its pixel size is not that of the star file.
    """
    coordinates, names = table.coordinates, table.micrograph_names
    if coordinates is None or names is None:
        raise ApbcError(
            f"{table.path} has no rlnCoordinateX, rlnCoordinateY and rlnMicrographName; leave "
            "--micrographs out to read the stacks"
        )
    by_name = {path.stem: path for path in paths}
    stems = np.array([Path(name).stem for name in names])
    wanted = sorted(set(stems.tolist()))
    missing = [name for name in wanted if name not in by_name]
    if missing:
        raise ApbcError(
            f"{len(missing)} of {len(wanted)} micrographs of {table.path} are not among those "
            f"given, such as {missing[0]}; give all of them with --micrographs"
        )
    infos = [micrograph_info(by_name[name]) for name in wanted]
    size_of_micrographs = pixel_size_of(infos, pixel_size)
    told = table.told_micrograph_pixel_size
    if told:
        compare_pixel_sizes(told, size_of_micrographs, table.path)
    size = crop_size(model.preprocessing)
    scores = np.full(table.n, np.nan)
    for info in track(infos, len(infos), "micrographs"):
        rows = np.flatnonzero(stems == info.name)
        crop_maker.check_inside(coordinates[rows], info.shape, info.name, str(table.path))
        work = model.preprocessing.working_image(
            read_micrograph(info.path), size_of_micrographs, (ctfs or {}).get(info.name)
        )
        crop_maker.check_size(work.pixels.shape, size, info.name)
        crops, _ = crop_maker.cut(work.pixels, work.to_working(coordinates[rows]), size)
        scores[rows] = _probabilities(model, crops)
    return scores


def write_screened(
    table: ParticleTable, result: Screened, out: Path, model: Model, device: str
) -> None:
    """Write the true and the false particles, all scores, and a record of the run.

    All columns and optics groups are kept; one column of scores is added, or one of
    another name where the file uses Relion's own already.

    Parameters
    ----------
    table : ParticleTable
    result : Screened
    out : Path
        Folder.
    model : Model
    device : str
        Name of what TensorFlow ran on.
    """
    column = next((c for c in SCORE_COLUMNS if c not in table.table), SCORE_COLUMNS[-1])
    scored = table.with_column(column, result.scores.tolist())
    scored.subset(result.kept).write(out / TRUE_FILE)
    scored.subset(~result.kept).write(out / FALSE_FILE)
    lines = [f"{row},{score:.6f}" for row, score in enumerate(result.scores)]
    write_text(out / SCORES_FILE, "\n".join(["row,score", *lines]) + "\n")
    write_json(
        out / RUN_FILE,
        {
            "apbc_version": __version__,
            "model": str(model.folder),
            "weights_sha256": model.card["weights_sha256"],
            "threshold": result.threshold,
            "device": device,
            "true": int(result.kept.sum()),
            "false": int((~result.kept).sum()),
        },
    )


def _probabilities(model: Model, crops: npt.NDArray[np.float32]) -> FloatArray:
    raw = middle_scores(
        model.network, model.architecture, crops, model.preprocessing.diameter_pixels
    )
    return model.calibration.probability(raw)
