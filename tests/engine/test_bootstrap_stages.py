"""The stages, clusterings and masks of the bootstrap, against the specification's figures."""

import numpy as np
import pytest
from scipy import ndimage

from apbc.bootstrap import clusters, masks, stages
from apbc.bootstrap.scale import DetectionScale, shrink

DISKS = ((50, 60, 18), (120, 90, 18), (70, 170, 20), (150, 190, 16))
PLACES = ((0, 0), (50, 60), (100, 100), (120, 90), (199, 239))
FIGURES = {
    "input": (0.577610, 0.100846, 0.475000, 0.378646, 0.594792, 0.454167, 0.706771),
    "normalised": (0.705219, 0.201692, 0.500000, 0.307292, 0.739583, 0.458333, 0.963542),
    "stretched": (0.691390, 0.213977, 0.472216, 0.266661, 0.727772, 0.427772, 0.966661),
    "equalised": (0.499753, 0.293217, 0.079365, 0.047619, 0.523810, 0.063492, 0.936508),
    "restored": (0.496084, 0.150624, 0.142222, 0.034921, 0.490244, 0.033016, 0.401323),
    "equalised_again": (0.500365, 0.293712, 0.063492, 0.015873, 0.301587, 0.000000, 0.111111),
    "adaptive": (0.465545, 0.235669, 0.048601, 0.130624, 0.315527, 0.089120, 0.160365),
    "adaptive_again": (0.479372, 0.222159, 0.028025, 0.236874, 0.392927, 0.183899, 0.179324),
    "smoothed": (0.478966, 0.124068, 0.197163, 0.218893, 0.465943, 0.230349, 0.273644),
    "adjusted": (0.481819, 0.230517, 0.000000, 0.000000, 0.457568, 0.016068, 0.097202),
    "opened": (0.470519, 0.222989, 0.000000, 0.000000, 0.457568, 0.016068, 0.097202),
}


@pytest.fixture(scope="module")
def image():
    i, j = np.mgrid[:200, :240]
    out = 0.6 + 0.25 * (((37 * i + 101 * j + 13 * i * j) % 97) / 96 - 0.5)
    for row, column, radius in DISKS:
        out[(i - row) ** 2 + (j - column) ** 2 <= radius**2] -= 0.25
    return out


@pytest.fixture(scope="module")
def prepared(image):
    return stages.prepare(image)


@pytest.mark.parametrize("stage", FIGURES)
def test_stage_has_the_figures_of_the_specification(image, prepared, stage):
    got = image if stage == "input" else getattr(prepared, stage)
    mean, std, *pixels = FIGURES[stage]
    assert got.mean() == pytest.approx(mean, abs=6e-7)
    assert got.std() == pytest.approx(std, abs=6e-7)
    assert [got[place] for place in PLACES] == pytest.approx(pixels, abs=6e-7)


def test_final_is_the_last_stage(prepared):
    assert prepared.final is prepared.opened


def test_stretch_limits(image):
    normalised = stages.normalise(image)
    stretched = stages.stretch(normalised)
    inside = (stretched > 0) & (stretched < 1)
    slope, offset = np.polyfit(stretched[inside], normalised[inside], 1)
    assert (offset, offset + slope) == pytest.approx((0.057298, 0.994797), abs=6e-7)


def test_clusters_and_clean_mask(prepared):
    final = prepared.final
    assert (clusters.intensity_clusters(final, 4) == 0).sum() == 16577
    without = clusters.intensity_clusters(final, 4, include_zero=False) == 0
    assert without.sum() == 16094
    cleaned = masks.clean(without, 100)
    assert cleaned.sum() == 15608
    assert ndimage.label(cleaned, masks.EIGHT)[1] == 26


def test_halving_has_the_figures_of_the_specification(image):
    half = shrink(image, 0.5)
    assert half.shape == (100, 120)
    assert half.mean() == pytest.approx(0.577610, abs=6e-7)
    assert half[25, 30] == pytest.approx(0.345127, abs=6e-7)
    assert half[0, 0] == pytest.approx(0.533179, abs=6e-7)


def test_resizing_keeps_places_and_leaves_no_part_pixel():
    rows, columns = np.mgrid[:61, :83]
    third = shrink(columns + 100.0 * rows, 0.25)
    assert third.shape == (15, 20)
    assert third[7, 5] == pytest.approx((5.5 * 4 - 0.5) + 100 * (7.5 * 4 - 0.5), rel=1e-6)
    doubled = shrink(columns + 100.0 * rows, 2)
    assert doubled.shape == (122, 166)
    assert doubled[60, 81] == pytest.approx((81.5 / 2 - 0.5) + 100 * (60.5 / 2 - 0.5), rel=1e-6)
    with pytest.raises(ValueError, match="cannot be resized"):
        shrink(columns, 0.01)


@pytest.mark.parametrize(
    ("diameter", "factor"),
    [(73, 0.5), (108, 0.5), (54, 1), (36.5, 1), (320, 0.125), (20, 2), (8, 4)],
)
def test_scale_rule(diameter, factor):
    scale = DetectionScale(diameter)
    assert scale.factor == factor
    assert scale.diameter == diameter * factor
    assert 30 < scale.diameter <= 60
    points = np.array([[0.0, 0.0], [10.5, 31.0]])
    assert scale.to_working(points)[0] == pytest.approx((factor - 1) / 2)
    assert scale.to_micrograph(scale.to_working(points)) == pytest.approx(points)


def test_scale_needs_a_diameter():
    with pytest.raises(ValueError, match="above 0"):
        DetectionScale(0)
    assert DetectionScale(2).factor == 4  # never enlarged more


@pytest.mark.parametrize("shape", [(72, 80), (64, 97)])
def test_adaptive_equalisation_agrees_with_the_formula_pixel_by_pixel(shape):
    noise = np.random.default_rng(1).random(shape) ** 2
    got = stages.adaptive_equalise(noise, 0.02)
    assert got == pytest.approx(slow_adaptive_equalise(noise, 0.02), abs=1e-12)


def slow_adaptive_equalise(image, clip):
    """The specification's section 2.3 word by word."""
    pads, sides = [], []
    for n in image.shape:
        side = -(-n // 8)
        pad = 8 * side - n
        if side % 2:
            side, pad = side + 1, pad + 8
        sides.append(side)
        pads.append((pad // 2, pad - pad // 2))
    padded = np.floor(255 * np.pad(image, pads, mode="symmetric") + 0.5).astype(int)
    pixels = sides[0] * sides[1]
    tables = np.zeros((8, 8, 256))
    for r in range(8):
        for c in range(8):
            tile = padded[r * sides[0] : (r + 1) * sides[0], c * sides[1] : (c + 1) * sides[1]]
            h = np.bincount(tile.ravel(), minlength=256)
            least = -(-pixels // 256)
            limit = least + round(clip * (pixels - least))
            excess = np.maximum(h - limit, 0).sum()
            share = excess // 256
            for k in range(256):
                if h[k] > limit:
                    h[k] = limit
                elif h[k] > limit - share:
                    excess -= limit - h[k]
                    h[k] = limit
                else:
                    excess -= share
                    h[k] += share
            start = 0
            while excess > 0:
                for k in range(start, 256, max(256 // excess, 1)):
                    if h[k] < limit:
                        h[k] += 1
                        excess -= 1
                        if excess == 0:
                            break
                start = (start + 1) % 256
            v = (1 - np.exp(-1 / 0.32)) * np.cumsum(h) / pixels
            v[v >= 1] = 1 - np.finfo(float).eps
            tables[r, c] = np.minimum(np.sqrt(-0.32 * np.log(1 - v)), 1)
    out = np.zeros(padded.shape)
    for (p, q), value in np.ndenumerate(padded):
        (r, f), (c, g) = (
            (int((x - s / 2) // s), ((x - s / 2) % s) / s)
            for x, s in zip((p, q), sides, strict=True)
        )
        r0, r1, c0, c1 = (min(max(k, 0), 7) for k in (r, r + 1, c, c + 1))
        out[p, q] = (1 - f) * ((1 - g) * tables[r0, c0, value] + g * tables[r0, c1, value]) + f * (
            (1 - g) * tables[r1, c0, value] + g * tables[r1, c1, value]
        )
    (a, _), (b, _) = pads
    return out[a : a + image.shape[0], b : b + image.shape[1]]


def test_hot_pixels_change_nothing_but_themselves(image):
    hot = image.copy()
    hot[30, 30], hot[90, 200] = 1e6, -1e6
    changed = np.abs(stages.prepare(hot).restored - stages.prepare(image).restored)
    assert (changed > 0.03).sum() <= 2 * 25


def test_square_opening_is_darker(image, prepared):
    irregular = stages.prepare(image, "square")
    assert (irregular.final <= prepared.final + 1e-12).all()
    assert irregular.final.mean() < prepared.final.mean()
    with pytest.raises(ValueError, match="cross, square"):
        stages.prepare(image, "disk")


@pytest.mark.parametrize("method", clusters.METHODS)
def test_empty_micrograph_has_no_particle_pixels(method):
    flat = stages.prepare(np.full((64, 80), 7.0))
    assert np.isfinite(flat.final).all()
    assert not clusters.dark_mask(flat, method, diameter=20).any()


def test_stages_refuse_what_is_no_number(image):
    broken = image.copy()
    broken[3, 4] = np.nan
    with pytest.raises(ValueError, match="finite"):
        stages.prepare(broken)


@pytest.mark.parametrize("method", clusters.METHODS)
def test_every_clustering_finds_dark_disks(method):
    rows, columns = np.mgrid[:240, :240]
    truth = (rows % 48 - 24) ** 2 + (columns % 48 - 24) ** 2 <= 18**2
    noisy = np.random.default_rng(0).normal(0.0, 0.3, truth.shape) - truth
    mask = clusters.dark_mask(stages.prepare(noisy), method, diameter=36)
    # The darkest of the clusters may be the core of a disk only, but little else.
    assert truth[mask].mean() > 0.8
    assert mask[truth].mean() > 0.4


def test_k_means_and_fuzzy_c_means_find_four_grey_values():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (80, 80))
    grey = np.clip(np.array([0.1, 0.4, 0.6, 0.95])[truth] + rng.normal(0, 0.01, truth.shape), 0, 1)
    assert (clusters.k_means(grey, 4) == truth).all()
    assert (clusters.fuzzy_c_means(grey, 4) == truth).all()
    assert (clusters.intensity_clusters(grey, 4, iterative=True) == truth).all()


def test_intensity_clusters_cut_where_the_specification_says():
    grey = np.linspace(0, 1, 1001).reshape(1, -1)
    for k, cuts in ((4, (0.375, 0.625, 0.875)), (5, (0.3, 0.5, 0.7, 0.9))):
        labels = clusters.intensity_clusters(grey, k)
        assert grey[0, 1:][np.diff(labels[0]) > 0] == pytest.approx(cuts, abs=1.1e-3)
    # Away from 0 the authors' grey values stay where they were, ours move with the image.
    assert (clusters.intensity_clusters(grey + 0.5, 4) == 0).sum() == 376
    assert (clusters.intensity_clusters(grey + 0.5, 4, legacy=True) == 0).sum() == 0


def test_smallest_cluster_is_not_always_the_darkest(prepared):
    final = prepared.final
    counts = np.bincount(clusters.intensity_clusters(final, 4).ravel())
    smallest = clusters.dark_mask(prepared, select="smallest")
    assert smallest.sum() == counts.min() < counts[0]
    assert clusters.dark_mask(prepared).sum() == counts[0] == 16577


def test_superpixels_are_flat_and_keep_the_mean(prepared):
    means = clusters.superpixel_means(prepared.final, 400)
    assert 200 < len(np.unique(means)) < 600
    assert means.mean() == pytest.approx(prepared.final.mean())


def test_unknown_clustering_is_refused(prepared):
    with pytest.raises(ValueError, match="method must be"):
        clusters.dark_mask(prepared, "magic")
    with pytest.raises(ValueError, match="select must be"):
        clusters.dark_mask(prepared, select="brightest")
    with pytest.raises(ValueError, match="diameter"):
        clusters.dark_mask(prepared, "sp-icb")


def test_area_open_counts_diagonal_neighbours():
    mask = np.eye(5, 8, dtype=bool)
    mask[0, 7] = True
    assert masks.area_open(mask, 5).sum() == 5
    assert not masks.area_open(mask, 6).any()


def test_clean_fills_holes_and_drops_what_is_small():
    mask = np.zeros((40, 40), bool)
    mask[10:20, 10:20] = True
    mask[14, 14] = False
    mask[30:33, 30:33] = True
    cleaned = masks.clean(mask, 5)
    assert cleaned[14, 14]
    assert cleaned[11:19, 11:19].all()
    assert cleaned[31, 31]
    assert not masks.clean(mask, 5, second_area=20)[25:, 25:].any()
    assert masks.clean(mask, 5, second_area=20)[14, 14]
