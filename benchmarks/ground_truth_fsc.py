"""Time Fourier shell correlation and alignment of volumes, and tell how exact they are.

    python benchmarks/ground_truth_fsc.py [--boxes 128 256] [--alignments 5]

The old way is measured in the same run: a full complex transform, and a boolean mask of the
whole volume for each shell.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from apbc.metrics.align import align_volume, apply_alignment
from apbc.metrics.fsc import VolumeTransform, fourier_shell_correlation, shell_correlation

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "engine"))
from density import angle_between, chain


def seconds(call, repeats=5):
    """Shortest of some runs, and what the last one gave."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - start)
    return min(times), result


def with_shell_masks(a, b):
    """Fourier shell correlation with a mask a shell, as CryoBench computes it."""
    box = len(a)
    axis = np.arange(-box // 2, box // 2)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    length = np.sqrt(x**2 + y**2 + z**2)
    a, b = (np.fft.fftshift(np.fft.fftn(np.fft.fftshift(v))) for v in (a, b))
    inner = np.zeros((box, box, box), bool)
    values = [1.0]
    for shell in range(1, box // 2):
        outer = length < shell
        chosen = np.where(outer & ~inner)
        one, two = a[chosen], b[chosen]
        values.append((np.vdot(one, two) / np.sqrt(np.vdot(one, one) * np.vdot(two, two))).real)
        inner = outer
    return np.array(values)


def time_fsc(box):
    """Print times of one pair of volumes, and of one more volume with the same reference."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(box, box, box)).astype(np.float32)
    b = a + rng.normal(size=a.shape).astype(np.float32)
    old, expected = seconds(lambda: with_shell_masks(a, b), repeats=1 if box > 128 else 3)
    new, curve = seconds(lambda: fourier_shell_correlation(a, b, 1.0, rule="cryobench"))
    rounded, _ = seconds(lambda: fourier_shell_correlation(a, b, 1.0))
    reference = VolumeTransform(b)
    reference.power("nearest")
    cached, _ = seconds(lambda: shell_correlation(VolumeTransform(a), reference))
    error = np.abs(curve.values - expected).max()
    print(
        f"FSC {box}^3: shell masks {old:.2f} s; apbc {rounded:.3f} s ({old / rounded:.0f} x), as "
        f"CryoBench {new:.3f} s ({old / new:.0f} x, largest difference {error:.1e}); reference "
        f"known {cached:.3f} s ({old / cached:.0f} x)"
    )


def time_alignment(box, count, noise):
    """Print times and errors of the rigid search, both hands."""
    times, angles, shifts, hands = [], [], [], 0
    for seed in range(count):
        rng = np.random.default_rng(seed)
        rotation = Rotation.random(random_state=seed).as_matrix()
        shift = rng.uniform(-0.1, 0.1, 3) * box
        mirror = bool(seed % 2)
        sigma = 1.6 * box / 64
        moving = chain(seed, box, sigma)
        reference = chain(seed, box, sigma, rotation, shift, mirror)
        deviation = noise * reference.std()
        moving = moving + deviation * rng.normal(size=moving.shape)
        reference = reference + deviation * rng.normal(size=moving.shape)
        took, found = seconds(lambda: align_volume(moving, reference), repeats=1)  # noqa: B023
        times.append(took)
        angles.append(angle_between(found.rotation, rotation))
        shifts.append(np.linalg.norm(found.shift_px - shift))
        hands += found.mirrored == mirror
    moved, _ = seconds(lambda: apply_alignment(moving, found), repeats=1)
    print(
        f"alignment {box}^3, noise {noise:g} x signal: {np.mean(times):.1f} s each (resampling "
        f"{moved:.1f} s); error {np.max(angles):.2f} degrees and {np.max(shifts):.2f} voxels at "
        f"most; right hand {hands} of {count}"
    )


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boxes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--alignments", type=int, default=5)
    args = parser.parse_args()
    for box in args.boxes:
        time_fsc(box)
    for box in (64, 128):
        for noise in (0.0, 0.5):
            time_alignment(box, args.alignments, noise)


if __name__ == "__main__":
    main()
