"""Measure the simulation of particles: speed, memory, and Relion's reconstruction of the images.

    python benchmarks/ground_truth_particles.py [--only memory projection chain shrink relion]

Prints figures; needs relion_reconstruct on PATH for the last part. Files go to ``bench/``
(ignored) and are removed. Copy figures worth keeping to docs/benchmarks.md with the machine and
the date.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from apbc.geometry import euler_to_matrix
from apbc.io.volumes import read_volume
from apbc.metrics.fsc import VolumeTransform, shell_correlation
from apbc.simulate.imaging import Camera, ImageModel
from apbc.simulate.noise import Noise, image_generator
from apbc.simulate.particle_plan import ParticleOptions, draw_particles
from apbc.simulate.slices import SliceProjector, project_in_real_space
from apbc.simulate.structures import load_structures

WORK = Path(__file__).resolve().parents[1] / "bench"
CPUS = len(os.sched_getaffinity(0))


def seconds(work: Callable[[int], object], repeats: int) -> float:
    """CPU seconds that one call takes."""
    start = time.process_time()
    for n in range(repeats):
        work(n)
    return (time.process_time() - start) / repeats


def projection() -> None:
    """Time slices against the projection of the turned volume, at 128."""
    [structure] = load_structures((), ["antibody"], 2.0, 128)
    volume = structure.volume.data
    rotations = euler_to_matrix(draw_particles(ParticleOptions(200), [1.0]).angles)
    start = time.process_time()
    projector = SliceProjector(volume)
    prepared = time.process_time() - start
    slow = seconds(lambda n: project_in_real_space(volume, rotations[n]), 3)
    fast = seconds(lambda n: projector.project(rotations[n]), 200)
    one, other = project_in_real_space(volume, rotations[0]), projector.project(rotations[0])
    print(
        f"projection at 128: {slow * 1e3:.0f} ms in real space, {fast * 1e3:.2f} ms as a slice "
        f"({slow / fast:.0f} times as fast; {prepared:.1f} s to prepare the volume); "
        f"correlation {np.corrcoef(one.ravel(), other.ravel())[0, 1]:.5f}"
    )


def chain() -> None:
    """Time all that is done for an image, on one core."""
    for native, box in ((128, 128), (256, 128), (256, 256)):
        each = _seconds_an_image(native, box)
        print(f"chain {native} -> {box}: {1 / each:.0f} images/s a core ({each * 1e3:.2f} ms)")


def _seconds_an_image(native: int, box: int) -> float:
    structures = load_structures((), ["antibody"], 256 / native, native)
    camera = Camera(structures, draw_particles(ParticleOptions(300), [1.0]), ImageModel(), box)
    projector, noise = camera.projector(1), Noise(box, native)

    def image(n: int) -> None:
        rng = image_generator(0, n)
        clean, _ = camera.image(projector, n, rng)
        clean += noise.draw(1.0, rng)

    return seconds(image, 300)


def memory() -> None:
    """Measure peak memory and time of whole runs of 2,000 and 20,000 images."""
    for images in (2_000, 20_000):
        out = Path(tempfile.mkdtemp(dir=WORK))
        command = [sys.executable, "-m", "apbc", "simulate", "particles", "--out", str(out)]
        command += ["--images", str(images), "--builtin", "antibody", "--box", "96"]
        start = time.monotonic()
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.monotonic() - start
        shutil.rmtree(out)
        if os.waitstatus_to_exitcode(status):
            sys.exit(f"{' '.join(command)} failed")
        cpu = usage.ru_utime + usage.ru_stime
        print(
            f"run of {images} images of 96 px: peak {usage.ru_maxrss / 1024:.0f} MB, "
            f"{elapsed:.0f} s, {cpu:.0f} CPU s, {CPUS} cores"
        )


def shrink() -> None:
    """Fit the magnification of the original CryoBench projector, at 256."""
    box, place = 256, np.array([60.0, -35.0, 40.0])
    z, y, x = (np.indices((box,) * 3, np.float32).T - box // 2).T
    squared = (x - place[0]) ** 2 + (y - place[1]) ** 2 + (z - place[2]) ** 2
    blob = np.exp(-squared / 8)
    rotations = euler_to_matrix(draw_particles(ParticleOptions(20), [1.0]).angles)
    expected = (rotations @ place)[:, :2]
    rows, columns = np.indices((box, box)) - box // 2
    for magnification in (1.0, (box - 1) / box):
        projector = SliceProjector(blob, magnification=magnification)
        found = []
        for rotation in rotations:
            image = projector.project(rotation)
            r, c = np.unravel_index(image.argmax(), image.shape)
            near = (rows + box // 2 - r) ** 2 + (columns + box // 2 - c) ** 2 <= 100
            found.append(
                [(image * near * axis).sum() / (image * near).sum() for axis in (columns, rows)]
            )
        slope = (np.array(found) * expected).sum() / (expected**2).sum()
        print(f"magnification asked {magnification:.5f}, fitted {slope:.5f}")


def relion() -> None:
    """Reconstruct with Relion from 5,000 images without noise."""
    if shutil.which("relion_reconstruct") is None:
        sys.exit("relion_reconstruct is not on PATH")
    for extra in ([], ["--legacy-shrink"]):
        out = Path(tempfile.mkdtemp(dir=WORK))
        command = [sys.executable, "-m", "apbc", "simulate", "particles", "--out", str(out)]
        command += ["--images", "5000", "--builtin", "antibody", "--box", "128", "--pixel-size"]
        command += ["2", "--output-box", "64", "--no-noise", *extra]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        start = time.monotonic()
        subprocess.run(
            ["relion_reconstruct", "--ctf", "--i", "particles.star", "--o", "map.mrc"],
            cwd=out,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        elapsed = time.monotonic() - start
        found = read_volume(out / "map.mrc").data
        truth = read_volume(out / "volumes" / "antibody.mrc").data
        correlation = shell_correlation(VolumeTransform(found), VolumeTransform(truth))
        upto = correlation[1 : round(0.8 * 32) + 1]
        print(
            f"Relion, 5,000 images 128 -> 64 px {' '.join(extra)}: FSC at least {upto.min():.4f} "
            f"to 0.8 Nyquist, {correlation[round(0.95 * 32)]:.3f} at 0.95; {elapsed:.0f} s"
        )
        shutil.rmtree(out)


PARTS = {part.__name__: part for part in (memory, projection, chain, shrink, relion)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    WORK.mkdir(exist_ok=True)
    chosen = parser.parse_args().only
    # Memory first: the peak of a new process counts what its parent had when it was made.
    for name, part in PARTS.items():
        if name in chosen:
            part()
