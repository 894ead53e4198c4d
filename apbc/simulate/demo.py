"""The demo's data set: micrographs with known particles, laid out as a small project."""

from __future__ import annotations

import logging
from pathlib import Path

import mrcfile
import numpy as np
import scipy

from apbc import __version__
from apbc.errors import ApbcError
from apbc.geometry import angstrom_to_pixels
from apbc.io.coordinates import write_coordinates
from apbc.io.ctf import OF_MICROGRAPH, Ctf
from apbc.io.files import atomic_path, write_json
from apbc.io.star import StarTable, write_star
from apbc.progress import track
from apbc.simulate.micrograph import (
    DENSITY_AREA,
    bad_examples,
    expose,
    good_examples,
    random_ctf,
    random_scene,
)
from apbc.simulate.molecule import barrel

logger = logging.getLogger(__name__)

PIXEL_SIZE = 3.5
GOOD_SHARE = 0.28
BAD_COUNT = 24
CARBON_EVERY = 3
FOLDERS = ("micrographs", "truth", "good", "bad")
CTF_STAR = "micrographs_ctf.star"
SUMMARY = "simulation.json"


def simulate_demo(
    out: Path,
    micrographs: int = 8,
    seed: int = 0,
    shape: tuple[int, int] = (1024, 1024),
) -> dict[str, object]:
    """Write the demo's data set.

    The particle is the same for every seed, so that a model trained on one seed
    can be tried on another. Micrograph `i` depends on the seed, `i` and the
    shape alone.

    Parameters
    ----------
    out : Path
        Folder to make. ``micrographs_ctf.star`` names micrographs relative to
        it, so that it is a RELION project folder.
    micrographs : int, optional
        How many.
    seed : int, optional
        At least 0.
    shape : (int, int), optional
        Rows and columns.

    Returns
    -------
    dict
        What ``simulation.json`` holds.

    Raises
    ------
    ApbcError
        If a number is out of its range or `out` already holds a data set.
    """
    if micrographs < 1:
        raise ApbcError(f"cannot simulate {micrographs} micrographs; ask for 1 or more")
    if seed < 0:
        raise ApbcError(f"the seed must be 0 or more, not {seed}")
    molecule = barrel()
    size = angstrom_to_pixels(molecule.diameter, PIXEL_SIZE)
    least = round(4 * size)
    if min(shape) < least:
        raise ApbcError(
            f"micrographs of {shape[0]} x {shape[1]} pixels are too small for the particle; "
            f"ask for {least} or more along both sides"
        )
    for name in (*FOLDERS, CTF_STAR, SUMMARY):
        if (out / name).exists():
            raise ApbcError(f"{out / name} exists already; remove it or choose another folder")

    names, ctfs, particles = [], [], 0
    for index in track(range(micrographs), micrographs, "micrographs"):
        name = f"demo_{index + 1:03d}"
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        ctf = random_ctf(rng)
        with_carbon = index % CARBON_EVERY == 1
        scene = random_scene(shape, PIXEL_SIZE, molecule.diameter, with_carbon, rng)
        truth = scene.visible_particles(shape)
        area = shape[0] * shape[1] * PIXEL_SIZE**2 / DENSITY_AREA
        bad = bad_examples(scene, shape, size, max(1, round(BAD_COUNT * area)), rng)
        write_coordinates(out / "truth" / f"{name}.csv", truth)
        write_coordinates(out / "good" / f"{name}.csv", good_examples(truth, size, GOOD_SHARE, rng))
        write_coordinates(out / "bad" / f"{name}.csv", bad)
        image = expose(scene, molecule, ctf, shape, PIXEL_SIZE, rng)
        with (
            atomic_path(out / "micrographs" / f"{name}.mrc") as temporary,
            mrcfile.new(temporary, image) as mrc,
        ):
            mrc.voxel_size = PIXEL_SIZE
            # Instead of the date, so that the same call gives the same bytes.
            mrc.header.label[0] = "Simulated by apbc"
        names.append(f"micrographs/{name}.mrc")
        ctfs.append(ctf)
        particles += len(truth)

    star = out / CTF_STAR
    write_star(star, ctf_tables(star, names, ctfs), "# version 30001")
    summary: dict[str, object] = {
        "pixel_size": PIXEL_SIZE,
        "diameter": round(molecule.diameter, 1),
        "seed": seed,
        "micrographs": micrographs,
        "shape": list(shape),
        "particles": particles,
        "versions": {
            "apbc": __version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
    }
    write_json(out / SUMMARY, summary)
    logger.info("wrote %d micrographs with %d particles to %s", micrographs, particles, out)
    return summary


def ctf_tables(path: Path, names: list[str], ctfs: list[Ctf]) -> list[StarTable]:
    """Micrographs with their CTF, as RELION 3.1 and later write them.

    Parameters
    ----------
    path : Path
        The file that they are for.
    names : list of str
        Paths of the micrographs.
    ctfs : list of Ctf
        One a micrograph; voltage, Cs and amplitude contrast of the first hold for
        all.

    Returns
    -------
    list of StarTable
        ``data_optics`` and ``data_micrographs``.
    """
    optics = {
        "rlnOpticsGroupName": "opticsGroup1",
        "rlnOpticsGroup": 1,
        "rlnMicrographOriginalPixelSize": PIXEL_SIZE,
        "rlnMicrographPixelSize": PIXEL_SIZE,
        "rlnVoltage": ctfs[0].voltage,
        "rlnSphericalAberration": ctfs[0].cs,
        "rlnAmplitudeContrast": ctfs[0].amplitude_contrast,
    }
    rows = [
        f"{name} 1 {ctf.defocus_u:.1f} {ctf.defocus_v:.1f} {ctf.defocus_angle:.2f}"
        for name, ctf in zip(names, ctfs, strict=True)
    ]
    return [
        StarTable(path, "optics", list(optics), [" ".join(str(v) for v in optics.values())]),
        StarTable(
            path, "micrographs", ["rlnMicrographName", "rlnOpticsGroup", *OF_MICROGRAPH], rows
        ),
    ]
