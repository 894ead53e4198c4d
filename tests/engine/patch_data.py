"""Small micrographs of dark discs and squares whose places are known, as a set of patches."""

import mrcfile
import numpy as np

from apbc.bootstrap.examples import Examples
from apbc.bootstrap.patches import PatchOptions, write_patches
from apbc.bootstrap.scale import shrink
from apbc.bootstrap.stages import prepare
from apbc.dataset.build import DatasetOptions, from_micrographs
from apbc.dataset.labels import BAD, GOOD, Labels, Places
from apbc.io.images import read_micrograph
from apbc.preprocess.working import Preprocessing

PIXEL_SIZE, DIAMETER = 2.0, 80.0  # 40 px, so that nothing is shrunk
SHAPE = (300, 340)
GRID = [(x, y) for y in (60, 150, 240) for x in (60, 130, 210, 280)]  # all but one hold a particle
EMPTY = 6  # of the grid
CORNERS = [(14, 14), (326, 14), (14, 286), (326, 286)]  # of bad examples
NO_PARTICLES = [GRID[EMPTY], *((x, y) for x in (20, 320) for y in (20, 100, 280))]
SIDE_SIZE = (38.0, 30.0)


def micrograph(path, number, squares):
    """One micrograph; its discs and squares, and bad examples in its corners."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = rng.normal(0, 0.3, SHAPE)
    centres = np.array(GRID, float) + rng.integers(-4, 5, (len(GRID), 2))
    kept = np.delete(np.arange(len(GRID)), EMPTY)
    is_square = squares & (kept % 2 == 1)
    for (cx, cy), square in zip(centres[kept], is_square, strict=True):
        dx, dy = np.abs(x - cx), np.abs(y - cy)
        inside = (
            (dx < SIDE_SIZE[0] / 2) & (dy < SIDE_SIZE[1] / 2) if square else dx**2 + dy**2 < 400
        )
        image[inside] -= 1
    with mrcfile.new(path) as file:
        file.set_data(image.astype(np.float32))
        file.voxel_size = PIXEL_SIZE
    return Examples.join(
        [
            of_shape("top", centres[kept[~is_square]], (40, 40), ""),
            of_shape("side", centres[kept[is_square]], SIDE_SIZE, ""),
            of_shape("irregular", np.array(CORNERS), (40, 40), "border"),
        ]
    )


def of_shape(shape, positions, size, reason):
    """Examples of one shape and size."""
    n = len(positions)
    return Examples.of_shape(shape, positions, np.tile(size, (n, 1)), np.ones(n), [reason] * n)


def make_patches(folder, count=6, squares=True, **options):
    """Write a data set with patches; give its path, the examples and what was told."""
    (folder / "micrographs").mkdir(parents=True)
    examples, labels = {}, Labels()
    for number in range(count):
        name = f"mic{number}"
        found = micrograph(folder / "micrographs" / f"{name}.mrc", number, squares)
        examples[name] = found
        labels.add(GOOD, {name: Places.of(found.positions[found.good])})
        labels.add(BAD, {name: Places.of(np.array(NO_PARTICLES, float))})
    paths = sorted((folder / "micrographs").iterdir())
    out = folder / "data.h5"
    from_micrographs(paths, labels, DatasetOptions(Preprocessing(DIAMETER)), out)
    settings = PatchOptions(DIAMETER, PIXEL_SIZE, **options)

    def prepared(name):
        pixels = read_micrograph(folder / "micrographs" / f"{name}.mrc")
        return prepare(shrink(pixels, settings.scale.factor))

    return out, examples, write_patches(out, examples, prepared, settings)
