"""Run other particle pickers, and ours, in the same way: the peers of ``picking.py`` and its parts.

Every picker takes MRC micrographs of one pixel size and the particle's diameter in Å, and a folder
to work in. Every one returns `Picks`: a folder of scored coordinate files, the threshold that the
program itself documents, what it cost, and its settings. Training takes coordinate folders with a
file a micrograph (``NAME.csv``, pixels of these micrographs) and returns `Model`. Work that was
done before with the same settings is kept (`common.kept`), so a run that was cut off goes on.

    model = pickers.topaz_train(training, labels, expected=680, pixel_size=1.77, diameter=190,
                                out=WORK / "picking" / "topaz-0", seed=0)
    picks = pickers.topaz_pick(test, model, pixel_size=1.77, diameter=190, out=...)
    figures = common.evaluate(picks.folder, truth, names, picks.threshold)

A program that is not there raises `common.Missing` with a sentence that says what to do.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    DIAMETER,
    WORK,
    CommandFailed,
    Missing,
    apbc,
    command_line,
    digest,
    kept,
    logger,
    measured,
    source_digest,
    split,
    together,
)

from apbc.io.coordinates import read_coordinate_folder, write_coordinates
from apbc.io.mrc import mrc_layout

KEPT = WORK / "picking"
TOPAZ_ENVIRONMENT = WORK / "topaz-env"
# setuptools: newer ones have no pkg_resources, with which Topaz finds its models on some Pythons.
TOPAZ_PACKAGES = ("topaz-em==0.3.20", "torch", "torchvision", "setuptools<81")
TOPAZ_PIXEL_SIZE = 8.0  # Å, that its authors advise
TOPAZ_MINIBATCHES, TOPAZ_EPOCHS = 200, 6  # an epoch's, and epochs: 1,200 in all
TOPAZ_RADIUS = 3  # pixels about a label that count as particle in training: its default
TOPAZ_THRESHOLD = 0.0  # log-likelihood ratio: as likely a particle as not
TOPAZ_LOWEST = -6.0  # its command's default: what is below is no candidate
TOPAZ_SEEDED = (
    "import sys, random, numpy, torch; seed = int(sys.argv.pop(1)); random.seed(seed); "
    "numpy.random.seed(seed); torch.manual_seed(seed); from topaz.main import main; "
    "sys.argv[0] = 'topaz'; sys.exit(main())"
)
LOG_THRESHOLD = 0.0  # standard deviations, Relion's default


@dataclass(frozen=True)
class Model:
    """A trained picker.

    Attributes
    ----------
    path : Path or str
        What the program calls its model.
    costs : dict
        Of training: ``seconds``, ``cpu_seconds``, ``peak_gb``, and of each step under ``steps``.
    settings : dict
        All that was asked for, with the commands.
    """

    path: Path | str
    costs: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picks:
    """What a picker found.

    Attributes
    ----------
    folder : Path
        ``NAME.csv`` or ``.star`` with x, y and score of all candidates, pixels of the micrographs.
    threshold : float or None
        Candidates from this score on are its picks by default; None for all of them.
    costs : dict
        ``seconds``, ``cpu_seconds`` and ``peak_gb`` of all micrographs together, start included;
        each step under ``steps``.
    settings : dict
        All that was asked for, with the commands.
    """

    folder: Path
    threshold: float | None
    costs: dict[str, Any]
    settings: dict[str, Any]


# --- apbc ------------------------------------------------------------------------------------


def apbc_dataset(
    micrographs: Sequence[Path],
    good: Path,
    bad: Path | None,
    diameter: float,
    out: Path,
    extra: Sequence[object] = (),
) -> tuple[Path, dict[str, Any]]:
    """Make a data set of labels on some micrographs: its file and what it cost."""
    sources = {"good": good, **({} if bad is None else {"bad": bad})}
    request = {
        "source": source_digest(),
        "micrographs": _inputs(micrographs),
        "labels": {kind: _labels_digest(folder, micrographs) for kind, folder in sources.items()},
        "diameter": diameter,
        "extra": [str(word) for word in extra],
    }

    def make(folder: Path) -> dict[str, Any]:
        names = folder / "micrographs.txt"
        names.write_text("\n".join(map(str, micrographs)) + "\n")
        words: list[object] = ["dataset", "--micrographs", names, "--diameter", diameter]
        for kind, path in sources.items():
            words += [f"--{kind}", path]
        words += ["--out", folder / "data.h5", *extra]
        return {**apbc(*words), "commands": [command_line(["apbc", *words])]}

    return out / "data.h5", kept(out, request, make)


def apbc_bootstrap(
    micrographs: Sequence[Path],
    out: Path,
    diameter: float | None = None,
    extra: Sequence[object] = (),
) -> dict[str, Any]:
    """Find particles without a label: costs and command; the folder `out` holds all else."""
    request = {
        "source": source_digest(),
        "micrographs": _inputs(micrographs),
        "diameter": diameter,
        "extra": [str(word) for word in extra],
    }

    def make(folder: Path) -> dict[str, Any]:
        names = folder / "micrographs.txt"
        names.write_text("\n".join(map(str, micrographs)) + "\n")
        words: list[object] = ["bootstrap", "--micrographs", names, "--out", folder]
        words += [] if diameter is None else ["--diameter", diameter]
        words += extra
        return {**apbc(*words), "commands": [command_line(["apbc", *words])]}

    return kept(out, request, make)


def apbc_train(
    dataset: Path,
    out: Path,
    architecture: str = "dense",
    seed: int = 0,
    extra: Sequence[object] = (),
) -> Model:
    """Train on the CPU on a data set of one of the functions above, all else at its default."""
    request = {
        "source": source_digest(),
        "dataset": digest([dataset.parent / "kept.json"]),
        "architecture": architecture,
        "seed": seed,
        "extra": [str(word) for word in extra],
    }

    def make(folder: Path) -> dict[str, Any]:
        words = ["train", dataset, "--out", folder / "model", "--architecture", architecture]
        words += ["--seed", seed, "--gpu", "", *extra]
        return {**apbc(*words), "commands": [command_line(["apbc", *words])]}

    costs = kept(out, request, make)
    return Model(out / "model", costs, {"commands": costs.pop("commands")})


def apbc_pick(
    micrographs: Sequence[Path], model: Model, out: Path, extra: Sequence[object] = ()
) -> Picks:
    """Pick with a model of `apbc_train`, on the CPU."""
    request = {
        "source": source_digest(),
        "model": digest([Path(model.path) / "card.json"]),
        "micrographs": _inputs(micrographs),
        "extra": [str(word) for word in extra],
    }

    def make(folder: Path) -> dict[str, Any]:
        words = ["pick", model.path, "--micrographs", *micrographs, "--out", folder / "picks"]
        words += ["--gpu", "", *extra]
        return {**apbc(*words), "commands": [command_line(["apbc", *words])]}

    costs = kept(out, request, make)
    record = json.loads((out / "picks" / "run.json").read_text())
    settings = {"commands": costs.pop("commands")}
    return Picks(out / "picks" / "candidates", record["threshold"], costs, settings)


def benchmark_model(
    architecture: str = "dense", seed: int = 0, extra: Sequence[object] = ()
) -> Model:
    """Train on the labels of the benchmark's first micrographs."""
    data, training, _ = split()
    dataset, made = apbc_dataset(
        training, data / "good", data / "bad", DIAMETER, KEPT / "apbc-dataset"
    )
    words = "-".join(re.sub(r"\W", "", str(word)) for word in extra)
    name = "-".join(filter(None, ["apbc", architecture, words, str(seed)]))
    model = apbc_train(dataset, KEPT / name, architecture, seed, extra)
    return Model(model.path, {**model.costs, "dataset": made}, model.settings)


# --- Topaz -----------------------------------------------------------------------------------


def topaz_program() -> Path:
    """Python of an environment with Topaz, made under ``bench/`` when it is not there."""
    python = TOPAZ_ENVIRONMENT / "bin" / "python"
    if not topaz_is_there():
        logger.info("installing Topaz into %s ...", TOPAZ_ENVIRONMENT)
        shutil.rmtree(TOPAZ_ENVIRONMENT, ignore_errors=True)
        try:
            measured([sys.executable, "-m", "venv", TOPAZ_ENVIRONMENT])
            measured([python, "-m", "pip", "install", *TOPAZ_PACKAGES])
            measured([python, "-c", "import topaz.main; topaz.main.main()", "--version"])
        except CommandFailed as error:
            raise Missing(f"Topaz could not be installed: {error}") from error
        (TOPAZ_ENVIRONMENT / "ready").touch()
    return python


def topaz_is_there() -> bool:
    """Tell whether Topaz is installed already."""
    return (TOPAZ_ENVIRONMENT / "ready").is_file()


def topaz_versions() -> dict[str, str]:
    """Versions of Topaz and of what it runs on."""
    lines = subprocess.run(
        [topaz_program(), "-m", "pip", "freeze"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    found = dict(line.split("==") for line in lines if "==" in line)
    return {name: found[name] for name in ("topaz-em", "torch", "numpy", "pandas")}


def topaz_downsampling(pixel_size: float) -> int:
    """Factor that brings pixels nearest to what Topaz's authors advise."""
    return max(1, round(TOPAZ_PIXEL_SIZE / pixel_size))


def topaz_train(
    micrographs: Sequence[Path],
    labels: Path,
    *,
    expected: float,
    pixel_size: float,
    diameter: float,
    out: Path,
    seed: int = 0,
    minibatches: int = TOPAZ_MINIBATCHES,
    epochs: int = TOPAZ_EPOCHS,
    correct_share: bool = True,
) -> Model:
    """Train Topaz on good labels alone: it learns from positives and unlabelled background.

    Parameters
    ----------
    micrographs : sequence of Path
    labels : Path
        Folder of coordinate files of particles, incomplete.
    expected : float
        Particles that a micrograph is thought to hold; never counted from truth that is scored.
    pixel_size, diameter : float
        Å.
    out : Path
        Folder to work in.
    seed, minibatches, epochs : int, optional
    correct_share : bool, optional
        Tell Topaz the share of pixels that are particle rather than the number of particles, from
        which Topaz 0.3.20 makes a share that is too large (`_topaz_share`).

    Returns
    -------
    Model
        That of the last epoch.
    """
    factor = topaz_downsampling(pixel_size)
    points = {path.stem: read_coordinate_folder(labels)[path.stem][:, :2] for path in micrographs}
    share = _topaz_share(micrographs, points, expected, factor) if correct_share else None
    request = {
        "versions": topaz_versions(),
        "micrographs": _inputs(micrographs),
        "labels": _labels_digest(labels, micrographs),
        "expected": expected,
        "share": share,
        "downsampling": factor,
        "seed": seed,
        "minibatches": minibatches,
        "epochs": epochs,
    }

    def make(folder: Path) -> dict[str, Any]:
        images, first = _topaz_preprocess(micrographs, factor, folder)
        targets = folder / "targets.txt"
        rows = ["image_name\tx_coord\ty_coord"]
        for path in micrographs:
            for x, y in np.rint(points[path.stem] / factor).astype(int):
                rows.append(f"{path.stem}\t{x}\t{y}")
        targets.write_text("\n".join(rows) + "\n")
        words: list[object] = ["train", "--train-images", images, "--train-targets", targets]
        words += ["--num-particles", expected] if share is None else ["--pi", share]
        words += ["--radius", TOPAZ_RADIUS, "--model", "resnet8", "--device", -1]
        words += ["--epoch-size", minibatches, "--num-epochs", epochs]
        words += ["--save-prefix", folder / "model", "--output", folder / "training.txt"]
        second = _topaz(words, seed)
        return _steps({"preprocess": first, "train": second})

    result = kept(out, request, make)
    settings = {"commands": result.pop("commands"), **_plain(request), "train_diameter": diameter}
    return Model(out / f"model_epoch{epochs}.sav", result, settings)


def _topaz_share(
    micrographs: Sequence[Path],
    points: Mapping[str, np.ndarray[Any, Any]],
    expected: float,
    factor: int,
) -> float:
    """Share of pixels that are particle, to be given to Topaz.

    Topaz learns with this share less that of the labels, and counts the pixels of a label in a cube
    instead of a square (``pixels_given_radius`` of 0.3.20): seven times too many for a radius of 3.
    So the labels' share is given as Topaz counts it, and the unlabelled particles' as it is.
    """
    disc = np.hypot(*np.mgrid[-TOPAZ_RADIUS : TOPAZ_RADIUS + 1, -TOPAZ_RADIUS : TOPAZ_RADIUS + 1])
    pixels = int((disc <= TOPAZ_RADIUS).sum())
    labels = sum(map(len, points.values()))
    shapes = [mrc_layout(path) for path in micrographs]
    area = sum((shape.rows // factor) * (shape.columns // factor) for shape in shapes)
    unlabelled = max(expected * len(micrographs) - labels, 0)
    return round(pixels * (unlabelled + len(disc) * labels) / area, 6)


def topaz_pick(
    micrographs: Sequence[Path],
    model: Model | None,
    *,
    pixel_size: float,
    diameter: float,
    out: Path,
) -> Picks:
    """Pick with Topaz: preprocess and extract, on the CPU.

    Parameters
    ----------
    micrographs : sequence of Path
    model : Model or None
        Of `topaz_train`; None for its pretrained general model, the default of its command.
    pixel_size, diameter : float
        Å. Picks are at least half a diameter apart.
    out : Path
        Folder to work in.
    """
    factor = topaz_downsampling(pixel_size)
    request = {
        "versions": topaz_versions(),
        "micrographs": _inputs(micrographs),
        "model": "resnet16" if model is None else digest([Path(model.path)]),
        "downsampling": factor,
        "radius": round(diameter / 2 / pixel_size / factor),
        "lowest": TOPAZ_LOWEST,
    }

    def make(folder: Path) -> dict[str, Any]:
        images, first = _topaz_preprocess(micrographs, factor, folder)
        words: list[object] = ["extract", "--model", "resnet16" if model is None else model.path]
        words += ["--radius", request["radius"], "--threshold", TOPAZ_LOWEST, "--device", -1]
        words += ["--up-scale", factor, "--output", folder / "extracted.txt"]
        second = _topaz([*words, *[images / path.name for path in micrographs]])
        (folder / "picks").mkdir()
        with (folder / "extracted.txt").open() as handle:
            found = list(csv.DictReader(handle, delimiter="\t"))
        for path in micrographs:
            of_it = [row for row in found if row["image_name"] == path.stem]
            xy = [(float(row["x_coord"]), float(row["y_coord"])) for row in of_it]
            scores = [float(row["score"]) for row in of_it]
            write_coordinates(folder / "picks" / f"{path.stem}.csv", xy, scores)
        return _steps({"preprocess": first, "extract": second})

    result = kept(out, request, make)
    settings = {"commands": result.pop("commands"), **_plain(request)}
    return Picks(out / "picks", TOPAZ_THRESHOLD, result, settings)


def _topaz_preprocess(
    micrographs: Sequence[Path], factor: int, folder: Path
) -> tuple[Path, dict[str, Any]]:
    """Downsample and normalise, once for all that is done with the same micrographs beside it."""
    request = {
        "versions": topaz_versions(),
        "micrographs": _inputs(micrographs),
        "downsampling": factor,
    }
    name = hashlib.sha256(repr(sorted(micrographs)).encode()).hexdigest()[:8]
    images = folder.parent / "topaz-images" / f"{name}-{factor}"

    def make(_: Path) -> dict[str, Any]:
        words: list[object] = ["preprocess", "--scale", factor, "--destdir", images]
        return _topaz([*words, *micrographs])

    return images, kept(images, request, make)


def _topaz(words: Sequence[object], seed: int = 0) -> dict[str, Any]:
    """Run a verb of Topaz with a seed, which it has no option for, on the CPU."""
    command = [topaz_program(), "-c", TOPAZ_SEEDED, seed, *words]
    costs = measured(command, env={"CUDA_VISIBLE_DEVICES": ""})
    return {**costs, "command": command_line(["topaz", *words])}


# --- Relion ----------------------------------------------------------------------------------


def relion_version() -> str:
    """Version of the Relion on PATH."""
    program = shutil.which("relion_autopick")
    if program is None:
        raise Missing("there is no relion_autopick on PATH; install Relion (Debian: relion)")
    told = subprocess.run([program, "--version"], capture_output=True, text=True)
    found = re.search(r"[0-9]+\.[0-9.]+[0-9]", told.stdout + told.stderr)
    return found[0] if found else "unknown"


def relion_log(
    micrographs: Sequence[Path],
    *,
    pixel_size: float,
    diameter: float,
    out: Path,
    threshold: float = LOG_THRESHOLD,
) -> Picks:
    """Pick with Relion's Laplacian of Gaussian, from 0.85 to 1.05 diameters.

    `threshold` is in its standard deviations above the mean; all that it writes are its picks.
    """
    request = {
        "version": relion_version(),
        "micrographs": _inputs(micrographs),
        "pixel_size": pixel_size,
        "diameter": diameter,
        "threshold": threshold,
    }

    def make(folder: Path) -> dict[str, Any]:
        (folder / "mics").mkdir()
        for path in micrographs:
            (folder / "mics" / path.name).symlink_to(path.resolve())
        optics = "# version 30001\n\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n"
        optics += "_rlnOpticsGroup #2\n_rlnMicrographPixelSize #3\n_rlnVoltage #4\n"
        optics += "_rlnSphericalAberration #5\n_rlnAmplitudeContrast #6\n"
        optics += f"opticsGroup1 1 {pixel_size} 300 2 0.1\n\n# version 30001\n\n"
        names = "".join(f"mics/{path.name} 1\n" for path in micrographs)
        (folder / "mics.star").write_text(
            f"{optics}data_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n{names}"
        )
        command: list[object] = ["relion_autopick", "--i", "mics.star", "--odir", "Log/"]
        command += ["--pickname", "log", "--LoG", "--lowpass", 20]
        command += ["--LoG_adjust_threshold", threshold]
        command += ["--LoG_diam_min", diameter * 0.85, "--LoG_diam_max", diameter * 1.05]
        costs = measured(command, cwd=folder)
        (folder / "picks").mkdir()
        for path in micrographs:
            found = folder / "Log" / "mics" / f"{path.stem}_log.star"
            shutil.copy(found, folder / "picks" / f"{path.stem}.star")
        return _steps({"autopick": {**costs, "command": command_line(command)}})

    result = kept(out, request, make)
    settings = {"commands": result.pop("commands"), **_plain(request)}
    return Picks(out / "picks", None, result, settings)


# --- shared ----------------------------------------------------------------------------------


def _inputs(micrographs: Sequence[Path]) -> list[tuple[Path, int, int]]:
    """Micrographs, with what tells when one has become another."""
    found = [(path.resolve(), path.stat()) for path in micrographs]
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in found]


def _labels_digest(folder: Path, micrographs: Sequence[Path]) -> str:
    names = {path.stem for path in micrographs}
    return digest(p for p in folder.iterdir() if p.stem in names)


def _steps(steps: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Costs of all steps and of each, and their commands."""
    commands = [step.pop("command") for step in steps.values()]
    return {**together(steps.values()), "steps": dict(steps), "commands": commands}


def _plain(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without this machine's folders."""
    return {**request, "micrographs": [path.stem for path, *_ in request["micrographs"]]}
