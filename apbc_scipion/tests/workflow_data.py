"""Real or simulated micrographs for the tests that go the whole way."""

import glob
import json
import os
import shutil
import subprocess
import sys
import warnings

import mrcfile

from apbc_scipion import demo, workflow

PIXEL_SIZE = 3.54
DIAMETER = 190.0
CORNER, SIDE = 512, 1024
COUNT = 4


def prepare(folder):
    """Crop the benchmark's micrographs, or simulate some, loudly, where it is not there.

    Parameters
    ----------
    folder : str
        Gets the micrographs.

    Returns
    -------
    dict
        ``micrographs`` (paths), ``truth`` (coordinates by stem), ``pixelSize`` and ``diameter``
        (Å): the data's part of the settings of a workflow.
    """
    if benchmark_folder() is None:
        warnings.warn(
            "the workflow is tested on SIMULATED micrographs; for real ones set "
            "APBC_BENCH_DATA to the folder of the benchmark's prepare.py",
            stacklevel=2,
        )
        return simulate(folder)
    return prepare_crops(folder)


def benchmark_folder():
    """Folder of the benchmark's prepare.py, or None."""
    here = os.path.dirname(os.path.abspath(__file__))
    folders = [
        os.environ.get("APBC_BENCH_DATA", ""),
        os.path.join(here, "..", "..", "..", "shared", "bench"),
    ]
    found = [path for path in folders if path and os.path.exists(os.path.join(path, "prepare.py"))]
    return os.path.abspath(found[0]) if found else None


def prepare_crops(folder):
    """Prepare the first micrographs of the benchmark and crop them.

    Returns
    -------
    dict
        The data's part of the settings.
    """
    bench = benchmark_folder()
    pictures = sorted(glob.glob(os.path.join(bench, "data", "empiar-10017", "micrographs", "*")))
    names = [os.path.splitext(os.path.basename(path))[0] for path in pictures[:COUNT]]
    whole = os.path.join(folder, "whole")
    subprocess.run(
        [sys.executable, os.path.join(bench, "prepare.py"), whole, "--bin", "2", "--only", *names],
        check=True,
    )
    crops = os.path.join(folder, "micrographs")
    os.makedirs(crops)
    points = {}
    for name, rows in workflow.read_coordinates(os.path.join(whole, "truth")).items():
        moved = [(x - CORNER, y - CORNER) for x, y in rows]
        points[name] = [xy for xy in moved if 0 <= min(xy) and max(xy) < SIDE]
    for name in names:
        with mrcfile.open(os.path.join(whole, "micrographs", name + ".mrc")) as handle:
            image = handle.data[CORNER : CORNER + SIDE, CORNER : CORNER + SIDE].copy()
        with mrcfile.new(os.path.join(crops, name + ".mrc")) as handle:
            handle.set_data(image)
            handle.voxel_size = PIXEL_SIZE
    shutil.rmtree(whole)
    return {
        "micrographs": sorted(glob.glob(os.path.join(crops, "*.mrc"))),
        "truth": points,
        "pixelSize": PIXEL_SIZE,
        "diameter": DIAMETER,
    }


def simulate(folder):
    """Simulate micrographs.

    Returns
    -------
    dict
        The data's part of the settings.
    """
    data = os.path.join(folder, "data")
    demo.engine("simulate", "demo", "--out", data, "--micrographs", COUNT, "--seed", 1)
    with open(os.path.join(data, "simulation.json")) as handle:
        told = json.load(handle)
    return {
        "micrographs": sorted(glob.glob(os.path.join(data, "micrographs", "*.mrc"))),
        "truth": workflow.read_coordinates(os.path.join(data, "truth")),
        "pixelSize": told["pixel_size"],
        "diameter": told["diameter"],
    }
