"""What the measuring programs share: the benchmark's data, measured commands, kept results, scores.

Imports nothing heavy, since a command's peak memory is at least that of the program that starts it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from apbc import __version__
from apbc.evaluation.authors import authors_dict, score_as_authors
from apbc.evaluation.figures import Match, score_picks
from apbc.evaluation.matching import NONE, match_closest_first
from apbc.evaluation.reference import particles_of
from apbc.io.coordinates import read_coordinate_folder
from apbc.io.files import write_json

logger = logging.getLogger("benchmarks")

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / "bench"
DIAMETER = 190.0  # Å, of beta-galactosidase
EDGE = 170.0  # Å, streaks of motion correction
PIXEL_SIZE = 1.77  # Å, of the full micrographs
SHAPE = (4096, 4096)
TRAINING = 7  # micrographs, by name; the others are scored


class Missing(Exception):
    """A program or data set that is not on this machine."""


class CommandFailed(Exception):
    """A command ended with an error."""


def bench_data() -> Path:
    """Folder of the benchmark."""
    folder = Path(os.environ.get("APBC_BENCH_DATA", REPOSITORY.parent / "shared" / "bench"))
    if not (folder / "score.py").is_file():
        raise Missing(f"there is no benchmark in {folder}; set APBC_BENCH_DATA")
    return folder


def command_line(arguments: Iterable[object]) -> str:
    """Command as it may be typed, without this machine's folders."""
    words = [str(a) for a in arguments]
    if words[0] == sys.executable:
        words[0] = "python"
    return without_folders(shlex.join(words))


def without_folders(text: str) -> str:
    """Shorten paths in a text to what they are from the repository's root."""
    return text.replace(f"{REPOSITORY}/", "").replace(f"{REPOSITORY.parent}/", "../")


def measured(
    arguments: Sequence[object], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> dict[str, float]:
    """Run a command in a process of its own: seconds, CPU seconds and peak memory in GB.

    What it prints goes to ``bench/commands.log``.

    Raises
    ------
    CommandFailed
    """
    WORK.mkdir(exist_ok=True)
    start = time.monotonic()
    with (WORK / "commands.log").open("a") as log:
        log.write(" ".join(map(str, arguments)) + "\n")
        log.flush()
        process = subprocess.Popen(
            [str(a) for a in arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        line = command_line(arguments)
        raise CommandFailed(f"{line} ended with {process.returncode}; see bench/commands.log")
    return {
        "seconds": time.monotonic() - start,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss / 1e6,
    }


def together(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Costs of commands that run one after the other."""
    costs = list(costs)
    return {
        "seconds": sum(c["seconds"] for c in costs),
        "cpu_seconds": sum(c["cpu_seconds"] for c in costs),
        "peak_gb": max(c["peak_gb"] for c in costs),
    }


def marginal(
    few: Mapping[str, float], many: Mapping[str, float], counts: tuple[int, int]
) -> dict[str, float]:
    """Tell what one micrograph costs, and what the start of a run does.

    Parameters
    ----------
    few, many : mapping
        Costs of two runs (`measured`).
    counts : (int, int)
        Micrographs of both.
    """
    less, more = counts
    found = {}
    for key, start in (("seconds", "start_seconds"), ("cpu_seconds", "start_cpu_seconds")):
        found[key] = (many[key] - few[key]) / (more - less)
        found[start] = few[key] - less * found[key]
    return {**found, "peak_gb": many["peak_gb"]}


def apbc(*words: object) -> dict[str, float]:
    """Run an engine verb."""
    return measured([sys.executable, "-m", "apbc", *words])


def prepare(binning: int, name: str = "empiar-10017") -> Path:
    """Micrographs of one of the benchmark's sets as MRC, binned."""
    out = WORK / f"{name}-bin{binning}"
    if not (out / "micrographs").is_dir():
        part = out.with_name(out.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        words = ["--set", name, "--bin", binning]
        measured([sys.executable, bench_data() / "prepare.py", part, *words])
        part.rename(out)
    return out


def split() -> tuple[Path, list[Path], list[Path]]:
    """Benchmark at full size: its folder, the training micrographs, and those to score."""
    data = prepare(1)
    paths = sorted((data / "micrographs").glob("*.mrc"))
    return data, paths[:TRAINING], paths[TRAINING:]


def listed(paths: Iterable[Path], name: str) -> Path:
    """List micrographs in a text file."""
    out = WORK / name
    out.write_text("\n".join(map(str, paths)) + "\n")
    return out


def digest(paths: Iterable[Path]) -> str:
    """Fingerprint of the names and bytes of some files."""
    found = hashlib.sha256()
    for path in sorted(paths):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def source_digest() -> str:
    """Fingerprint of the engine's source, so that figures of other code are not taken for its."""
    return digest((REPOSITORY / "apbc").rglob("*.py"))


def kept(
    folder: Path, request: Mapping[str, Any], make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """Return what `make` gives for this request, now or in an earlier run.

    Parameters
    ----------
    folder : Path
        Results; emptied before `make` fills it.
    request : mapping
        All that the result depends on, as JSON knows it.
    make : callable
        Given the folder; returns what JSON can hold.

    Returns
    -------
    dict
        With ``date``, and ``load_before``: the machine's load when it began, which tells whether
        seconds were measured alone.
    """
    wanted = json.loads(json.dumps(request, default=str))
    record = folder / "kept.json"
    if record.is_file():
        known = json.loads(record.read_text())
        if known["request"] == wanted:
            logger.info("kept: %s", folder.relative_to(REPOSITORY))
            return dict(known["result"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    load = round(os.getloadavg()[0], 2)
    result = {"date": time.strftime("%Y-%m-%d"), "load_before": load, **make(folder)}
    result = json.loads(json.dumps(result, default=str))
    write_json(record, {"request": wanted, "result": result})
    return result


def evaluate(
    picks: Path,
    truth: Path,
    names: Sequence[str],
    threshold: float | None = None,
    *,
    pixel_size: float = PIXEL_SIZE,
    diameter: float = DIAMETER,
    edge: float = EDGE,
    shape: tuple[int, int] = SHAPE,
    authors_rule: bool = False,
) -> dict[str, Any]:
    """Figures of picks on some micrographs, as ``apbc evaluate`` counts them, and more.

    Parameters
    ----------
    picks, truth : Path
        Folders of coordinate files in the same pixels.
    names : sequence of str
        Micrographs to score.
    threshold : float, optional
        Picks of a lower score count for average precision and the best F1 alone.
    pixel_size, diameter, edge : float, optional
        Å.
    shape : (int, int), optional
        Of every micrograph.
    authors_rule : bool, optional
        Count by the rule of DeepCryoPicker's authors, too.

    Returns
    -------
    dict
        Among others ``median_localisation_error`` in Å and ``..._share`` of the diameter; the same
        ``centred``, where ``mean_offsets`` of the picks of each micrograph are taken off.
    """
    radius = diameter / pixel_size / 2
    known = read_coordinate_folder(truth)
    figures = score_picks(
        read_coordinate_folder(picks),
        known,
        radius,
        shapes=dict.fromkeys(names, shape),
        edge=edge / pixel_size,
        threshold=threshold,
        only=list(names),
    )
    offsets = [_offsets(match, known[name], radius) for name, match in figures.matches.items()]
    # Truth may lie beside what is seen, all of it by the same vector: told apart by micrograph.
    centred = [vectors - vectors.mean(axis=0) for vectors in offsets if len(vectors)]
    errors = {}
    for key, vectors in (("localisation", offsets), ("centred_localisation", centred)):
        lengths = np.hypot(*np.concatenate([np.empty((0, 2)), *vectors]).T) * pixel_size
        error = float(np.median(lengths)) if len(lengths) else None
        errors[f"median_{key}_error"] = None if error is None else round(error, 2)
        errors[f"median_{key}_share"] = None if error is None else round(error / diameter, 4)
    told = {
        **figures.as_dict(pixel_size),
        **errors,
        "mean_offsets": {
            name: (vectors.mean(axis=0) * pixel_size).round(1).tolist() if len(vectors) else None
            for name, vectors in zip(figures.matches, offsets, strict=True)
        },
        "picks": sum(m.picks for m in figures.per_micrograph),
        "particles": sum(m.truth for m in figures.per_micrograph),
        "threshold": threshold,
    }
    if authors_rule:
        particles = {name: particles_of(points) for name, points in known.items()}
        told["authors_rule"] = authors_dict(score_as_authors(figures, particles, radius))
    return told


def _offsets(match: Match, known: npt.NDArray[np.float64], radius: float) -> Any:
    """Vectors from particles to the picks on them, pixels, shape (n, 2)."""
    hits, xy = match.picks[match.hit, :2], known[match.rows, :2]
    owners = match_closest_first(hits, xy, radius)
    return hits[owners != NONE] - xy[owners[owners != NONE]]


def mean_and_spread(rows: Sequence[Mapping[str, Any]], keys: Iterable[str]) -> dict[str, Any]:
    """Mean, smallest and largest value of figures over the runs with several seeds."""
    found = {}
    for key in keys:
        values = [row[key] for row in rows if row.get(key) is not None]
        if values:
            found[key] = {"mean": statistics.fmean(values), "min": min(values), "max": max(values)}
    return found


def machine() -> dict[str, Any]:
    """Class of the machine; nothing that tells which one it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    gpu = "none"
    if shutil.which("nvidia-smi"):
        ask = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpu = subprocess.run(ask, capture_output=True, text=True).stdout.strip() or "none"
    return {
        "class": platform.machine(),
        "cpu_cores": os.cpu_count(),
        "memory_gib": round(memory),
        "gpu": gpu,
    }


def versions() -> dict[str, str | None]:
    """Versions of what the figures of our own programs depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"apbc": __version__, "source": source_digest()}
    found["python"] = platform.python_version()
    for package in ("tensorflow", "keras", "numpy", "scipy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
