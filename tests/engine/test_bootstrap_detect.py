"""Shapes found in masks and on micrographs, and which of them are good examples."""

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage
from skimage.draw import polygon

from apbc.bootstrap.blobs import find_blobs
from apbc.bootstrap.circles import find_circles
from apbc.bootstrap.clusters import intensity_clusters
from apbc.bootstrap.detect import detect, present_shapes
from apbc.bootstrap.examples import SHAPES, Examples
from apbc.bootstrap.masks import clean
from apbc.bootstrap.quality import (
    contaminated,
    judge_blobs,
    judge_sides,
    judge_tops,
    stand_out,
)
from apbc.bootstrap.rectangles import (
    Rectangle,
    feret,
    find_sides,
    measure_outlines,
    minimum_area_rectangle,
    overlapping,
)
from apbc.bootstrap.scale import DetectionScale, shrink
from apbc.bootstrap.stages import prepare
from apbc.evaluation.matching import match_closest_first

# Row, column and radius of the discs of the specification's self-check vectors.
DISCS = ((50, 60, 18), (120, 90, 18), (70, 170, 20), (150, 190, 16))


def discs(shape: tuple[int, int], places: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Mask of discs given by row, column and radius, boundary included."""
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    mask = np.zeros(shape, bool)
    for row, col, radius in np.asarray(places, float):
        mask |= (rows - row) ** 2 + (cols - col) ** 2 <= radius**2
    return mask


def drawn(shape: tuple[int, int], *rectangles: Rectangle) -> npt.NDArray[np.bool_]:
    """Mask of filled rectangles."""
    mask = np.zeros(shape, bool)
    for rectangle in rectangles:
        x, y = rectangle.corners.T
        mask[polygon(y, x, shape)] = True
    return mask


def balls(
    shape: tuple[int, int], diameter: float, count: int, noise: float, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Micrograph of dark balls that do not touch, in white noise, and their centres."""
    rng = np.random.default_rng(seed)
    centres: list[npt.NDArray[np.float64]] = []
    while len(centres) < count:
        place = rng.uniform(0.7 * diameter, np.array(shape[::-1]) - 0.7 * diameter)
        if all(np.hypot(*(place - other)) > 1.1 * diameter for other in centres):
            centres.append(place)
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.zeros(shape)
    for x, y in centres:
        image -= np.sqrt(np.maximum(diameter**2 / 4 - (cols - x) ** 2 - (rows - y) ** 2, 0))
    image = ndimage.gaussian_filter(image, 1.5)
    return image + rng.normal(0, noise * image.std(), shape), np.array(centres)


# ------------------------------ circles --------------------------------------------------------


def test_circles_of_perfect_discs_are_those_of_the_specification() -> None:
    found = find_circles(discs((200, 240), DISCS), 13, 85)
    expected = [
        [170.00, 70.00, 19.57, 1.355],
        [60.00, 50.00, 17.98, 1.187],
        [90.00, 120.00, 17.98, 1.187],
        [190.00, 150.00, 15.66, 0.815],
    ]
    np.testing.assert_allclose(found[:, :3], np.array(expected)[:, :3], atol=0.0051)
    np.testing.assert_allclose(found[:, 3], np.array(expected)[:, 3], atol=0.00051)


def test_circles_after_all_stages_are_those_of_the_specification() -> None:
    i, j = np.mgrid[:200, :240]
    n = ((37 * i + 101 * j + 13 * i * j) % 97) / 96
    image = 0.6 + 0.25 * (n - 0.5) - 0.25 * discs((200, 240), DISCS)
    mask = intensity_clusters(prepare(image).final, 4, include_zero=False) == 0
    found = find_circles(clean(mask, 100), 13, 85)
    expected = [
        [59.37, 48.81, 18.62, 1.057],
        [89.88, 121.36, 18.51, 0.828],
        [188.90, 150.65, 16.73, 0.738],
        [170.67, 69.73, 20.07, 0.532],
    ]
    np.testing.assert_allclose(found[:4, :3], np.array(expected)[:, :3], atol=0.0051)
    np.testing.assert_allclose(found[:4, 3], np.array(expected)[:, 3], atol=0.00051)


def test_an_empty_mask_has_no_circle() -> None:
    assert find_circles(np.zeros((50, 60), bool), 5, 20).shape == (0, 4)
    assert find_circles(np.ones((50, 60), bool), 5, 20).shape == (0, 4)


def test_merged_and_broken_discs_are_found_apart() -> None:
    mask = discs((140, 200), [(70, 60, 20), (70, 98, 20), (70, 150, 20)])
    mask[60:70, 150:175] = False
    found = find_circles(mask, 14, 40)
    order = np.argsort(found[:, 0])
    np.testing.assert_allclose(found[order, :2], [[60, 70], [98, 70], [150, 70]], atol=1.5)


def test_radii_that_make_no_range_are_refused() -> None:
    with pytest.raises(ValueError, match="0 < r_min < r_max"):
        find_circles(np.zeros((9, 9), bool), 5, 5)


# ------------------------------ rectangles -----------------------------------------------------


@pytest.mark.parametrize("angle", [0.0, 30.0, 77.0, 135.0])
def test_the_smallest_rectangle_is_the_one_that_was_drawn(angle: float) -> None:
    told = Rectangle(100.3, 90.1, 74, 40, angle)
    outlines = measure_outlines(drawn((180, 200), told))
    found = outlines.rectangles[0]
    assert abs(found.x - told.x) < 0.8 and abs(found.y - told.y) < 0.8
    assert abs(found.length - 74) < 1.5 and abs(found.width - 40) < 1.5
    assert abs((found.angle - angle + 90) % 180 - 90) < 1
    assert outlines.extent[0] > 0.95 and outlines.solidity[0] > 0.94


def test_feret_diameters_of_a_rectangle() -> None:
    rows, cols = np.mgrid[10:30, 5:55]
    largest, smallest = feret(np.stack([cols.ravel(), rows.ravel()], axis=1))
    assert smallest == pytest.approx(20)
    assert largest == pytest.approx(np.hypot(49, 19) + 1, abs=0.01)
    assert feret([[4, 4]]) == (1, 1)


def test_points_on_a_line_have_a_rectangle_without_width() -> None:
    found = minimum_area_rectangle([[0, 0], [3, 3], [1, 1]])
    assert found.length == pytest.approx(3 * np.sqrt(2))
    assert found.width == pytest.approx(0, abs=1e-9)


def test_side_views_are_told_from_discs_doubles_and_debris() -> None:
    diameter = 40.0
    single = [Rectangle(60, 60, 48, 38, 20), Rectangle(150, 60, 48, 38, 110)]
    double = Rectangle(60, 160, 92, 38, 5)
    mask = drawn((240, 260), *single, double)
    mask |= discs(mask.shape, [(160, 180, 20), (215, 215, 7)])
    mask[148:160, 160:168] = False  # the disc is not perfect
    outlines, kind = find_sides(mask, diameter)
    places = {
        (round(r.x, -1), round(r.y, -1)): k for r, k in zip(outlines.rectangles, kind, strict=True)
    }
    assert places[(60, 60)] == places[(150, 60)] == "side"
    assert places[(60, 160)] == "merged"
    assert places[(180, 160)] == "other"
    judged = judge_sides(outlines, kind, mask.shape)
    assert judged.good.sum() == 2 and sorted(judged.reason) == ["", "", "merged"]
    assert len(judged) == 3


def test_rectangles_that_share_a_pixel_overlap() -> None:
    first, far = Rectangle(30, 30, 30, 20, 0), Rectangle(90, 90, 30, 20, 45)
    touching = Rectangle(55, 30, 30, 20, 90)
    apart = Rectangle(56.5, 30, 30, 20, 90)
    assert overlapping([first, touching, far]).tolist() == [True, True, False]
    assert not overlapping([first, apart, far]).any()


# ------------------------------ blobs ----------------------------------------------------------


def test_two_that_touch_are_split_and_told_merged() -> None:
    alone = [(40, 40 + 50 * i, 12) for i in range(6)]
    mask = discs((160, 320), [*alone, (110, 80, 12), (110, 101, 12)])
    blobs = find_blobs(mask, 30)
    assert len(blobs.centres) == 8
    assert blobs.merged.sum() == 2
    pair = np.sort(blobs.centres[blobs.merged, 0])
    np.testing.assert_allclose(pair, [80, 101], atol=2)
    single = blobs.centres[~blobs.merged]
    np.testing.assert_allclose(single[np.argsort(single[:, 0])], [(c, 40) for _, c, _ in alone])


def test_an_empty_mask_has_no_blob() -> None:
    mask = np.zeros((80, 80), bool)
    assert len(judge_blobs(find_blobs(mask, 20), np.zeros((80, 80)), 20)) == 0
    assert len(judge_tops(np.empty((0, 4)), mask, np.zeros((80, 80)), 20)) == 0


def test_noise_does_not_stand_out_and_particles_do() -> None:
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(size=(400, 400))
        assert stand_out(noise, 30)[1] == np.inf
    image, centres = balls((400, 400), 30, 60, 4, 0)
    darkness, least = stand_out(image, 30)
    x, y = np.rint(centres).astype(int).T
    assert (darkness[y, x] > least).mean() > 0.9


# ------------------------------ examples -------------------------------------------------------


def some_examples() -> Examples:
    first = Examples.of_shape(
        "top", np.array([[3.0, 4.0]]), np.array([[8.0, 8.0]]), np.array([0.5]), [""]
    )
    second = Examples.of_shape(
        "side",
        np.array([[30.0, 40.0], [50.0, 60.0]]),
        np.array([[9.0, 7.0], [20.0, 7.0]]),
        np.array([0.9, 0.8]),
        ["large", "merged"],
        np.array([30.0, 60.0]),
    )
    return Examples.join([first, second])


def test_examples_join_scale_move_and_tell_particles() -> None:
    joined = some_examples()
    assert [SHAPES[i] for i in joined.shape] == ["top", "side", "side"]
    assert joined.good.tolist() == [True, False, False]
    assert joined.is_particle.tolist() == [True, False, True]
    larger = joined.scaled(2)
    np.testing.assert_allclose(larger.positions[0], [6.5, 8.5])
    np.testing.assert_allclose(larger.size[1], [18, 14])
    np.testing.assert_allclose(larger.moved(1, -1).positions[0], [7.5, 7.5])
    turned = joined.rejected(np.array([True, True, False]), "contamination")
    assert turned.reason == ["contamination", "contamination", "merged"]
    assert turned.select(turned.good).positions.shape == (0, 2)
    assert len(Examples.join([])) == 0


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Examples.of_shape("top", np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(3), ["", ""])


# ------------------------------ whole micrographs ----------------------------------------------


def test_balls_in_noise_are_found() -> None:
    diameter = 72.0
    image, centres = balls((620, 640), diameter, 34, 2.5, 1)
    scale = DetectionScale(diameter)
    found = detect(shrink(image, scale.factor), scale.diameter).examples
    assert set(found.shape.tolist()) == {SHAPES.index("top")}
    picks = scale.to_micrograph(found.positions[found.is_particle])
    hits = (match_closest_first(picks, centres, diameter / 2) >= 0).sum()
    assert hits >= 0.98 * len(picks) and hits >= 0.98 * len(centres)
    assert found.good.sum() > 0.5 * len(centres)


@pytest.mark.parametrize("blur", [0.0, 2.0])
def test_noise_alone_gives_no_good_example(blur: float) -> None:
    image = np.random.default_rng(5).normal(size=(420, 440))
    found = detect(ndimage.gaussian_filter(image, blur), 40, SHAPES).examples
    assert not found.good.any()


def test_one_grey_value_gives_no_example() -> None:
    assert len(detect(np.full((200, 220), 7.0), 40, SHAPES).examples) == 0


def test_boxes_of_good_examples_lie_inside() -> None:
    diameter = 36.0
    image, _ = balls((500, 500), diameter, 60, 1.5, 3)
    part = image[40:-40, 40:-40]
    found = detect(part, diameter, ("top",)).examples
    assert "border" in found.reason
    room = np.minimum(found.positions, np.array(part.shape[::-1]) - 1 - found.positions)
    assert (room[found.good] >= 0.625 * diameter).all()


def test_what_lies_on_contamination_is_no_particle() -> None:
    diameter = 36.0
    image, centres = balls((420, 460), diameter, 40, 1.5, 4)
    rows, cols = np.mgrid[:420, :460]
    foil = cols + 12 * np.sin(rows / 25) < 90  # a carbon edge
    ice = np.hypot(cols - 330, rows - 200) < 1.3 * diameter
    dirty = image - 12 * image.std() * ndimage.gaussian_filter((foil | ice).astype(float), 1)
    mask = contaminated(dirty, diameter)
    assert mask[foil].mean() > 0.95 and mask[ice].all()
    x, y = np.rint(centres).astype(int).T
    far = ndimage.distance_transform_edt(~(foil | ice))[y, x] > 1.2 * diameter
    assert not mask[y, x][far].any()
    assert not contaminated(image, diameter).any()
    for shapes in (("top",), ("irregular",)):
        found = detect(dirty, diameter, shapes).examples
        good = np.rint(found.positions[found.good]).astype(int).T
        assert good.shape[1] > 5 and not (foil | ice)[good[1], good[0]].any()
        assert "contamination" in found.reason
        assert not found.is_particle[np.array(found.reason) == "contamination"].any()


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="top, side, irregular"):
        detect(np.zeros((50, 50)), 20, ("round",))


def test_shapes_are_those_of_the_good_examples() -> None:
    def found(**count: int) -> Examples:
        return Examples.join(
            Examples.of_shape(s, np.zeros((n, 2)), np.zeros((n, 2)), np.ones(n), [""] * n)
            for s, n in count.items()
        )

    assert present_shapes([found(top=90, side=2, irregular=100)]) == ("top",)
    assert present_shapes([found(top=6, side=7, irregular=20)]) == ("top", "side")
    assert present_shapes([found(top=3, irregular=200), found(irregular=1)]) == ("irregular",)
    assert present_shapes([Examples.empty()]) == ()


def test_real_apoferritin_is_found(bench_folder: Path) -> None:
    from PIL import Image

    data = bench_folder / "data" / "empiar-10146"
    pictures = sorted((data / "micrographs").iterdir()) if data.is_dir() else []
    if not pictures:
        pytest.skip(f"NO APOFERRITIN MICROGRAPHS in {data}")
    picture = pictures[0]
    truth = np.loadtxt(data / "truth" / f"{picture.stem}.csv", delimiter=",", skiprows=1)[:, :2]
    image = np.asarray(Image.open(picture), float)
    scale = DetectionScale(73)
    found = detect(shrink(image, scale.factor), scale.diameter).examples
    picks = scale.to_micrograph(found.positions[found.is_particle])

    def inside(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return xy[((xy >= 40) & (xy < np.array(image.shape[::-1]) - 40)).all(axis=1)]

    picks, truth = inside(picks), inside(truth)
    hits = (match_closest_first(picks, truth, 73 / 2) >= 0).sum()
    assert 2 * hits / (len(picks) + len(truth)) >= 0.97


def test_discs_of_which_none_is_typical_are_judged_without_warnings():
    mask = np.zeros((200, 200), bool)
    circles = np.array(
        [[60, 60, 10, 0.5], [140, 140, 30, 0.5], [5, 100, 10, 0.5], [100, 60, 30, 0.5]]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = judge_tops(circles, mask, np.zeros(mask.shape), 40)
        nothing = judge_tops(circles[:1], mask, np.zeros(mask.shape), 40)
    assert found.reason == ["small", "large", "small", "large"]
    assert nothing.reason == ["out of round"]
