"""Time the picks viewer on 100 micrographs of 4096 x 4096 with 1,000 candidates each.

    . scripts/env.sh; python benchmarks/viewer.py --out bench/viewer.json

Makes a Scipion project in ``bench/viewer`` (7 GB, removed at the end) with micrographs of noise,
a small model, and the candidates that a run of *pick particles* would have left; opens the viewer
under Xvfb and measures from the call to the end of the drawing.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "bench" / "viewer"
MICROGRAPHS, SIDE, CANDIDATES, PIXEL_SIZE, DIAMETER = 100, 4096, 1000, 1.77, 190.0
LARGE_SIDE = 8192
MOVES = 50


def write_micrographs(folder, count, side):
    """Write micrographs of noise, each other than the last."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1, (side, side)).astype(np.float32)
    for number in range(count):
        with mrcfile.new(folder / f"mic_{number:03d}_{side}.mrc", overwrite=True) as handle:
            handle.set_data(np.roll(noise, 37 * number, axis=1))
            handle.voxel_size = PIXEL_SIZE


def make_project(micrographs):
    """Make a project with a model, the micrographs, and a run of picking that is done.

    Returns
    -------
    project, protocol
    """
    import pyworkflow

    pyworkflow.Config.setDomain("pwem")
    from pyworkflow.project import Manager

    from apbc_scipion import workflow
    from apbc_scipion.protocols import ApbcProtPick
    from apbc_scipion.tests import common

    small = WORK / "small"
    truth = common.write_micrographs(str(small))
    project = Manager().createProject("viewer", location=str(WORK))
    os.chdir(project.getPath())
    settings = workflow.Settings(
        micrographs=sorted(map(str, small.glob("*.mrc"))),
        pixelSize=common.PIXEL_SIZE,
        diameter=common.DIAMETER,
        good=truth["good"],
        bad=truth["bad"],
        useRelion=False,
        epochs=1,
    )
    flow = workflow.Workflow(project, settings, str(WORK / "imports"))
    mics = flow.importMicrographs("small", [Path(p).stem for p in settings.micrographs])
    model = flow.train(flow.datasetFromCoordinates(mics))
    settings.micrographs = sorted(map(str, micrographs.glob("*.mrc")))
    settings.pixelSize = PIXEL_SIZE
    large = flow.importMicrographs("large", [Path(p).stem for p in settings.micrographs])
    pick = flow.newProtocol(ApbcProtPick, "pick")
    pick.inputMicrographs.set(large)
    pick.inputMicrographs.setExtended("outputMicrographs")
    pick.inputModel.set(model)
    pick.inputModel.setExtended("outputModel")
    project.saveProtocol(pick)
    pick.makePathsAndClean()
    write_candidates(pick, large.outputMicrographs)
    return project, pick


def write_candidates(pick, micrographs):
    """Write what picking leaves for each micrograph."""
    from apbc.display.score_picture import write_score_picture
    from apbc_scipion import convert

    rng = np.random.default_rng(6)
    for micId, label in convert.labels_of(micrographs).items():
        side = micrographs[micId].getDim()[0]
        rows = np.column_stack(
            [rng.uniform(100, side - 100, (CANDIDATES, 2)), rng.beta(0.4, 0.6, CANDIDATES)]
        )
        convert.write_coordinates(
            {label: [tuple(row) for row in rows]}, pick._getExtraPath("candidates")
        )
        path = pick._getExtraPath("maps", label + ".png")
        write_score_picture(path, rng.beta(0.2, 3, (170, 170)), (0, side, 0, side))


def timed(window, action, until=None):
    """Seconds of an action, its drawing included."""
    from apbc_scipion.tests import screen

    start = time.perf_counter()
    action()
    window.canvas.draw()
    screen.pump(window, until)
    return time.perf_counter() - start


def measure(project, pick):
    """Open the viewer and use it.

    Returns
    -------
    dict of str to float
        Seconds.
    """
    from apbc_scipion.tests import screen
    from apbc_scipion.viewers import ApbcPicksViewer, picks_window

    start = time.perf_counter()
    window = ApbcPicksViewer(project=project, protocol=pick).makeWindow(pick)
    window.root.deiconify()
    screen.pump(window, until=window.root.winfo_viewable)
    window.canvas.draw()
    figures = {"window with the first micrograph": time.perf_counter() - start}
    screen.pump(window, until=lambda: not window.isBusy())
    figures["all scores counted"] = time.perf_counter() - start
    labels = window.review.labels
    large = next(i for i, label in enumerate(labels) if label.endswith(str(LARGE_SIDE)))
    some = [i for i in range(1, 21) if i != large]
    first = [timed(window, lambda i=i: window.showMicrograph(i)) for i in some]
    again = [timed(window, lambda i=i: window.showMicrograph(i)) for i in some]
    figures["next micrograph, first time (median of 20)"] = statistics.median(first)
    figures["next micrograph, seen before (median of 20)"] = statistics.median(again)
    figures["8192 x 8192 micrograph, first time"] = timed(
        window, lambda: window.showMicrograph(large)
    )
    window.showMicrograph(0)
    figures["8192 x 8192 micrograph, seen before"] = timed(
        window, lambda: window.showMicrograph(large)
    )
    window.showMicrograph(1)
    window.canvas.draw()
    # The window draws no more often than this; measured is how fast it could.
    picks_window.REDRAW_SECONDS = 0.0
    moves = []
    for value in np.linspace(0.05, 0.95, MOVES):
        start = time.perf_counter()
        window.threshold.setThreshold(value)
        screen.pump(window)
        moves.append(time.perf_counter() - start)
    figures["threshold moved, circles and counts drawn (median of 50)"] = statistics.median(moves)
    figures["the slowest of these"] = max(moves)
    figures["low-pass or contrast changed"] = timed(window, window._filter)
    figures["zoom step"] = timed(window, lambda: window.zoom(0.8, 2000, 2000))
    window.close()
    return figures


def main():
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--keep", action="store_true", help="do not remove the project")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    shutil.rmtree(WORK, ignore_errors=True)
    from apbc_scipion.tests import screen

    screen.need_screen()
    micrographs = WORK / "micrographs"
    write_micrographs(micrographs, MICROGRAPHS, SIDE)
    write_micrographs(micrographs, 1, LARGE_SIDE)
    try:
        figures = measure(*make_project(micrographs))
    finally:
        os.chdir(REPOSITORY)
        if not arguments.keep:
            shutil.rmtree(WORK)
    out.write_text(json.dumps(figures, indent=1))
    for name, seconds in figures.items():
        sys.stdout.write(f"{seconds:8.3f} s  {name}\n")


if __name__ == "__main__":
    main()
