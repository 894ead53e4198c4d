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
GRID = [(x, y) for y in (60, 150, 240) for x in (60, 130, 210, 280)]  # all but one hold a disc
EMPTY = 6  # of the grid
SIDE_SIZE = (38.0, 30.0)


def micrograph(path, number, squares):
    """One micrograph; its good discs, its good squares, and one bad disc (the last)."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = rng.normal(0, 0.3, SHAPE)
    centres = np.array(GRID, float) + rng.integers(-4, 5, (len(GRID), 2))
    kept = np.delete(np.arange(len(GRID)), EMPTY)
    for i in kept:
        dx, dy = np.abs(x - centres[i, 0]), np.abs(y - centres[i, 1])
        square = squares and i % 2 == 0
        inside = (
            (dx < SIDE_SIZE[0] / 2) & (dy < SIDE_SIZE[1] / 2) if square else dx**2 + dy**2 < 400
        )
        image[inside] -= 1
    with mrcfile.new(path) as file:
        file.set_data(image.astype(np.float32))
        file.voxel_size = PIXEL_SIZE
    is_square = np.array([squares and i % 2 == 0 for i in kept])
    discs, blocks = centres[kept[~is_square]], centres[kept[is_square]]
    reasons = [""] * (len(discs) - 1) + ["overlaps"]
    return Examples.join(
        [
            Examples.of_shape(
                "top", discs, np.full((len(discs), 2), 40.0), np.ones(len(discs)), reasons
            ),
            Examples.of_shape(
                "side",
                blocks,
                np.tile(SIDE_SIZE, (len(blocks), 1)),
                np.ones(len(blocks)),
                [""] * len(blocks),
            ),
        ]
    )


def make_patches(folder, count=6, squares=True, **options):
    """Write a data set with patches; give its path, the examples and what was told."""
    (folder / "micrographs").mkdir(parents=True)
    examples, labels = {}, Labels()
    for number in range(count):
        name = f"mic{number}"
        found = micrograph(folder / "micrographs" / f"{name}.mrc", number, squares)
        examples[name] = found
        labels.add(GOOD, {name: Places.of(found.positions[found.good])})
        labels.add(
            BAD, {name: Places.of(np.array([GRID[EMPTY], (20, 20), (320, 20), (20, 280)], float))}
        )
    paths = sorted((folder / "micrographs").iterdir())
    out = folder / "data.h5"
    from_micrographs(paths, labels, DatasetOptions(Preprocessing(DIAMETER)), out)
    settings = PatchOptions(DIAMETER, PIXEL_SIZE, **options)

    def prepared(name):
        pixels = read_micrograph(folder / "micrographs" / f"{name}.mrc")
        return prepare(shrink(pixels, settings.scale.factor))

    return out, examples, write_patches(out, examples, prepared, settings)
