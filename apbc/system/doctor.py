"""Find out whether this installation can train and pick, and on which device."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
from typing import Any

from apbc import __version__
from apbc.system.devices import DriverGpu, driver_gpus

PROBE_SECONDS = 600
# What the engine imports, by import name and by the name that pip knows.
PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "h5py": "h5py",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "mrcfile": "mrcfile",
    "tifffile": "tifffile",
    "imagecodecs": "imagecodecs",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "starfile": "starfile",
    "pandas": "pandas",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
}
# Lines of TensorFlow's log that say why it sees no GPU.
REASONS = ("Cannot dlopen", "Could not find cuda", "failed call to cuInit", "no kernel image")


def examine() -> dict[str, Any]:
    """Look at everything the engine needs.

    Returns
    -------
    dict
        ``apbc``, ``python``, ``executable``, ``system``: strings; ``packages``:
        version by name, None for a missing one; ``driver``: version or None;
        ``driver_gpus``: names; ``tensorflow``, ``keras``, ``backend``: strings
        or None; ``gpus``: list of ``index, name, memory_mib, error``;
        ``training``: dict or None; ``failure``: what stopped the trial, or None;
        ``hints``: lines of TensorFlow's log about GPUs.
    """
    driver = driver_gpus()
    return {
        "apbc": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "packages": {name: version_of(module, name) for module, name in PACKAGES.items()},
        "driver": driver[0].driver if driver else None,
        "driver_gpus": [gpu.name for gpu in driver],
        **probe(driver),
    }


def version_of(module: str, name: str) -> str | None:
    """Version of an installed package, or None where it is missing."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def probe(driver: list[DriverGpu]) -> dict[str, Any]:
    """Run `apbc.system.probe` in a child process and gather what it tells.

    Parameters
    ----------
    driver : list of DriverGpu
        The driver's view, which gives each GPU its memory.

    Returns
    -------
    dict
        The keys of `examine` that belong to TensorFlow.
    """
    # The log of TensorFlow is wanted here: it says why a GPU is not seen.
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "apbc.system.probe"],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=PROBE_SECONDS,
            check=False,
        )
        told, log, status = child.stdout, child.stderr, child.returncode
    except subprocess.TimeoutExpired as error:
        told, log = ((error.stdout or b"").decode(), (error.stderr or b"").decode())
        log, status = log + f"\nno answer after {PROBE_SECONDS} s", -1
    return gather(told, log, status, driver)


def gather(told: str, log: str, status: int, driver: list[DriverGpu]) -> dict[str, Any]:
    """Put together the probe's lines.

    Parameters
    ----------
    told : str
        Its standard output: a JSON object a line.
    log : str
        Its standard error.
    status : int
        Its exit status; negative for a signal.
    driver : list of DriverGpu

    Returns
    -------
    dict
        As `probe`.
    """
    facts: dict[str, Any] = {"tensorflow": None, "keras": None, "backend": None, "training": None}
    gpus = []
    stage = "starting Python"
    for line in told.splitlines():
        if not line.startswith("{"):
            continue
        fact = json.loads(line)
        stage = fact.pop("stage", stage)
        if "gpu" in fact:
            gpu = fact.pop("gpu")
            gpus.append({**gpu, "memory_mib": memory_of(gpu["index"], driver)})
        facts.update(fact)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    failure = None
    if status != 0:
        why = f"killed by signal {-status}" if status < -1 else (lines or ["no message"])[-1]
        failure = f"{stage} failed: {why}"
    hints = [line for line in lines if any(reason in line for reason in REASONS)]
    return {**facts, "gpus": gpus, "failure": failure, "hints": hints}


def memory_of(index: int, driver: list[DriverGpu]) -> int | None:
    """Memory in MiB of the GPU that TensorFlow numbers `index`, or None where unknown."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        name = str(index)
    else:
        words = [word.strip() for word in visible.split(",")]
        name = words[index] if index < len(words) else ""
    for gpu in driver:
        if name == str(gpu.index) or (name and gpu.uuid.startswith(name)):
            return gpu.memory or None
    return None


def find_problems(findings: dict[str, Any], require_gpu: bool = False) -> list[str]:
    """One sentence for each thing that must be mended.

    Parameters
    ----------
    findings : dict
        Result of `examine`.
    require_gpu : bool
        Whether a machine without a GPU is a problem, too.

    Returns
    -------
    list of str
    """
    problems = []
    missing = [name for name, version in findings["packages"].items() if version is None]
    if missing:
        problems.append(
            f"missing packages {', '.join(missing)}: "
            'install the engine with pip install "scipion-em-apbc[engine]"'
        )
    if findings["failure"]:
        problems.append(findings["failure"])
    if findings["backend"] not in (None, "tensorflow"):
        problems.append(
            f"Keras runs on {findings['backend']}, not on TensorFlow: unset KERAS_BACKEND"
        )
    training = findings["training"]
    if training and not training["good"]:
        problems.append(f"the tiny training gave nonsense (loss {training['loss']})")
    for gpu in findings["gpus"]:
        if gpu["error"]:
            problems.append(f"GPU {gpu['index']} ({gpu['name']}) cannot compute: {gpu['error']}")
    if not findings["gpus"] and findings["tensorflow"]:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
        if findings["driver"] and not hidden:
            problems.append(
                f"the NVIDIA driver {findings['driver']} reports "
                f"{', '.join(findings['driver_gpus'])} but TensorFlow {findings['tensorflow']} "
                'sees no GPU: run pip install "scipion-em-apbc[engine,cuda]" in this environment'
            )
        elif require_gpu:
            why = "CUDA_VISIBLE_DEVICES hides them all" if hidden else "no NVIDIA driver answers"
            problems.append(f"a GPU is required, but there is none: {why}")
    return problems


def describe(findings: dict[str, Any]) -> str:
    """Write the findings as a table for people."""
    rows = [
        ("apbc", findings["apbc"]),
        ("Python", f"{findings['python']} ({findings['executable']})"),
        ("TensorFlow", findings["tensorflow"] or "DOES NOT IMPORT"),
        ("Keras", f"{findings['keras']} on {findings['backend']}" if findings["keras"] else "-"),
        ("packages", ", ".join(f"{n} {v or 'MISSING'}" for n, v in findings["packages"].items())),
        ("NVIDIA driver", findings["driver"] or "none"),
    ]
    for gpu in findings["gpus"]:
        memory = f"{gpu['memory_mib'] / 1024:.1f} GiB" if gpu["memory_mib"] else "memory unknown"
        worked = "matrix product failed" if gpu["error"] else "matrix product ran"
        rows.append((f"GPU {gpu['index']}", f"{gpu['name']}, {memory}, {worked}"))
    if not findings["gpus"]:
        rows.append(("GPU", "NONE: everything runs on the CPU only"))
    training = findings["training"]
    if training:
        rows.append(("training step", f"ran, with an inference, in {training['seconds']} s"))
    lines = [f"{name:<14} {value}" for name, value in rows]
    if findings["driver"] and not findings["gpus"]:
        lines += [f"{'log':<14} {hint}" for hint in findings["hints"]]
    return "\n".join(lines)
