import os
import tempfile
import unittest

import numpy as np
from pwem.constants import ALIGN_2D, ALIGN_NONE, ALIGN_PROJ
from pwem.objects import (
    Acquisition,
    Coordinate,
    CTFModel,
    Micrograph,
    Particle,
    SetOfCoordinates,
    Transform,
)
from pyworkflow.object import Float

from apbc.bootstrap import examples
from apbc_scipion import convert
from apbc_scipion.constants import DISAGREEMENT, NO_PARTICLE, QUALITY, REASON, SCORE, SHAPE
from apbc_scipion.convert import read_shapes


def micrograph(micId, name, folder="mics", rate=2.0):
    mic = Micrograph(location=os.path.join(folder, name))
    mic.setObjId(micId)
    mic.setMicName(name)
    mic.setSamplingRate(rate)
    mic.setAcquisition(
        Acquisition(
            voltage=300.0, sphericalAberration=2.7, amplitudeContrast=0.1, magnification=1.0
        )
    )
    return mic


def coordinate(mic, x, y):
    result = Coordinate(x=x, y=y)
    result.setMicrograph(mic)
    return result


class TestNames(unittest.TestCase):
    def test_only_image_extensions_are_taken_off(self):
        self.assertEqual(convert.stem_of("a/Falcon_0.5_v1.2"), "Falcon_0.5_v1.2")
        self.assertEqual(convert.stem_of("a/Falcon_0.5.mrc"), "Falcon_0.5")
        self.assertEqual(convert.stem_of("with blank 'x'.tif"), "with_blank_x_")

    def test_labels_are_unique_and_stay_when_a_set_grows(self):
        names = {3: "a.mrc", 1: "b.mrc", 2: "a.tif"}
        before = convert.unique_labels(names)
        self.assertEqual(before, {1: "b", 2: "a", 3: "a_3"})
        names.update({4: "a_3.mrc", 5: "a.mrc"})
        after = convert.unique_labels(names)
        self.assertEqual(len(set(after.values())), 5)
        self.assertEqual({key: after[key] for key in before}, before)

    def test_ids(self):
        self.assertEqual(convert.parse_ids("1, 3 - 5;9"), {1, 3, 4, 5, 9})
        self.assertEqual(convert.parse_ids(""), set())
        for wrong in ("a", "3-", "5-3", "-2"):
            with self.assertRaises(ValueError):
                convert.parse_ids(wrong)


class TestIndex(unittest.TestCase):
    def test_name_goes_before_id(self):
        index = convert.MicrographIndex([micrograph(1, "a.mrc"), micrograph(2, "b.mrc")])
        self.assertEqual(index.find(coordinate(micrograph(2, "a.mrc"), 0, 0)), 1)
        self.assertIsNone(index.find(coordinate(micrograph(1, "c.mrc"), 0, 0)))

    def test_id_decides_between_equal_names(self):
        index = convert.MicrographIndex([micrograph(1, "a.mrc"), micrograph(2, "a.mrc", "other")])
        self.assertEqual(index.find(coordinate(micrograph(2, "a.mrc"), 0, 0)), 2)
        self.assertEqual(index.labels, {1: "a", 2: "a_2"})

    def test_sets_with_equal_ids_are_joined(self):
        index = convert.MicrographIndex([micrograph(1, "a.mrc")], [micrograph(1, "b.mrc")])
        self.assertEqual(sorted(index.labels.values()), ["a", "b"])
        found = index.find(coordinate(micrograph(1, "b.mrc"), 0, 0))
        self.assertEqual(index.labels[found], "b")


class TestFiles(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def test_coordinates_survive_the_round_trip(self):
        mics = [micrograph(1, "a.mrc"), micrograph(2, "a.mrc", "other")]
        index = convert.MicrographIndex(mics)
        wanted = {1: [(10, 20), (30, 41)], 2: [(5, 6)]}
        coordinates = [coordinate(mic, x, y) for mic in mics for x, y in wanted[mic.getObjId()]]
        points, lost = convert.collect_points(coordinates, 1.0, index)
        self.assertEqual(lost, 0)
        scored = {
            label: [(x, y, 0.1 * (n + 1)) for n, (x, y) in enumerate(rows)]
            for label, rows in points.items()
        }
        self.assertEqual(convert.write_coordinates(scored, self.path("coords")), 3)
        result = SetOfCoordinates(filename=self.path("result.sqlite"))
        for mic in mics:
            picks = convert.read_picks(self.path("coords", index.labels[mic.getObjId()] + ".csv"))
            convert.append_picks(picks, mic, result, 0.0)
        result.write()
        back = {}
        for item in result.iterItems():
            back.setdefault(item.getMicId(), []).append(item.getPosition())
        self.assertEqual(back, wanted)

    def test_scale_is_applied_and_rounding_comes_last(self):
        index = convert.MicrographIndex([micrograph(1, "a.mrc")])
        points, _ = convert.collect_points([coordinate(micrograph(1, "a.mrc"), 3, 5)], 0.5, index)
        self.assertEqual(points, {"a": [(1.5, 2.5)]})
        self.assertEqual([convert.nearest(v) for v in (1.5, 2.5, 2.4, -0.5)], [2, 3, 2, 0])

    def test_threshold_and_scores(self):
        result = SetOfCoordinates(filename=self.path("result.sqlite"))
        picks = [(1.0, 2.0, 0.2), (3.0, 4.0, 0.5), (5.0, 6.0, 0.9)]
        self.assertEqual(convert.append_picks(picks, micrograph(1, "a.mrc"), result, 0.5), 2)
        result.write()
        self.assertEqual([getattr(item, SCORE).get() for item in result], [0.5, 0.9])

    def test_disagreement_of_an_ensemble(self):
        with open(self.path("a.csv"), "w") as handle:
            handle.write("x,y,score,disagreement\n1,2,0.2,0.3\n3,4,0.9,0.05\n")
        result = SetOfCoordinates(filename=self.path("result.sqlite"))
        picks = convert.read_picks(self.path("a.csv"))
        disagreement = convert.read_disagreement(self.path("a.csv"))
        mic = micrograph(1, "a.mrc")
        convert.append_picks(picks, mic, result, 0.5, disagreement)
        convert.append_picks([(5, 6, 0.7)], mic, result, 0.5, [float("nan")])
        result.write()
        self.assertEqual([getattr(item, DISAGREEMENT).get() for item in result], [0.05, None])
        with open(self.path("a.csv"), "w") as handle:
            handle.write("x,y,score\n1,2,0.2\n")
        self.assertIsNone(convert.read_disagreement(self.path("a.csv")))

    def test_shapes_of_a_classifier(self):
        with open(self.path("a.csv"), "w") as handle:
            handle.write("x,y,score,shape\n1,2,0.2,top\n3,4,0.9,side\n")
        result = SetOfCoordinates(filename=self.path("result.sqlite"))
        picks, shapes = (read(self.path("a.csv")) for read in (convert.read_picks, read_shapes))
        convert.append_picks(picks, micrograph(1, "a.mrc"), result, 0.5, shapes=shapes)
        result.write()
        self.assertEqual([getattr(item, SHAPE).get() for item in result], ["side"])
        with open(self.path("a.csv"), "w") as handle:
            handle.write("x,y,score\n1,2,0.2\n")
        self.assertIsNone(read_shapes(self.path("a.csv")))

    def test_examples_and_those_in_doubt_as_a_reference(self):
        path = self.path("a.csv")
        with open(path, "w") as handle:
            handle.write("x,y,shape,good,reason,length\n1.4,2,top,1,,40\n9,8,side,0,merged,70\n")
            handle.writelines("5,6,top,0,%s,40\n" % reason for reason in NO_PARTICLE)
        result = SetOfCoordinates(filename=self.path("result.sqlite"))
        mic = micrograph(1, "a.mrc")
        convert.append_examples(convert.read_examples(path), mic, result)
        result.write()
        names = (SHAPE, QUALITY, REASON)
        told = [[getattr(item, name).get() for name in names] for item in result]
        none = [["top", "bad", reason] for reason in NO_PARTICLE]
        self.assertEqual(told, [["top", "good", ""], ["side", "bad", "merged"], *none])
        self.assertEqual(NO_PARTICLE, examples.NO_PARTICLE)
        reference, _ = convert.collect_reference(result, 2, convert.MicrographIndex([mic]))
        self.assertEqual(
            reference["a"],
            [{"x": 2, "y": 4, "visible": 1}, {"x": 18, "y": 16, "visible": 0}],
        )
        for broken, word in (
            ("x,y,shape\n1,2,top\n", "no column good, reason"),
            ("x,y,shape,good,reason\n1,2,top,1,\n1,2,top,yes,\n", "line 3"),
        ):
            with open(path, "w") as handle:
                handle.write(broken)
            with self.assertRaisesRegex(ValueError, word):
                convert.read_examples(path)

    def test_coordinates_without_a_score_among_scored_ones(self):
        mic = micrograph(1, "a.mrc")
        scored, unscored, plain = (coordinate(mic, n, n) for n in (1, 2, 3))
        setattr(scored, SCORE, Float(0.5))
        setattr(unscored, SCORE, Float())
        index = convert.MicrographIndex([mic])
        points, _ = convert.collect_points([plain, unscored, scored], 1.0, index, score=True)
        self.assertEqual(points, {"a": [(3, 3), (2, 2), (1, 1, 0.5)]})
        convert.write_coordinates(points, self.path("mixed"))
        with open(self.path("mixed", "a.csv")) as handle:
            lines = handle.read().splitlines()
        self.assertEqual(lines, ["x,y", "3.000,3.000", "2.000,2.000", "1.000,1.000"])

    def test_a_file_gets_its_name_when_it_is_complete(self):
        path = self.path("file.txt")
        with convert.new_file(path) as handle:
            handle.write("one")
            self.assertFalse(os.path.exists(path))
        with self.assertRaises(ZeroDivisionError), convert.new_file(path) as handle:
            handle.write("two")
            raise ZeroDivisionError
        with open(path) as handle:
            self.assertEqual(handle.read(), "one")
        self.assertEqual(os.listdir(self.folder), ["file.txt"])

    def test_empty_picks(self):
        convert.write_coordinates({}, self.path("coords"), labels=["empty"])
        with open(self.path("coords", "empty.csv")) as handle:
            self.assertEqual(handle.read().strip(), "x,y")

    def test_broken_picks_are_told(self):
        for text in ("x,y\n1,2\n", "x,y,score\n1,2\n", "x,y,score\n1,b,3\n"):
            with open(self.path("broken.csv"), "w") as handle:
                handle.write(text)
            with self.assertRaises(ValueError) as caught:
                convert.read_picks(self.path("broken.csv"))
            self.assertIn("broken.csv", str(caught.exception))

    def test_failed(self):
        self.assertEqual(convert.read_failed(self.path("failed.csv")), {})
        with open(self.path("failed.csv"), "w") as handle:
            handle.write('micrograph,reason\nlinks/a.mrc,"truncated, 12 bytes"\n')
        self.assertEqual(convert.read_failed(self.path("failed.csv")), {"a": "truncated, 12 bytes"})

    def test_ctf_star(self):
        mics = [micrograph(1, "a.mrc"), micrograph(2, "b.mrc")]
        index = convert.MicrographIndex(mics)
        ctfs = []
        for mic in [mics[1], micrograph(9, "unknown.mrc")]:
            ctf = CTFModel()
            ctf.setStandardDefocus(15000, 14000, 30)
            ctf.setMicrograph(mic)
            ctfs.append(ctf)
        done = convert.write_ctf_star(ctfs, index, self.path("ctf.star"))
        self.assertEqual(done, {"b"})
        from emtable import Table

        table = Table(fileName=self.path("ctf.star"), tableName="micrographs")
        self.assertEqual(table.size(), 1)
        self.assertEqual(table[0].rlnMicrographName, "b.mrc")
        self.assertAlmostEqual(table[0].rlnDefocusU, 15000)

    def test_particles_star(self):
        mic = micrograph(1, "a.mrc")
        index = convert.MicrographIndex([mic])
        particles = []
        for number in (1, 2):
            particle = Particle()
            particle.setLocation(number, "stack.mrcs")
            particle.setSamplingRate(4.0)
            particle.setAcquisition(mic.getAcquisition())
            particle.setCoordinate(coordinate(mic, 10 * number, 20))
            particles.append(particle)
        rows, lost = convert.write_particles(particles, self.path("p.star"), index, scale=2.0)
        self.assertEqual((rows, lost), (2, 0))
        from emtable import Table

        table = Table(fileName=self.path("p.star"), tableName="particles")
        self.assertEqual(
            [(row.rlnImageName, row.rlnCoordinateX) for row in table],
            [("000001@stack.mrcs", 20.0), ("000002@stack.mrcs", 40.0)],
        )
        optics = Table(fileName=self.path("p.star"), tableName="optics")
        self.assertEqual(optics[0].rlnImagePixelSize, 4.0)
        self.assertEqual(optics[0].rlnMicrographPixelSize, 2.0)

    def test_shift_of_an_alignment(self):
        turn = np.deg2rad(30)
        matrix = np.eye(4)
        matrix[:2, :2] = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        projection = matrix.copy()
        matrix[:2, 3] = 1.5, -0.5  # the shift that centres the image, in pixels
        projection[:3, 3] = -projection[:3, :3] @ [-1.5, 0.5, 0]
        for alignment, wanted in ((ALIGN_2D, matrix), (ALIGN_PROJ, projection)):
            item = self.particle(4.0)
            self.assertEqual(convert.shift_of(item, alignment), (0, 0))
            item.setTransform(Transform(wanted))
            np.testing.assert_allclose(convert.shift_of(item, alignment), (-6, 2), atol=1e-9)
            self.assertEqual(convert.shift_of(item, ALIGN_NONE), (0, 0))
            self.assertFalse(convert.is_mirrored(item, alignment))
        item.setTransform(Transform(np.diag([-1.0, 1, -1, 1])))
        self.assertTrue(convert.is_mirrored(item, ALIGN_2D))

    def particle(self, rate, classId=None):
        item = Particle()
        item.setSamplingRate(rate)
        item.setCoordinate(coordinate(micrograph(1, "a.mrc"), 10, 20))
        item.setClassId(classId)
        return item

    def test_labels_carry_class_and_shift(self):
        index = convert.MicrographIndex([micrograph(1, "a.mrc")])
        plain = [self.particle(4.0)]
        labels, lost, mirrored = convert.collect_labels(plain, 2.0, index, ALIGN_NONE)
        self.assertEqual((labels, lost, mirrored), ({"a": [(20, 40, -1, 0, 0)]}, 0, 0))
        self.assertEqual(convert.write_labels(labels, self.path("plain")), 1)
        moved = [self.particle(4.0, classId=7), self.particle(4.0)]
        moved[0].setTransform(Transform(np.eye(4)))
        moved[0].getTransform().setShifts(0.5, -1, 0)
        moved[1].setTransform(Transform(np.diag([-1.0, 1, -1, 1])))
        labels, _, mirrored = convert.collect_labels(moved, 2.0, index, ALIGN_2D)
        self.assertEqual(mirrored, 1)
        self.assertEqual(convert.write_labels(labels, self.path("moved")), 2)
        seen, _, _ = convert.collect_labels(moved, 2.0, index, ALIGN_NONE, view=3)
        self.assertEqual([row[2] for row in seen["a"]], [3, 3])
        for name, wanted in (
            ("plain", ["x,y", "20.000,40.000"]),
            (
                "moved",
                ["x,y,view,shift_x,shift_y", "20.000,40.000,7,-2.000,4.000"]
                + ["20.000,40.000,-1,0.000,0.000"],
            ),
        ):
            with open(self.path(name, "a.csv")) as handle:
                self.assertEqual(handle.read().replace("-0.000", "0.000").splitlines(), wanted)

    def test_scores_must_be_complete(self):
        with open(self.path("scores.csv"), "w") as handle:
            handle.write("row,score\n1,0.25\n0,0.75\n")
        self.assertEqual(convert.read_scores(self.path("scores.csv"), 2), [0.75, 0.25])
        with self.assertRaises(ValueError):
            convert.read_scores(self.path("scores.csv"), 3)

    def test_missing_micrograph_is_told(self):
        with self.assertRaises(FileNotFoundError) as caught:
            convert.link_micrograph(micrograph(1, "gone.mrc"), "gone", self.folder)
        self.assertIn("gone.mrc", str(caught.exception))
