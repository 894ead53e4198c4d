"""One set of patches of several data sets, for a classifier of all shapes; and scores on each.

    . scripts/env.sh
    python benchmarks/bootstrap_mix.py MODEL DATA.h5 --json FILE

`mix` puts the patches of several data sets of ``apbc bootstrap`` into one, as the paper does: boxes
of all particles become the same window, and whole micrographs of each set are training, validation
or test. The program tells the accuracy of a classifier on the test part, for each of the sets.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from common import apbc

from apbc.bootstrap.patches import MOST_SHIFT, draw
from apbc.bootstrap.scale import shrink
from apbc.dataset.patch_store import GROUP, Patches, PatchWriter
from apbc.dataset.split import TEST, split_micrographs
from apbc.dataset.store import Dataset
from apbc.io.files import atomic_path, write_json, write_text
from apbc.models.alexnet import PARTICLE_CLASSES

# Of the simulated set: micrographs, their pixels and Å per pixel; pixels between particles.
MICROGRAPHS, SIDE, PIXEL_SIZE, PITCH, JITTER = 8, 1024, 3.3, 85, 15
BARREL = 125.0  # Å, of the barrel from above
SEPARATOR = ": "  # between the name of a set and that of its micrograph


def simulate_barrels(out: Path, seed: int) -> list[Path]:
    """Simulate micrographs of a barrel, every second particle from above and from its side.

    Parameters
    ----------
    out : Path
        Folder; what is there of an earlier call stays.
    seed : int

    Returns
    -------
    list of Path
        The micrographs.
    """
    rng = np.random.default_rng(seed)
    grid = (np.arange(SIDE // PITCH) + 0.5) * PITCH
    for number in range(1, MICROGRAPHS + 1):
        places = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
        places += rng.uniform(-JITTER, JITTER, places.shape)
        rows = ["x,y,class,rot,tilt,psi"]
        for i, (x, y) in enumerate(places):
            rot, psi = rng.uniform(0, 360, 2)
            rows.append(f"{x:.2f},{y:.2f},1,{rot:.1f},{90 * (i % 2)},{psi:.1f}")
        write_text(out / "places" / f"sim{seed}_{number:04d}.csv", "\n".join(rows) + "\n")
    apbc(
        *("simulate", "micrographs", "--out", out / "simulated", "--micrographs", MICROGRAPHS),
        *("--size", SIDE, SIDE, "--pixel-size", PIXEL_SIZE, "--builtin", "barrel"),
        *("--coordinates", out / "places", "--seed", seed, "--threads", 2),
        *("--phase-shift", 90, "--defocus", 3000, 5000, "--no-contamination"),
    )
    return sorted((out / "simulated" / "micrographs").glob("*.mrc"))


def mix(sources: Mapping[str, Path], out: Path, samples: int, seed: int) -> dict[str, Any]:
    """Write a data set with the patches of several.

    Parameters
    ----------
    sources : mapping of str to Path
        Data sets with patches.
    out : Path
    samples : int
        Draws of each class.
    seed : int

    Returns
    -------
    dict
        Number of originals of each source and class.
    """
    groups = {name: _read(path) for name, path in sources.items()}
    classes = [
        name
        for name in (*PARTICLE_CLASSES, "background")
        if any(name in patches.classes for patches, _ in groups.values())
    ]
    side = min(patches.side for patches, _ in groups.values())
    stored = side + 2 * MOST_SHIFT
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {"class": [], "micrograph": [], "coordinates": [], "split": []}
    pixels, before, told = [], 0, {}
    for name, (patches, images) in groups.items():
        label = np.array([classes.index(of) for of in patches.classes])[patches.label]
        count = int(patches.micrograph.max()) + 1
        particle = np.isin(label, [classes.index(c) for c in PARTICLE_CLASSES if c in classes])
        counts = np.stack(
            [
                np.bincount(patches.micrograph[part], minlength=count)
                for part in (particle, ~particle)
            ],
            axis=1,
        )
        parts = split_micrographs(counts, seed)
        columns["class"].append(label)
        columns["micrograph"].append(patches.micrograph + before)
        columns["coordinates"].append(patches.coordinates)
        columns["split"].append(parts[patches.micrograph])
        pixels.append(_resized(images, stored))
        told[name] = {of: int((label == i).sum()) for i, of in enumerate(classes)}
        with Dataset(sources[name]) as dataset:
            before += len(dataset.micrograph_names)
    table = {key: np.concatenate(values) for key, values in columns.items()}
    draws, repeated = draw(table["class"], table["split"], len(classes), samples, rng)
    first, _ = next(iter(groups.values()))
    with atomic_path(out) as temporary:
        _copy_without_patches(sources, temporary)
        writer = PatchWriter(temporary, side, MOST_SHIFT, tuple(first.stages))
        for images in pixels:
            writer.add(images)
        facts = {"classes": classes, "box": first.box, "pixel_size": first.pixel_size}
        facts |= {"samples": samples, "detection": first.detection, "seed": seed}
        facts["repeated"] = {name: int(n) for name, n in zip(classes, repeated, strict=True)}
        writer.finish(table, draws, facts)
    return {"originals": told}


def _read(path: Path) -> tuple[Patches, npt.NDArray[np.float16]]:
    """Patches of a data set, and the pixels of all their stages."""
    with h5py.File(path, "r") as file:
        return Patches(file[GROUP], path), file[GROUP]["pixels"][:]


def _resized(images: npt.NDArray[np.float16], side: int) -> npt.NDArray[np.float32]:
    """Images (n, stages, stored, stored) in other pixels."""
    if images.shape[-1] == side:
        return images.astype(np.float32)
    factor = side / images.shape[-1]
    flat = [shrink(image, factor) for image in images.reshape(-1, *images.shape[2:])]
    return np.array(flat, np.float32).reshape(*images.shape[:2], side, side)


def _copy_without_patches(sources: Mapping[str, Path], out: Path) -> None:
    """Copy the first data set, with the micrographs of all, and without patches."""
    tables: dict[str, list[Any]] = {}
    for name, path in sources.items():
        with h5py.File(path, "r") as file:
            for key, values in file["micrographs"].items():
                rows = values[:]
                if key == "name":
                    rows = [f"{name}{SEPARATOR}{row.decode()}" for row in rows]
                tables.setdefault(key, []).extend(rows)
    shutil.copy(next(iter(sources.values())), out)
    with h5py.File(out, "r+") as file:
        del file[GROUP]
        for key, rows in tables.items():
            dtype = file["micrographs"][key].dtype
            del file["micrographs"][key]
            file["micrographs"].create_dataset(key, data=np.array(rows, dtype=dtype))


def accuracy_by_source(model: Path, data: Path) -> dict[str, Any]:
    """Accuracy of a classifier on the test part, by the data set that patches are from."""
    from apbc.models.folder import load_model
    from apbc.training.classifier import class_figures, score

    network = load_model(model).network
    with Dataset(data) as dataset:
        patches = dataset.patches
        if patches is None:
            raise ValueError(f"{data} holds no patches")
        drawn = patches.drawn(TEST)
        values, labels = score(network, patches, drawn)
        owners = patches.micrograph[patches.draws.row[drawn]]
        names = np.array([name.split(SEPARATOR)[0] for name in dataset.micrograph_names])[owners]
    return {
        name: {
            key: class_figures(values[names == name], labels[names == name], patches.classes)[key]
            for key in ("samples", "accuracy", "confusion")
        }
        for name in dict.fromkeys(names.tolist())
    }


def main() -> None:
    """Write the accuracy on each data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    write_json(args.json, accuracy_by_source(args.model, args.data))


if __name__ == "__main__":
    main()
