import unittest

import numpy as np

from apbc_scipion.choose_classes import ClassDescription, choose_classes, contrast_of


class TestRule(unittest.TestCase):
    def test_good_doubtful_bad_and_small(self):
        choice = choose_classes(
            [
                ClassDescription(1, 400, 5.0),
                ClassDescription(2, 100, 3.2),
                ClassDescription(3, 100, 2.6),
                ClassDescription(4, 50, 1.2),
                ClassDescription(5, 3, 9.0),
            ]
        )
        self.assertEqual((choice.good, choice.bad), ([1, 2], [4]))
        self.assertEqual([choice.word(n) for n in (1, 3, 4)], ["good", "left out", "bad"])

    def test_a_small_class_of_high_contrast_does_not_set_the_scale(self):
        choice = choose_classes([ClassDescription(1, 500, 4.0), ClassDescription(2, 20, 40.0)])
        self.assertEqual(choice.good, [1, 2])

    def test_too_few_bad_particles_are_joined_by_the_doubtful_of_least_contrast(self):
        choice = choose_classes(
            [
                ClassDescription(1, 400, 5.0),
                ClassDescription(2, 100, 2.8),
                ClassDescription(3, 30, 2.6),
                ClassDescription(4, 16, 1.2),
                ClassDescription(5, 3, 2.4),
            ]
        )
        self.assertEqual((choice.good, choice.bad), ([1], [3, 4, 5]))

    def test_nothing_to_choose_from(self):
        self.assertEqual(choose_classes([]).good, [])

    def test_contrast(self):
        rows, columns = np.mgrid[:48, :48]
        distance = np.hypot(rows - 23.5, columns - 23.5)
        noise = np.random.default_rng(1).normal(0, 0.1, (48, 48))
        blob = np.exp(-((distance / 8) ** 2))
        self.assertGreater(contrast_of(blob + noise, 16), 3)
        self.assertLess(contrast_of(noise, 16), 1.5)
        self.assertEqual(contrast_of(np.zeros((48, 48)), 16), 0)
