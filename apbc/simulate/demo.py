"""The demo's data set: micrographs with known particles, laid out as a small project."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import scipy

from apbc import __version__
from apbc.errors import ApbcError
from apbc.geometry import angstrom_to_pixels
from apbc.io.coordinates import write_coordinates
from apbc.io.ctf import write_ctf
from apbc.io.files import write_json
from apbc.progress import track
from apbc.simulate.demo_scene import (
    DENSITY_AREA,
    OPTICS,
    bad_examples,
    expose,
    good_examples,
    random_scene,
)
from apbc.simulate.molecule import barrel
from apbc.simulate.optics import random_ctf
from apbc.simulate.truth import write_micrograph

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
        ctf = random_ctf(OPTICS, rng)
        with_carbon = index % CARBON_EVERY == 1
        scene = random_scene(shape, PIXEL_SIZE, molecule.diameter, with_carbon, rng)
        truth = scene.visible_particles(shape)
        area = shape[0] * shape[1] * PIXEL_SIZE**2 / DENSITY_AREA
        bad = bad_examples(scene, shape, size, max(1, round(BAD_COUNT * area)), rng)
        write_coordinates(out / "truth" / f"{name}.csv", truth)
        write_coordinates(out / "good" / f"{name}.csv", good_examples(truth, size, GOOD_SHARE, rng))
        write_coordinates(out / "bad" / f"{name}.csv", bad)
        image = expose(scene, molecule, ctf, shape, PIXEL_SIZE, rng)
        write_micrograph(out / "micrographs" / f"{name}.mrc", image, PIXEL_SIZE)
        names.append(f"micrographs/{name}.mrc")
        ctfs.append(ctf)
        particles += len(truth)

    write_ctf(out / CTF_STAR, names, ctfs, PIXEL_SIZE)
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
