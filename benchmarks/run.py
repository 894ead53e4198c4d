"""Measure memory, reading, the workflow and more; results go to ``bench/`` (ignored) as JSON.

    python benchmarks/run.py [--only memory reading ...] [--seeds 0 1 2]

Accuracy and speed of picking beside other pickers are measured by ``picking.py``. Needs the
benchmark (``APBC_BENCH_DATA`` or ``../shared/bench``), and Relion on PATH for the workflow. Copy
figures worth keeping to docs/benchmarks.md with the machine and the date.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import mrcfile
import numpy as np
from common import (
    DIAMETER,
    EDGE,
    REPOSITORY,
    TRAINING,
    WORK,
    CommandFailed,
    Missing,
    apbc,
    measured,
    prepare,
)
from pickers import benchmark_model

from apbc import __version__

logger = logging.getLogger("benchmarks")


def memory(seeds: list[int]) -> dict[str, Any]:
    """Peak memory of data set and picking for 10 and 1,000 micrographs of 1024 x 1024."""
    data, model = prepare(4), benchmark_model(seed=seeds[0])
    paths = sorted((data / "micrographs").glob("*.mrc"))
    figures: dict[str, Any] = {}
    for count in (10, 1000):
        folder = WORK / f"many-{count}"
        shutil.rmtree(folder, ignore_errors=True)
        for kind in ("micrographs", "good", "bad"):
            (folder / kind).mkdir(parents=True)
        for i in range(count):
            path = paths[i % len(paths)]
            (folder / "micrographs" / f"m{i:04d}.mrc").symlink_to(path)
            for kind in ("good", "bad"):
                source = data / kind / f"{path.stem}.csv"
                (folder / kind / f"m{i:04d}.csv").symlink_to(source)
        made = apbc(
            *("dataset", "--micrographs", folder / "micrographs", "--good", folder / "good"),
            *("--bad", folder / "bad", "--diameter", DIAMETER, "--out", folder / "data.h5"),
        )
        picked = apbc(
            *("pick", model.path, "--micrographs", folder / "micrographs"),
            *("--out", folder / "picks", "--gpu", ""),
        )
        figures[f"dataset_peak_gb_{count}"] = made["peak_gb"]
        figures[f"dataset_seconds_{count}"] = made["seconds"]
        figures[f"pick_peak_gb_{count}"] = picked["peak_gb"]
        figures[f"pick_seconds_{count}"] = picked["seconds"]
        logger.info("%d micrographs: %s, %s", count, made, picked)
        shutil.rmtree(folder)
    return figures


def reading(seeds: list[int]) -> dict[str, Any]:
    """Bytes that a data set of a particle stack reads, beside the original's way.

    Autopick-BC opens the whole stack anew for every particle of it; that is done here with a few
    of the particles and counted (``rchar`` of the process), and multiplied up.
    """
    n, box = 2000, 128
    rng = np.random.default_rng(0)
    folder = WORK / "stack"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for kind in ("good", "bad"):
        with mrcfile.new(folder / f"{kind}.mrcs") as mrc:
            mrc.set_data(rng.normal(size=(n // 2, box, box)).astype(np.float32))
            mrc.voxel_size = 2.0
        rows = "".join(f"{i + 1:06d}@{kind}.mrcs 2.0 10000\n" for i in range(n // 2))
        (folder / f"{kind}.star").write_text(
            "data_\n\nloop_\n_rlnImageName #1\n_rlnDetectorPixelSize #2\n_rlnMagnification #3\n"
            + rows
        )
    stack_bytes = sum((folder / f"{kind}.mrcs").stat().st_size for kind in ("good", "bad"))
    code = (
        "import sys, os, mrcfile\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from apbc.commands.main import main\n"
        "for kind in ('good', 'bad'):\n"
        "    fd = os.open(sys.argv[2] + f'/{kind}.mrcs', os.O_RDONLY)\n"
        "    os.fsync(fd); os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED); os.close(fd)\n"
        "io = lambda: {k: int(v) for k, v in (l.split(': ') for l in open('/proc/self/io'))}\n"
        "before = io()\n"
        "if sys.argv[3] == 'ours':\n"
        "    main(['dataset', '--good-particles', sys.argv[2] + '/good.star', '--bad-particles',\n"
        "          sys.argv[2] + '/bad.star', '--diameter', '150', '--out',\n"
        "          sys.argv[2] + '/d.h5'])\n"
        "else:\n"
        "    for i in range(20):\n"
        "        with mrcfile.open(sys.argv[2] + '/good.mrcs') as mrc:\n"
        "            mrc.data[i].sum()\n"
        "after = io()\n"
        "open(sys.argv[4], 'w').write(str(after['rchar'] - before['rchar'])\n"
        "    + ' ' + str(after['read_bytes'] - before['read_bytes']))\n"
    )
    result = {}
    for which in ("ours", "original"):
        note = WORK / f"io-{which}.txt"
        done = measured([sys.executable, "-c", code, REPOSITORY, folder, which, note])
        asked, fetched = map(int, note.read_text().split())
        result[which] = {"rchar": asked, "read_bytes": fetched, "seconds": done["seconds"]}
    # ours: plain reads, plus what the memory map fetched, counted as the whole stacks at most once
    ours = result["ours"]["rchar"] + stack_bytes
    original = result["original"]["rchar"] / 20 * n
    return {
        "particles": n,
        "stack_gb": stack_bytes / 1e9,
        "ours_gb": ours / 1e9,
        "ours_fetched_from_disk_gb": result["ours"]["read_bytes"] / 1e9,
        "original_gb": original / 1e9,
        "times_less": original / ours,
    }


def workflow(seeds: list[int]) -> dict[str, Any]:
    """Run the whole workflow in Scipion with Relion, on all ten micrographs."""
    data, out = prepare(2), WORK / "workflow"
    shutil.rmtree(out, ignore_errors=True)
    command: list[object] = [sys.executable, "-m", "apbc_scipion.demo", "--out", out]
    command += ["--data", data, "--pixel-size", 3.54, "--diameter", DIAMETER, "--edge", EDGE]
    command += ["--training", TRAINING]
    done = measured(command)
    figures = json.loads((out / "report" / "evaluation.json").read_text())
    del figures["per_micrograph"]
    return {"seconds": done["seconds"], **figures}


def viewer(seeds: list[int]) -> dict[str, Any]:
    """Time how fast the picks viewer opens and draws."""
    out = WORK / "viewer.json"
    measured([sys.executable, REPOSITORY / "benchmarks" / "viewer.py", "--out", out])
    return json.loads(out.read_text())


def truth(_: list[int]) -> dict[str, Any]:
    """Measure simulator and metrics: what ``ground_truth_*.py`` print, and their seconds."""
    figures: dict[str, Any] = {}
    for script in sorted((REPOSITORY / "benchmarks").glob("ground_truth_*.py")):
        logger.info("  %s", script.name)
        start = time.monotonic()
        done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{script} failed")
        figures[script.stem] = {
            "seconds": time.monotonic() - start,
            "printed": done.stdout.splitlines(),
        }
    return figures


SECTIONS: dict[str, Callable[[list[int]], dict[str, Any]]] = {
    "memory": memory,
    "reading": reading,
    "workflow": workflow,
    "viewer": viewer,
    "truth": truth,
}


def main() -> None:
    """Run the sections asked for and add them to ``bench/results.json``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    results_file = WORK / "results.json"
    results = json.loads(results_file.read_text()) if results_file.is_file() else {}
    for name in args.only:
        logger.info("%s ...", name)
        try:
            figures = SECTIONS[name](args.seeds)
        except (Missing, CommandFailed) as error:
            sys.exit(str(error))
        results[name] = {
            "apbc_version": __version__,
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
            "python": platform.python_version(),
            "figures": figures,
        }
        results_file.write_text(json.dumps(results, indent=2) + "\n")
        logger.info("%s: %s", name, json.dumps(results[name]["figures"], indent=2))
    logger.info("wrote %s", results_file)


if __name__ == "__main__":
    main()
