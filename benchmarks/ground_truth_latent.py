"""Time the metrics of latent spaces and poses against the plain ways.

    python benchmarks/ground_truth_latent.py [neighbours] [imbalance] [pose]

neighbours: 20,000 points, 20 sizes of the neighbourhood. The plain way sorts all distances of a
point anew for every size, as CryoBench does; it would take half an hour, so it is timed on a
sample of the points and multiplied. imbalance: 2,000 points, 6 sizes, both ways; the plain way
looks each neighbour's rank up for every size, timed on a sample, too. pose: 100,000 poses. Results
of both ways are compared. Points are random; the times do not hang on what the points are. Time of
the processor is that of all threads, and is to be trusted where others use the machine, too.
"""

import argparse
import resource
import sys
import time

import numpy as np


def say(text):
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def timed(function, *arguments):
    """Run a function; return the seconds it took, those of the processor, and its result."""
    start, processor = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return time.perf_counter() - start, time.process_time() - processor, result


def peak_memory():
    """Largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plain_similarity(truth, latents, sizes, rows):
    """Share of common neighbours of some points, with two argsorts a point and size.

    Returns
    -------
    ndarray, shape (sizes,)
        Percent, the mean over the points.
    """
    means = []
    for k in sizes:
        shares = []
        for i in rows:
            near = [
                np.argsort(np.linalg.norm(points - points[i], axis=1))[:k]
                for points in (truth, latents)
            ]
            shares.append(len(np.intersect1d(*near)) / k)
        means.append(100 * np.mean(shares))
    return np.array(means)


def benchmark_neighbours(n=20_000, sample=25):
    """Neighbourhood similarity for all sizes at once, and a size at a time."""
    from apbc.metrics.neighbours import neighbourhood_similarity

    rng = np.random.default_rng(0)
    truth = rng.normal(size=(n, 2))
    latents = np.hstack([truth, np.zeros((n, 6))]) + 0.3 * rng.normal(size=(n, 8))
    sizes = list(range(n // 100, n // 5 + 1, n // 100))
    rows = rng.choice(n, sample, replace=False)
    before = peak_memory()
    ours, busy, found = timed(neighbourhood_similarity, truth, latents, sizes, 0, True)
    corrected, _, _ = timed(neighbourhood_similarity, truth, latents, sizes)
    peak = peak_memory()
    plain, plain_busy, expected = timed(plain_similarity, truth, latents, sizes, rows)
    whole = plain * n / sample
    difference = np.abs(found.per_point[rows].mean(axis=0) - expected).max()
    say(f"neighbourhood similarity of {n} points, {len(sizes)} sizes up to {sizes[-1]}")
    say(f"  all at once: {ours:.1f} s as CryoBench counts, {corrected:.1f} s corrected")
    say(f"  memory: {peak - before:.0f} MB above {before:.0f} MB")
    say(
        f"  an argsort a point and size: {plain:.1f} s for {sample} points, that is {whole:.0f} s "
        f"for {n} (extrapolated): {whole / ours:.0f} times slower"
    )
    say(
        f"  processor: {busy:.1f} s against {plain_busy * n / sample:.0f} s (extrapolated), "
        f"{plain_busy * n / sample / busy:.0f} times"
    )
    say(f"  largest difference on these points: {difference:.2g} percent points")


def plain_imbalance(first, second, sizes, rows):
    """Information imbalance of some points, with the rank of each neighbour looked up in a list."""
    n = len(first)
    orders = []
    for points in (first, second):
        squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
        orders.append(np.argsort(squared, axis=1))
    found = []
    for here, there in (orders, orders[::-1]):
        for k in sizes:
            ranks = [[list(there[i]).index(j) for j in here[i, 1 : k + 1]] for i in rows]
            found.append(2 / n * np.mean(ranks))
    return np.array(found).reshape(2, -1)


def benchmark_imbalance(n=2000, sample=20):
    """Information imbalance from ranks that are found once, and looked up in lists."""
    from apbc.metrics.imbalance import COUNTS, information_imbalance

    rng = np.random.default_rng(0)
    truth, latents = rng.normal(size=(n, 3)), rng.normal(size=(n, 8))
    ours, _, found = timed(information_imbalance, truth, latents)
    rows = rng.choice(n, sample, replace=False)
    plain, _, expected = timed(plain_imbalance, truth, latents, COUNTS, rows)
    say(f"information imbalance of {n} points, {len(COUNTS)} sizes, both ways")
    say(f"  ranks found once: {ours:.2f} s (at most 2 s are asked for)")
    say(
        f"  ranks looked up in lists: {plain:.1f} s for {sample} points, that is about "
        f"{plain * n / sample:.0f} s for {n} (extrapolated)"
    )
    say(f"  mean of {sample} points against all: {np.abs(np.array(found) - expected).mean():.3f}")


def benchmark_pose(n=100_000):
    """Pose error of many images, without and with symmetry."""
    from scipy.spatial.transform import Rotation

    from apbc.metrics.pose_error import find_frame, pose_errors
    from apbc.metrics.symmetry import symmetry_matrices

    rng = np.random.default_rng(0)
    true = Rotation.random(n, random_state=0)
    noise = Rotation.from_rotvec(np.deg2rad(3) * rng.normal(size=(n, 3)))
    predicted = (noise * true * Rotation.random(random_state=1)).as_matrix()
    say(f"pose error of {n} images, both hands tried")
    for name in ("C1", "D2", "O", "I"):
        group = symmetry_matrices(name)

        def measure(group=group):
            frame = find_frame(predicted, true.as_matrix(), group)
            return pose_errors(predicted, true.as_matrix(), frame, group)

        seconds, _, errors = timed(measure)
        say(f"  {name}: {seconds:.1f} s, median {np.median(errors.angle):.2f} degrees")


BENCHMARKS = {
    "neighbours": benchmark_neighbours,
    "imbalance": benchmark_imbalance,
    "pose": benchmark_pose,
}


def main():
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    for name in names:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main()
