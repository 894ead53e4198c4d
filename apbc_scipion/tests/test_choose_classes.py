import time
import unittest

import numpy as np

from apbc_scipion.choose_classes import (
    ALL_BLOBS,
    ALL_CROWDED,
    EMPTY,
    SMALLEST,
    ClassDescription,
    choose_classes,
    describe_average,
)

SIDE, RADIUS = 48, 16


def grid(centre=(23.5, 23.5), shape=(SIDE, SIDE)):
    """Distances to a point and the angles about it."""
    rows, columns = np.indices(shape)
    return np.hypot(rows - centre[0], columns - centre[1]), np.arctan2(
        rows - centre[0], columns - centre[1]
    )


def noise(deviation=0.03, shape=(SIDE, SIDE)):
    return np.random.default_rng(1).normal(0, deviation, shape)


def particle(centre=(23.5, 23.5)):
    """An average with spokes: fine inside the circle, nothing outside."""
    distance, angle = grid(centre)
    return np.cos(6 * angle) * np.sin(distance) * (distance < 0.9 * RADIUS) + noise()


def blob(centre=(23.5, 23.5)):
    return np.exp(-((grid(centre)[0] / 8) ** 2)) + noise(0.005)


def ring(centre=(23.5, 23.5)):
    return np.exp(-(((grid(centre)[0] - 0.8 * RADIUS) / 2) ** 2)) + noise()


def streak():
    """A bright bar outside the circle."""
    image = np.zeros((SIDE, SIDE))
    image[21:27, 42:46] = 1.4
    return image


def edge():
    """The edge of carbon: it goes through the circle and on."""
    return np.where(np.indices((SIDE, SIDE))[1] < 20, 0.0, 1.0) + noise()


def describe(image, classId=1, size=100):
    return describe_average(image, RADIUS, classId, size)


def choose(*images, **options):
    return choose_classes([describe(image, n) for n, image in enumerate(images, 1)], **options)


class TestFigures(unittest.TestCase):
    """What is measured on an average."""

    def test_detail_tells_particles_from_blobs(self):
        self.assertGreater(describe(particle()).detail, 0.5)
        self.assertLess(describe(blob()).detail, 0.1)

    def test_contrast_tells_what_stands_out(self):
        self.assertGreater(describe(particle()).contrast, 5)
        self.assertLess(describe(noise()).contrast, 1.3)
        self.assertLess(describe(edge()).contrast, 1.4)

    def test_noise_is_no_detail(self):
        self.assertLess(describe(noise()).detail, 0.15)
        self.assertLess(describe(blob() + noise(0.3)).detail, 0.15)

    def test_something_beside(self):
        self.assertLess(describe(blob()).beside, 0.3)
        self.assertGreater(describe(blob() + streak()).beside, 0.9)

    def test_a_round_particle_beside_the_middle_is_found(self):
        aside = describe(ring(centre=(29.5, 27.5)))
        self.assertFalse(aside.crowded)
        self.assertAlmostEqual(aside.contrast, describe(ring()).contrast, delta=2)

    def test_the_contrast_does_not_depend_on_grey_values(self):
        one, other = describe(particle()), describe(300 - 20 * particle())
        for name in ("contrast", "detail", "beside"):
            self.assertAlmostEqual(getattr(one, name), getattr(other, name), places=4)

    def test_boxes_of_any_size(self):
        for shape, radius in (((30, 30), 10), ((51, 64), 16), ((64, 51), 60), ((257, 257), 85)):
            distance, _ = grid([(side - 1) / 2 for side in shape], shape)
            image = np.exp(-((distance / radius * 2) ** 2)) + noise(0.01, shape)
            told = describe_average(image, radius)
            self.assertEqual(told.problem, "", shape)
            self.assertGreater(told.contrast, 1.4, shape)

    def test_averages_without_figures(self):
        self.assertEqual(describe(np.full((SIDE, SIDE), 7.0)).problem, EMPTY)
        self.assertEqual(describe(np.zeros((SIDE, SIDE))).problem, EMPTY)
        self.assertIn("too small", describe(np.eye(5)).problem)
        self.assertIn("no numbers", describe(np.full((SIDE, SIDE), np.nan)).problem)
        self.assertEqual(describe_average(None, 9, problem="gone").problem, "gone")

    def test_200_averages_of_256_pixels_take_two_seconds(self):
        image = np.random.default_rng(2).normal(size=(256, 256))
        start = time.process_time()
        for _ in range(200):
            describe_average(image, 85)
        # Twice of what is asked for: the machine of a test may be busy.
        self.assertLess(time.process_time() - start, 4)


class TestRule(unittest.TestCase):
    """The clauses, by number."""

    def test_1_small_classes_and_those_without_average_are_left_out(self):
        choice = choose_classes(
            [
                describe(particle(), 1),
                describe(particle(), 2, SMALLEST - 1),
                ClassDescription(3, 50, problem="The class average gone.mrcs is missing."),
                describe(particle(), 4, 0),
            ]
        )
        self.assertEqual((choice.good, choice.bad), ([1], []))
        self.assertIn("only 9 particles", choice.reasons[2])
        self.assertIn("gone.mrcs", choice.reasons[3])

    def test_2_an_empty_average_is_bad(self):
        self.assertEqual(choose(particle(), np.zeros((SIDE, SIDE))).bad, [2])

    def test_4_a_small_class_does_not_set_the_scale(self):
        choice = choose_classes(
            [ClassDescription(1, 500, 6, 0.3, 0.1), ClassDescription(2, 20, 6, 0.9, 0.1)]
        )
        self.assertEqual(choice.good, [1, 2])

    def test_5_all_crowded_is_doubted(self):
        choice = choose(edge(), noise())
        self.assertEqual((choice.good, choice.bad, choice.doubt), ([], [], ALL_CROWDED))

    def test_6_crowded_classes_are_bad_unless_detailed(self):
        choice = choose(particle(), particle() + streak(), blob() + streak(), edge(), noise())
        self.assertEqual((choice.good, choice.bad), ([1], [3, 4, 5]))
        self.assertEqual(choice.word(2), "left out")
        self.assertIn("beside", choice.reasons[2])

    def test_7_blobs_alone_are_not_forced(self):
        choice = choose(blob(), blob() + streak(), edge())
        self.assertEqual((choice.good, choice.bad, choice.doubt), ([], [3], ALL_BLOBS))

    def test_8_detail_decides(self):
        shares = (1, 0.7, 0.4, 0.2)
        choice = choose_classes(
            [ClassDescription(n, 100, 5, 0.5 * part, 0.1) for n, part in enumerate(shares)]
        )
        self.assertEqual((choice.good, choice.bad, choice.doubt), ([0, 1], [3], ""))
        self.assertEqual([choice.word(n) for n in range(4)], ["good", "good", "left out", "bad"])

    def test_9_unattended_takes_the_blobs_of_most_contrast(self):
        choice = choose(
            blob() + noise(0.04),
            blob() + noise(0.08),
            blob() + noise(0.15),
            blob() + streak(),
            unattended=True,
        )
        self.assertEqual((choice.good, choice.bad), ([1], [3, 4]))
        self.assertEqual(choice.doubt, ALL_BLOBS)
        self.assertIn("taken", choice.reasons[1])

    def test_10_unattended_finds_enough_bad_particles(self):
        classes = [
            ClassDescription(1, 400, 5.0, 0.5, 0.1),
            ClassDescription(2, 30, 2.6, 0.2, 0.1),
            ClassDescription(3, 16, 1.2, 0.0, 0.9),
            ClassDescription(4, 3, 2.4, 0.2, 0.1),
            ClassDescription(5, 90, problem="The class average is missing."),
        ]
        self.assertEqual(choose_classes(classes).bad, [3])
        choice = choose_classes(classes, unattended=True)
        self.assertEqual((choice.good, choice.bad), ([1], [2, 3, 4]))

    def test_nothing_to_choose_from(self):
        choice = choose_classes([])
        self.assertEqual((choice.good, choice.bad, choice.doubt), ([], [], ""))
        self.assertEqual(choose_classes([], unattended=True).good, [])
