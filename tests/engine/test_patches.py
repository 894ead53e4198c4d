"""The balanced set of patches of a data set made without labels."""

import shutil

import h5py
import numpy as np
import pytest
from patch_data import DIAMETER, PIXEL_SIZE, SIDE_SIZE, make_patches, of_shape

from apbc.bootstrap.examples import Examples
from apbc.bootstrap.patches import (
    PatchOptions,
    background_places,
    choose_classes,
    draw,
    part_quotas,
    window_side,
)
from apbc.bootstrap.stages import prepare
from apbc.dataset.patch_store import Draws, place
from apbc.dataset.store import Dataset
from apbc.errors import ApbcError
from apbc.io.images import read_micrograph


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Six micrographs of discs and squares: path, examples, what was told."""
    return make_patches(
        tmp_path_factory.mktemp("patches") / "data",
        samples=100,
        negatives=("background", "negative"),
    )


@pytest.fixture
def patches(made):
    with Dataset(made[0]) as dataset:
        yield dataset.patches


def test_every_class_has_as_many_draws_in_every_part(made, patches):
    assert patches.classes == ["top", "side", "background", "negative"]
    assert part_quotas(1500) == (960, 240, 300)  # the paper's
    for part, quota in enumerate((64, 16, 20)):
        drawn = patches.drawn(part)
        labels = patches.label[patches.draws.row[drawn]]
        assert np.bincount(labels, minlength=4).tolist() == [quota] * 4
    told = made[2]["classes"]
    assert {row["samples"] for row in told.values()} == {patches.samples} == {100}
    assert {name: row["repeated"] for name, row in told.items()} == patches.repeated


def test_whole_micrographs_are_split_before_anything_is_turned(made, patches):
    with Dataset(made[0]) as dataset:
        for row, micrograph in enumerate(patches.micrograph):
            name = dataset.micrograph_names[micrograph]
            assert patches.split[row] == dataset.split_of_micrograph(name)
    parts = [set(patches.micrograph[patches.split == part]) for part in range(3)]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_patches_are_cut_out_of_the_prepared_micrograph(made, patches):
    path, examples, _ = made
    assert patches.stages[-1] == "opened" and patches.pixel_size == PIXEL_SIZE
    row = int(np.flatnonzero(patches.label == 1)[3])
    name = f"mic{patches.micrograph[row]}"
    stages = prepare(read_micrograph(path.parent / "micrographs" / f"{name}.mrc"))
    x, y = patches.coordinates[row].astype(int)
    assert (examples[name].positions == (x, y)).all(axis=1).any()
    reach = patches.side // 2 + patches.margin
    for i, stage in enumerate(patches.stages):
        whole = getattr(stages, stage)
        window = whole[y - reach : y + reach + 1, x - reach : x + reach + 1]
        stored = patches.stored(np.array([row]), np.array([i]))[0]
        np.testing.assert_allclose(stored, window, atol=1e-3)


def test_originals_are_drawn_in_their_four_turns_first(patches):
    draws = patches.draws
    top = patches.label[draws.row] == 0
    assert patches.repeated["top"] == 0
    assert len(set(zip(draws.row[top], draws.turn[top], strict=True))) == top.sum() == 100
    assert not draws.mirrored[top].any() and not draws.shift[top].any()


def test_what_repeats_is_counted_mirrored_and_shifted(patches):
    draws = patches.draws
    bad = patches.label[draws.row] == patches.classes.index("negative")
    again = patches.repeated["negative"]
    originals = int(np.sum(patches.label == patches.classes.index("negative")))
    assert again == 100 - 4 * originals > 0
    shifted = (draws.shift[bad] != 0).any(axis=1) | draws.mirrored[bad]
    assert 0 < shifted.sum() <= again
    assert np.abs(draws.shift).max() <= patches.margin


def test_draws_of_a_part_without_originals_are_none():
    draws, repeated = draw(
        np.array([0, 0, 1]), np.array([0, 2, 0]), 2, 25, np.random.default_rng(0)
    )
    assert np.bincount(draws.row, minlength=3).tolist() == [16, 5, 16]
    assert repeated.tolist() == [12 + 1, 12]


def test_a_placed_window_is_turned_mirrored_and_moved():
    stored = np.arange(2 * 49).reshape(2, 7, 7)
    draws = Draws(
        np.array([0, 1]), np.array([0, 1]), np.array([False, True]), np.array([[2, -1], [0, 0]])
    )
    placed = place(stored, draws, 3)
    np.testing.assert_array_equal(placed[0], stored[0, 1:4, 4:7])
    np.testing.assert_array_equal(placed[1], np.rot90(stored[1, 2:5, 2:5][:, ::-1]))


def test_background_overlaps_no_example(made, patches):
    windows = patches.label == patches.classes.index("background")
    assert windows.sum() == 25 and made[2]["overlapping"] == 0
    for xy, micrograph in zip(
        patches.coordinates[windows], patches.micrograph[windows], strict=True
    ):
        found = made[1][f"mic{micrograph}"].positions
        assert np.abs(found - xy).max(axis=1).min() >= patches.side


def test_background_of_a_crowded_field_holds_no_centre():
    rng = np.random.default_rng(0)
    image = rng.random((200, 200))
    grid = np.stack(np.meshgrid(np.arange(10, 200, 30), np.arange(10, 200, 30)), -1).reshape(-1, 2)
    places, overlapping = background_places(image, grid.astype(float), 27, 12, rng)
    assert len(places) == overlapping == 12
    assert np.abs(places[:, None] - grid).max(axis=2).min() >= 27 / 2
    assert places.min() >= 13 and places.max() <= 199 - 13
    apart = np.abs(places[:, None] - places).max(axis=2)[~np.eye(12, dtype=bool)]
    assert apart.min() >= 27 / 4


def test_background_has_the_usual_contrast_and_small_images_have_none():
    rng = np.random.default_rng(0)
    image = rng.random((200, 200))
    image[:60] = 0.5  # as flat as carbon or a hole
    places, _ = background_places(image, np.empty((0, 2)), 21, 100, rng)
    assert len(places) == 100 and places[:, 1].min() > 50
    assert len(background_places(image[:20], np.empty((0, 2)), 21, 5, rng)[0]) == 0


def tops(count, reason=""):
    return of_shape("top", np.zeros((count, 2)), (40, 40), reason)


def test_the_largest_class_decides_the_box():
    options = PatchOptions(DIAMETER, PIXEL_SIZE)
    sides = of_shape("side", np.zeros((20, 2)), SIDE_SIZE, "")
    examples = {"a": Examples.join([tops(20), sides])}
    assert window_side(examples, ["top", "background"], options) in (49, 51)  # 1.25 x 40
    longest = np.hypot(*SIDE_SIZE)
    both = window_side(examples, ["top", "side", "background"], options)
    assert both == pytest.approx(1.15 * longest, abs=1) and both % 2 == 1
    halved = PatchOptions(2 * DIAMETER, PIXEL_SIZE)  # 80 px of the micrograph, halved
    assert window_side(examples, ["top"], halved) in (49, 51)


def test_a_shape_of_few_examples_is_left_out_and_none_is_refused():
    sides = of_shape("side", np.zeros((3, 2)), SIDE_SIZE, "")
    classes, warnings = choose_classes(
        {"a": Examples.join([tops(25), sides])}, ("background", "negative")
    )
    assert classes == ["top", "background"]
    assert len(warnings) == 2 and "3 good examples of the shape side" in warnings[0]
    with pytest.raises(ApbcError, match="no shape has 20 good examples"):
        choose_classes({"a": tops(19), "b": tops(9, "border")}, ("background",))


def test_the_same_seed_gives_the_same_patches(tmp_path):
    hashes = []
    for number, seed in enumerate((3, 3, 4)):
        path, _, _ = make_patches(
            tmp_path / str(number), count=5, squares=False, samples=20, seed=seed
        )
        with Dataset(path) as dataset:
            hashes.append(dataset.patches.data_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_few_micrographs_are_split_by_patch(tmp_path):
    path, _, told = make_patches(tmp_path / "few", count=3, squares=False, samples=30)
    assert told["split_by"] == "particle" and told["classes"]["background"]["originals"] == 9
    with Dataset(path) as dataset:
        for label in range(2):
            parts = dataset.patches.split[dataset.patches.label == label]
            assert set(parts) == {0, 1, 2}


def test_patches_that_are_not_there_or_not_complete(made, tmp_path):
    bare = tmp_path / "bare.h5"
    shutil.copy(made[0], bare)
    with h5py.File(bare, "r+") as file:
        del file["patches"].attrs["format"]
    with Dataset(bare) as dataset, pytest.raises(ApbcError, match="incomplete"):
        assert dataset.patches
    with h5py.File(bare, "r+") as file:
        del file["patches"]
    with Dataset(bare) as dataset:
        assert dataset.patches is None
