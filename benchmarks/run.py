"""Measure accuracy, speed and memory; results go to ``bench/`` (ignored) as JSON and text.

    python benchmarks/run.py [--only accuracy picking ...] [--seeds 0 1 2]

Needs the benchmark (``APBC_BENCH_DATA`` or ``../shared/bench``), and Relion on PATH for the peer
and the workflow. Copy figures worth keeping to docs/benchmarks.md with the machine and the date.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from apbc import __version__

logger = logging.getLogger("benchmarks")

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "bench"
DIAMETER = 190.0  # Å, of beta-galactosidase
EDGE = 170.0  # Å, streaks of motion correction
TRAINING = 7  # micrographs, by name; the others are scored


def bench_data() -> Path:
    """Folder of the benchmark."""
    folder = Path(os.environ.get("APBC_BENCH_DATA", REPOSITORY.parent / "shared" / "bench"))
    if not (folder / "score.py").is_file():
        sys.exit(f"there is no benchmark in {folder}; set APBC_BENCH_DATA")
    return folder


def measured(arguments: list[object], cwd: Path | None = None) -> dict[str, float]:
    """Run a command in a process of its own: seconds, CPU seconds and peak memory in GB."""
    start = time.monotonic()
    with (WORK / "commands.log").open("a") as log:
        log.write(" ".join(map(str, arguments)) + "\n")
        log.flush()
        process = subprocess.Popen(
            [str(a) for a in arguments], stdout=log, stderr=subprocess.STDOUT, cwd=cwd
        )
        _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{arguments} failed; see {WORK / 'commands.log'}")
    return {
        "seconds": time.monotonic() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss / 1e6,
    }


def apbc(*words: object) -> dict[str, float]:
    """Run an engine verb."""
    return measured([sys.executable, "-m", "apbc", *words])


def prepare(binning: int) -> Path:
    """Benchmark micrographs as MRC, binned."""
    out = WORK / f"empiar-10017-bin{binning}"
    if not (out / "micrographs").is_dir():
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        measured([sys.executable, bench_data() / "prepare.py", part, "--bin", binning])
        part.rename(out)
    return out


def listed(paths: list[Path], name: str) -> Path:
    """List micrographs in a text file."""
    out = WORK / name
    out.write_text("\n".join(map(str, paths)) + "\n")
    return out


def accuracy(seeds: list[int]) -> dict[str, Any]:
    """Fair split: labels of the first seven micrographs, scored on the last three."""
    data = prepare(1)
    paths = sorted((data / "micrographs").glob("*.mrc"))
    training, test = listed(paths[:TRAINING], "training.txt"), listed(paths[TRAINING:], "test.txt")
    dataset = WORK / "data.h5"
    made = apbc(
        *("dataset", "--micrographs", training, "--good", data / "good", "--bad", data / "bad"),
        *("--diameter", DIAMETER, "--out", dataset),
    )
    runs: dict[str, Any] = {"dataset_seconds": made["seconds"]}
    for architecture, some in (("dense", seeds), ("autopick-bc", seeds[:1])):
        rows = []
        for seed in some:
            model, picks = WORK / f"{architecture}-{seed}", WORK / f"picks-{architecture}-{seed}"
            for folder in (model, model.with_name(model.name + ".partial"), picks):
                shutil.rmtree(folder, ignore_errors=True)
            trained = apbc(
                *("train", dataset, "--out", model, "--architecture", architecture),
                *("--seed", seed, "--gpu", ""),
            )
            apbc("pick", model, "--micrographs", test, "--out", picks, "--gpu", "")
            exported = evaluate(picks, data / "truth", paths[TRAINING:])
            candidates = evaluate(picks / "candidates", data / "truth", paths[TRAINING:])
            rows.append(
                {
                    "seed": seed,
                    "training_seconds": trained["seconds"],
                    "training_peak_gb": trained["peak_gb"],
                    **{k: exported[k] for k in ("precision", "recall", "f1", "localisation_error")},
                    "exported_average_precision": exported["average_precision"],
                    "average_precision": candidates["average_precision"],
                    "best_f1": candidates["best_f1"],
                }
            )
            logger.info("%s seed %d: %s", architecture, seed, rows[-1])
        runs[architecture] = rows
    for peer in ("crYOLO", "topaz", "deepPicker"):
        runs[f"published {peer}"] = evaluate_peer(peer, paths[TRAINING:])
    return runs


def evaluate(picks: Path, truth: Path, paths: list[Path]) -> dict[str, Any]:
    """Figures of picks on some micrographs."""
    out = WORK / "figures.json"
    apbc(
        *("evaluate", picks, truth, "--diameter", DIAMETER, "--edge", EDGE, "--json", out),
        *("--pixel-size", 1.77, "--shape", 4096, 4096, "--only", *[p.stem for p in paths]),
    )
    return dict(json.loads(out.read_text()))


def evaluate_peer(peer: str, paths: list[Path]) -> dict[str, Any]:
    """Score published picks of another program on those of the micrographs that it has."""
    data = bench_data() / "data" / "empiar-10017"
    have = [p for p in paths if (data / "peers" / peer / f"{p.stem}.box").is_file()]
    figures = evaluate(data / "peers" / peer, data / "truth", have)
    keys = ("micrographs", "precision", "recall", "f1", "average_precision", "best_f1")
    return {key: figures[key] for key in keys}


def picking(seeds: list[int]) -> dict[str, Any]:
    """Speed and memory of picking 4096 x 4096 float32 micrographs, beside Relion's LoG."""
    data, model = prepare(1), WORK / f"dense-{seeds[0]}"
    if not (model / "card.json").is_file():
        accuracy(seeds[:1])
    paths = sorted((data / "micrographs").glob("*.mrc"))
    out = WORK / "picks-speed"
    figures: dict[str, Any] = {}
    apbc("pick", model, "--micrographs", paths[0], "--out", out, "--gpu", "")  # warm caches
    for _ in range(3):  # paired: ours and the peer in turn
        one = apbc("pick", model, "--micrographs", paths[0], "--out", out, "--gpu", "")
        ten = apbc("pick", model, "--micrographs", *paths, "--out", out, "--gpu", "")
        figures.setdefault("seconds_a_micrograph", []).append((ten["seconds"] - one["seconds"]) / 9)
        figures.setdefault("start_seconds", []).append(
            one["seconds"] - (ten["seconds"] - one["seconds"]) / 9
        )
        figures.setdefault("peak_gb", []).append(ten["peak_gb"])
        if shutil.which("relion_autopick"):
            figures.setdefault("relion_log_seconds_a_micrograph", []).append(relion_log(paths))
    summary = {key: statistics.median(values) for key, values in figures.items()}
    if shutil.which("relion_autopick"):
        summary["relion_log"] = evaluate(WORK / "relion-log", data / "truth", paths[TRAINING:])
        del summary["relion_log"]["per_micrograph"]
    else:
        logger.warning("NO RELION: the peer was not measured")
    return summary


def relion_log(paths: list[Path]) -> float:
    """Pick with Relion's Laplacian of Gaussian; seconds a micrograph."""
    folder = WORK / "relion"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "mics").mkdir(parents=True)
    for path in paths:
        (folder / "mics" / path.name).symlink_to(path)
    optics = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n"
    optics += "_rlnMicrographPixelSize #3\n_rlnVoltage #4\n_rlnSphericalAberration #5\n"
    optics += "_rlnAmplitudeContrast #6\nopticsGroup1 1 1.77 300 2 0.1\n\n# version 30001\n\n"
    names = "".join(f"mics/{path.name} 1\n" for path in paths)
    (folder / "mics.star").write_text(
        f"{optics}data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n{names}"
    )
    command: list[object] = ["relion_autopick", "--i", "mics.star", "--odir", "Log/"]
    command += ["--pickname", "log", "--LoG", "--lowpass", 20, "--LoG_adjust_threshold", 0]
    command += ["--LoG_diam_min", DIAMETER * 0.85, "--LoG_diam_max", DIAMETER * 1.05]
    done = measured(command, cwd=folder)
    out = WORK / "relion-log"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    for path in paths:
        shutil.copy(folder / "Log" / "mics" / f"{path.stem}_log.star", out / f"{path.stem}.star")
    return done["seconds"] / len(paths)


def memory(seeds: list[int]) -> dict[str, Any]:
    """Peak memory of data set and picking for 10 and 1,000 micrographs of 1024 x 1024."""
    data, model = prepare(4), WORK / f"dense-{seeds[0]}"
    if not (model / "card.json").is_file():
        accuracy(seeds[:1])
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
            *("pick", model, "--micrographs", folder / "micrographs"),
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
    "accuracy": accuracy,
    "picking": picking,
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
        results[name] = {
            "apbc_version": __version__,
            "date": time.strftime("%Y-%m-%d"),
            "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
            "python": platform.python_version(),
            "figures": SECTIONS[name](args.seeds),
        }
        results_file.write_text(json.dumps(results, indent=2) + "\n")
        logger.info("%s: %s", name, json.dumps(results[name]["figures"], indent=2))
    logger.info("wrote %s", results_file)


if __name__ == "__main__":
    main()
