"""Volumes whose turned, moved and mirrored copies are known exactly."""

import numpy as np


def chain(seed, box=64, sigma=1.6, rotation=None, shift=(0, 0, 0), mirror=False, spread=0.16):
    """Sum of Gaussians along a random walk that fills the middle of the box, float32 (z, y, x).

    A bead at r (x, y, z in voxels from the centre) goes to ``rotation r + shift``; with `mirror`
    to ``rotation diag(1, 1, -1) r + shift``. The radius of gyration is `spread` times the box.
    """
    rng = np.random.default_rng(seed)
    beads = 40
    places = np.cumsum(rng.normal(size=(beads, 3)), axis=0)
    places -= places.mean(axis=0)
    places *= spread * box / np.sqrt((places**2).sum(axis=1).mean())
    weights = rng.uniform(0.5, 1.5, beads)
    if mirror:
        places = places * [1, 1, -1]
    if rotation is not None:
        places = places @ np.asarray(rotation).T
    axis = np.arange(box) - box // 2
    x, y, z = (
        np.exp(-((axis - (places[:, [i]] + shift[i])) ** 2) / (2 * sigma**2)) for i in range(3)
    )
    return np.einsum("n,nz,ny,nx->zyx", weights, z, y, x).astype(np.float32)


def angle_between(a, b):
    """Angle in degrees of the rotation from one matrix to another."""
    return np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1)))
