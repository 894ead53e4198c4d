"""Compare pickers: the protocol on small sets, its viewer on a real screen."""

import csv
import json
import os
import subprocess
import sys
import time
import unittest

import mrcfile
import numpy as np
from pwem.objects import Coordinate
from pwem.protocols import ProtImportMicrographs
from pyworkflow import Config
from pyworkflow.object import Boolean, Float, Integer, String
from pyworkflow.protocol import STATUS_FINISHED
from pyworkflow.viewer import DESKTOP_TKINTER

from apbc.errors import ApbcError
from apbc_scipion import convert
from apbc_scipion.constants import SCORE, TRUTH
from apbc_scipion.pick_sources import source_of
from apbc_scipion.protocols import ApbcProtComparePickers, ApbcProtEvaluate
from apbc_scipion.tests import common, screen
from apbc_scipion.tests.project import ProtocolTest
from apbc_scipion.viewers.picks_review import PicksReview
from apbc_scipion.viewers.report_record import ReportRecord, read_table, title_of
from apbc_scipion.wizards import places
from apbc_scipion.wizards.wizard_diameter import ApbcDiameterWizard

CARBON_ROWS = 20


class TestTruthColumns(unittest.TestCase):
    """Attributes of coordinates become columns."""

    def test_a_column_that_some_particles_lack_is_left_out(self):
        folder = os.path.join(Config.SCIPION_TESTS_OUTPUT or "/tmp", "apbc_truth_columns")
        full = {"x": 1.0, "y": 2.0, "class": 2.0, "visible": 0.0, "rot": -12.345678}
        columns = convert.write_reference({"a": [full], "b": [dict(full, x=5.0)]}, folder)
        self.assertEqual(columns, [name for name in TRUTH if name in full])
        visible, hidden = convert.read_reference(os.path.join(folder, "a.csv"))
        self.assertEqual((visible, hidden), ([], [(1.0, 2.0)]))
        self.assertEqual(
            convert.write_reference({"a": [full], "b": [{"x": 5.0, "y": 6.0}]}, folder), []
        )
        self.assertEqual(convert.read_reference(os.path.join(folder, "b.csv")), ([(5.0, 6.0)], []))

    def test_a_score_of_another_picker(self):
        coordinate = Coordinate(x=1, y=2)
        coordinate._topazScore = Float(-3.0)

        class Index:
            labels = {1: "a"}

            @staticmethod
            def find(coordinate):
                return 1

        points, _ = convert.collect_points([coordinate], 1.0, Index, score=True)
        self.assertEqual(points, {"a": [(1, 2)]})
        points, _ = convert.collect_points(
            [coordinate], 1.0, Index, score=True, columns=(SCORE, "_topazScore")
        )
        self.assertEqual(points, {"a": [(1, 2, -3.0)]})


class TestComparePickers(ProtocolTest):
    """A project with a reference that tells all, picks of three pickers, and their comparison."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.good, cls.bad = cls.points["good"], cls.points["bad"]
        cls.protTruth = cls.makeTruth()
        cls.pickers = [
            cls.makePicks("picks all", cls.good),
            cls.makePicks("picks half", {stem: cls.good[stem][::2] for stem in cls.good}),
            cls.makePicks(
                "picks dirt, too",
                {stem: cls.good[stem] + cls.bad[stem] + [(10, 5)] for stem in cls.good},
            ),
        ]
        cls.protCompare = cls.newCompare()
        cls.launchProtocol(cls.protCompare)
        os.chdir(cls.proj.getPath())

    def setUp(self):
        self.window = None

    def tearDown(self):
        if self.window is not None:
            self.window.close()

    # ------------------------------- input --------------------------------------
    @classmethod
    def makeRun(cls, label):
        """Make a run that has ended, whose outputs the test defines."""
        protocol = cls.newProtocol(ProtImportMicrographs)
        protocol.setObjLabel(label)
        cls.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        protocol.setStatus(STATUS_FINISHED)
        return protocol

    @classmethod
    def store(cls, protocol, **outputs):
        protocol._defineOutputs(**outputs)
        protocol._store()
        cls.proj.mapper.commit()
        return protocol

    @classmethod
    def makeMicrographs(cls, protocol, pixelSize=common.PIXEL_SIZE, change=None):
        """Give a run the micrographs of the project, each changed by a function."""
        micrographs = protocol._createSetOfMicrographs()
        micrographs.copyInfo(cls.protMics.outputMicrographs)
        micrographs.setSamplingRate(pixelSize)
        for mic in cls.protMics.outputMicrographs.iterItems():
            mic = mic.clone()
            mic.setSamplingRate(pixelSize)
            if change is not None:
                change(mic)
            micrographs.append(mic)
        cls.store(protocol, outputMicrographs=micrographs)
        return micrographs

    @classmethod
    def makePicks(cls, label, points, column=None, **micrographs):
        """Make a run with coordinates on micrographs of its own.

        With a column, the first pick of a micrograph has a score of 1, the second of 1/2 ...
        """
        protocol = cls.makeRun(label)
        mics = cls.makeMicrographs(protocol, **micrographs)
        picks = protocol._createSetOfCoordinates(common.pointer(protocol, "outputMicrographs"))
        picks.setBoxSize(46)
        for mic in mics.iterItems():
            mic = mic.clone()
            for number, (x, y) in enumerate(points.get(convert.stem_of(mic.getMicName()), ())):
                coordinate = Coordinate(x=x, y=y)
                coordinate.setMicrograph(mic)
                if column is not None:
                    setattr(coordinate, column, Float(1.0 / (1 + number)))
                picks.append(coordinate)
        return cls.store(protocol, outputCoordinates=picks)

    @classmethod
    def makeTruth(cls):
        """Make a run with what the simulator tells of micrographs and particles."""
        os.makedirs(cls.path("masks"))

        def mask(mic):
            path = cls.path("masks", convert.stem_of(mic.getMicName()) + ".mrc")
            pixels = np.zeros(common.SHAPE, np.int8)
            pixels[:CARBON_ROWS] = 1
            with mrcfile.new(path) as handle:
                handle.set_data(pixels)
            mic._apbcMask = String(path)

        protocol = cls.makeRun("simulated micrographs")
        micrographs = cls.makeMicrographs(protocol, change=mask)
        truth = protocol._createSetOfCoordinates(common.pointer(protocol, "outputMicrographs"))
        truth.setBoxSize(46)
        random = np.random.default_rng(3)
        for mic in micrographs.iterItems():
            mic = mic.clone()
            for number, (x, y) in enumerate(cls.good[convert.stem_of(mic.getMicName())]):
                coordinate = Coordinate(x=x, y=y)
                coordinate.setMicrograph(mic)
                coordinate._gtClass = Integer(1 + number % 2)
                coordinate._gtRot = Float(random.uniform(-180, 180))
                coordinate._gtTilt = Float(np.rad2deg(np.arccos(random.uniform(-1, 1))))
                coordinate._gtPsi = Float(0.0)
                coordinate._gtVisible = Boolean(number != 3)
                truth.append(coordinate)
        return cls.store(protocol, outputCoordinates=truth)

    @classmethod
    def newCompare(cls, *pickers, reference=None, **values):
        values.setdefault("particleDiameter", common.DIAMETER)
        protocol = cls.newProtocol(ApbcProtComparePickers, **values)
        for one in pickers or cls.pickers:
            protocol.inputCoordinates.append(common.pointer(one, "outputCoordinates"))
        cls.link(protocol, "referenceCoordinates", reference or cls.protTruth, "outputCoordinates")
        return protocol

    def readTable(self, protocol, name):
        path = os.path.join(os.path.dirname(protocol.getReportPath()), name)
        with open(self.proj.getPath(path), newline="") as handle:
            return list(csv.DictReader(handle))

    # ------------------------------- protocol -----------------------------------
    def test_pickers_are_compared_with_a_truth_that_tells_all(self):
        protocol = self.protCompare
        self.assertEqual(protocol.validate(), [])
        self.assertEqual(protocol.warnings(), [])
        self.assertIn("not compared yet", self.newCompare().summary()[0])
        comparison = protocol.outputComparison
        self.assertEqual(comparison.getBestPicker(), "picks all")
        self.assertEqual(comparison.getBestF1(), 1.0)
        self.assertIn("3 pickers on 5 micrographs, best picks all", str(comparison))
        figures = comparison.getFigures()
        self.assertEqual(set(figures), {"picks all", "picks half", "picks dirt, too"})
        self.assertEqual(figures["picks all"]["on_hidden"], 5)
        # 12 of 24 particles, of which number 3 is hidden and never picked.
        self.assertAlmostEqual(figures["picks half"]["recall"], 12 / 23.0, places=4)
        # Every second particle is of class 1, the others of class 2 were left alone.
        self.assertEqual(figures["picks half"]["lost_classes"], [2])
        # One false pick of each micrograph was put on the carbon.
        self.assertEqual(figures["picks dirt, too"]["contamination"]["carbon"], 5)
        self.assertIsNone(figures["picks all"]["average_precision"])
        rows = self.readTable(protocol, "per_view.csv")
        self.assertEqual(sum(int(row["particles"]) for row in rows), 3 * 5 * 23)
        self.assertEqual(len(self.readTable(protocol, "per_micrograph.csv")), 15)
        told = "\n".join(protocol.summary())
        for words in ("*picks half*: F1 0.68", "picks half loses class 2", "report.html"):
            self.assertIn(words, told)
        self.assertIn("115 reference particles on 5 micrographs", protocol.methods()[0])

    def test_a_reference_picked_by_hand_scores_and_pixel_sizes(self):
        scored = self.makePicks("scored", self.good, "_topazScore")
        halved = {stem: [(x / 2.0, y / 2.0) for x, y in self.good[stem]] for stem in self.good}
        binned = self.makePicks("on binned ones", halved, pixelSize=2 * common.PIXEL_SIZE)
        protocol = self.newCompare(
            scored, binned, reference=self.protCoords["good"], edge=common.DIAMETER
        )
        self.launchProtocol(protocol)
        with open(protocol.getReportPath()) as handle:
            record = json.load(handle)
        self.assertIn("no classes and no poses", record["told"][-1])
        self.assertFalse({"per_class.csv", "contamination.csv"} & set(record["tables"]))
        self.assertLess(record["particles"], 120)
        figures = record["pickers"]
        self.assertEqual(figures["scored"]["average_precision"], 1.0)
        self.assertGreater(figures["on binned ones"]["recall"], 0.95)
        self.assertLess(figures["on binned ones"]["localisation_error"], 2 * common.PIXEL_SIZE)

    def test_runs_of_one_label_are_told_apart(self):
        twin = self.makePicks("picks all", self.bad)
        protocol = self.newCompare(self.pickers[0], twin)
        self.assertEqual(
            [name for name, _ in protocol.getPickers()], ["picks all", "picks all (2)"]
        )
        twin.setObjLabel("a = b")
        self.assertEqual(protocol.getPickers()[1][0], "a b")

    def test_the_wizard_of_the_diameter_shows_the_reference(self):
        protocol = self.newCompare()
        found = places.evaluated_sets(protocol)
        self.assertEqual([items.getObjId() for items in found], [self.truthId()])
        protocol.referenceCoordinates.set(None)
        found = places.evaluated_sets(protocol)
        self.assertEqual(found[0].getSize(), 5 * 24)
        self.assertNotEqual(found[0].getObjId(), self.truthId())
        self.assertIn((ApbcProtComparePickers, ["particleDiameter"]), ApbcDiameterWizard._targets)

    def truthId(self):
        return self.protTruth.outputCoordinates.getObjId()

    def test_what_cannot_be_compared_is_told(self):
        one = self.newCompare(self.pickers[0])
        self.assertIn("two or more sets", "\n".join(one.validate()))
        twice = self.newCompare(self.pickers[0], self.pickers[0])
        self.assertIn("given twice", "\n".join(twice.validate()))
        small = self.newCompare(particleDiameter=10.0)
        self.assertIn("smaller than 4 pixels", "\n".join(small.validate()))
        itself = self.newCompare(*self.pickers[:2], reference=self.pickers[0])
        self.assertIn("are the reference, too", "\n".join(itself.warnings()))
        self.assertEqual(self.newCompare(*self.pickers[1:]).warnings(), [])
        large = self.newCompare(self.pickers[0], self.makePicks("large", self.good, pixelSize=5.0))
        self.assertIn("only their names agree", "\n".join(large.warnings()))
        stranger = self.makePicks(
            "stranger",
            {"of mic_00": [(50, 50)]},
            change=lambda mic: mic.setMicName("of " + mic.getMicName()),
        )
        protocol = self.newCompare(self.pickers[0], stranger)
        self.assertIn("Names of micrographs must agree", self.launchRed(protocol))

    def test_evaluate_heeds_what_is_visible(self):
        protocol = self.newProtocol(ApbcProtEvaluate, particleDiameter=common.DIAMETER)
        self.link(protocol, "inputCoordinates", self.pickers[2], "outputCoordinates")
        self.link(protocol, "referenceCoordinates", self.protTruth, "outputCoordinates")
        self.launchProtocol(protocol)
        self.assertEqual(protocol.recall.get(), 1.0)
        self.assertAlmostEqual(protocol.precision.get(), 23 / (23 + 25.0), places=4)
        # The picks viewer tells the same.
        review = PicksReview(source_of(protocol, self.proj))
        precision, recall = list(review.compare())[-1]
        self.assertAlmostEqual(precision, protocol.precision.get(), places=4)
        self.assertEqual(recall, 1.0)
        selection = review.getSelection(review.labels[0])
        self.assertEqual((len(selection.hits), len(selection.false)), (23, 25))

    # ------------------------------- viewer -------------------------------------
    def open(self, obj):
        screen.need_screen()
        found = Config.getDomain().findViewers(obj, DESKTOP_TKINTER)
        self.assertEqual([viewer.__name__ for viewer in found], ["ApbcComparisonViewer"])
        self.window = found[0](project=self.proj).makeWindow(obj)
        self.window.root.geometry("1100x740+0+0")
        self.window.root.deiconify()
        screen.pump(self.window)
        return self.window

    def settle(self):
        end = time.time() + 0.4
        screen.pump(self.window, until=lambda: time.time() > end)

    def names(self):
        tabs = self.window.tabs
        return [tabs.tab(tab, "text") for tab in tabs.tabs()]

    def test_pictures_fill_their_tabs(self):
        window = self.open(self.protCompare)
        names = self.names()
        self.assertEqual(names[0], "Figures")
        self.assertEqual(names[-1], "Tables")
        for name in ("Precision recall", "Classes", "Views", "Contamination", "Agreement"):
            self.assertIn(name, names)
        self.assertIn("picks all has the best F1: 1.000", window.told.cget("text"))
        for number, name in enumerate(names[:3]):
            window.tabs.select(number)
            pane = window.pictures[name]
            screen.pump(window, until=lambda pane=pane: pane.size[0] > 300)
            self.settle()
            room = pane.label.winfo_width(), pane.label.winfo_height()
            wide, high = pane.size
            self.assertLessEqual(wide, room[0])
            self.assertLessEqual(high, room[1])
            ratio = pane.picture.width / float(pane.picture.height)
            self.assertAlmostEqual(wide / float(high), ratio, delta=0.02)

    def test_tables_are_shown_and_sorted(self):
        window = self.open(self.protCompare.outputComparison)
        window.tabs.select(self.names().index("Tables"))
        self.settle()
        header, rows = read_table(dict(window.record.tables)["Compare"])
        self.assertEqual(window.grid.getRows(), rows)
        column = header.index("recall")
        window.grid.sortBy(column)
        recalls = [float(row[column]) for row in window.grid.getRows()]
        self.assertEqual(recalls, sorted(recalls))
        window.grid.sortBy(column)
        recalls = [float(row[column]) for row in window.grid.getRows()]
        self.assertEqual(recalls, sorted(recalls, reverse=True))
        window.showTable("Per micrograph")
        self.assertEqual(len(window.grid.getRows()), 15)
        self.assertIn("sort by it", window.getStatus())

    def test_many_sentences_have_a_tab(self):
        folder = self.path("many")
        os.makedirs(folder)
        path = os.path.join(folder, "compare.json")
        told = ["Sentence %d." % number for number in range(9)]
        with open(path, "w") as handle:
            json.dump({"told": told}, handle)
        from apbc_scipion.viewers.report_window import ReportWindow

        screen.need_screen()
        self.window = ReportWindow("many", path)
        screen.pump(self.window)
        self.assertEqual(self.names(), ["Findings"])
        self.assertEqual(self.window.told.cget("text").splitlines()[-1], "4 more: see Findings.")
        self.assertEqual(self.window.findings.get("1.0", "end").split("\n")[8], told[8])

    def test_the_page_opens_in_the_browser(self):
        window = self.open(self.protCompare)
        seen = self.path("opened.txt")
        browser = self.path("browser.sh")
        with open(browser, "w") as handle:
            handle.write('#!/bin/sh\nprintf %%s "$1" > %s\n' % seen)
        os.chmod(browser, 0o755)
        import webbrowser

        webbrowser.register(
            "apbc-test", None, webbrowser.BackgroundBrowser(browser), preferred=True
        )
        window.openPage()
        screen.pump(window, until=lambda: os.path.exists(seen) and os.path.getsize(seen))
        with open(seen) as handle:
            target = handle.read()
        self.assertTrue(target.startswith("file:///"), target)
        self.assertTrue(os.path.samefile(target[len("file://") :], window.record.page))

    def test_a_run_without_a_report(self):
        protocol = self.newCompare()
        self.proj.saveProtocol(protocol)
        window = self.open(protocol)
        self.assertIn("has not been started", window.told.cget("text"))
        self.assertEqual(self.names(), [])
        window.savePicture(self.path("none.png"))
        self.assertIn("no report yet", window.getStatus())
        # The report appears once the run has written it.
        folder = os.path.dirname(protocol.getReportPath())
        os.makedirs(folder)
        with open(protocol.getReportPath(), "w") as handle:
            json.dump({"told": ["Here it is."], "pictures": ["gone.png"], "tables": []}, handle)
        screen.pump(window, until=lambda: "Here it is." in window.told.cget("text"))
        self.assertIn("gone.png has gone", window.told.cget("text"))

    def test_damaged_files_are_told(self):
        folder = self.path("damaged")
        os.makedirs(folder)
        for name, text in (("a.png", "no picture"), ("b.csv", ""), ("c.csv", "x,y\n1\n")):
            with open(os.path.join(folder, name), "w") as handle:
                handle.write(text)
        path = os.path.join(folder, "compare.json")
        with open(path, "w") as handle:
            json.dump({"pictures": ["a.png"], "tables": ["b.csv", "c.csv"]}, handle)
        self.assertEqual(read_table(os.path.join(folder, "b.csv")), ([], []))
        self.assertEqual(read_table(os.path.join(folder, "c.csv")), (["x", "y"], [["1", ""]]))
        from apbc_scipion.viewers.report_window import ReportWindow

        screen.need_screen()
        self.window = ReportWindow("damaged", path)
        screen.pump(self.window)
        self.assertEqual(self.window.pictures, {})
        self.window.savePicture(self.path("damaged.png"))
        self.assertIn("cannot be read", self.window.getStatus())
        with open(path, "w") as handle:
            handle.write("{")
        with self.assertRaisesRegex(ApbcError, "not a JSON file"):
            ReportRecord(path)
        self.assertEqual(title_of("per_view.csv"), "Per view")

    def test_a_picture_needs_no_screen(self):
        out = self.path("report.png")
        environ = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
        environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        words = [self.proj.getName(), str(self.protCompare.getObjId()), "--out", out]
        subprocess.run(
            [sys.executable, "-m", "apbc_scipion.picture", *words], check=True, env=environ
        )
        from PIL import Image

        record = ReportRecord(self.protCompare.getReportPath())
        with Image.open(out) as picture:
            pixels = np.asarray(picture.convert("L"))
        heights = [Image.open(path).height for _, path in record.pictures]
        self.assertGreaterEqual(pixels.shape[0], sum(heights))
        for part in np.array_split(pixels, len(heights)):
            self.assertGreater((part < 250).mean(), 0.01)


if __name__ == "__main__":
    unittest.main()
