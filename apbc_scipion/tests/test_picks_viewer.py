"""The picks viewer on a real project's outputs, driven by real events under Xvfb."""

import os
import subprocess
import sys
import time
import unittest
from unittest import mock

import numpy as np
import pyworkflow
from matplotlib.figure import Figure
from PIL import Image
from pwem.objects import Coordinate, SetOfCoordinates
from pyworkflow.object import Float

from apbc_scipion.constants import SCORE
from apbc_scipion.pick_sources import SourceError, source_of
from apbc_scipion.protocols import ApbcProtCreateCoordinates, ApbcProtScreen
from apbc_scipion.protocols.protocol_screen import MICROGRAPHS
from apbc_scipion.tests import common, screen
from apbc_scipion.tests.project import ModelTest
from apbc_scipion.viewers import ApbcPicksViewer, ZApbcCoordinatesViewer
from apbc_scipion.viewers.picks_figure import (
    ACCEPTED_VIEW,
    PicksPainter,
    Selection,
    draw_legend,
)
from apbc_scipion.viewers.viewer_base import NoDisplayError


class TestSelection(unittest.TestCase):
    """What a threshold, a hand and a reference make of picks."""

    def test_a_threshold_keeps_picks_of_unknown_score(self):
        picks = np.array([[10, 10, 0.9], [20, 20, 0.2], [30, 30, np.nan]])
        selection = Selection(picks, 0.5, added=np.array([[40.0, 40, np.nan]]))
        self.assertEqual(selection.accepted[:, 0].tolist(), [10, 30])
        self.assertEqual(selection.rejected[:, 0].tolist(), [20])
        self.assertEqual(selection.count, 3)
        self.assertEqual(Selection(picks, None).count, 3)

    def test_hits_and_misses_within_the_border(self):
        picks = np.array([[10, 50, 0.9], [52, 50, 0.8], [80, 50, 0.7]])
        reference = np.array([[50.0, 50], [20, 80], [12, 50]])
        selection = Selection(
            picks, 0.5, reference=reference, radius=5.0, border=((100, 100), 15.0)
        )
        # The pick and the particle at x 10 and 12 are too near to the border to count.
        self.assertEqual(selection.hits[:, 0].tolist(), [52])
        self.assertEqual(selection.false[:, 0].tolist(), [80])
        self.assertEqual(selection.missed.tolist(), [[20, 80]])
        self.assertEqual((selection.precision, selection.recall), (0.5, 0.5))

    def test_erased_picks_are_neither_in_nor_out(self):
        picks = np.array([[10, 10, 0.9], [20, 20, 0.2]])
        selection = Selection(picks, 0.5, erased=np.array([True, False]))
        self.assertEqual((len(selection.accepted), len(selection.rejected)), (0, 1))

    def test_picks_that_an_ensemble_disagrees_about_are_marked(self):
        picks = np.array([[10, 10, 0.9], [20, 20, 0.8], [30, 30, 0.7], [40, 40, 0.2]])
        disagreement = np.array([0.01, 0.15, np.nan, 0.3])
        selection = Selection(picks, 0.5, disagreement=disagreement)
        self.assertEqual(selection.doubtful[:, 0].tolist(), [20])
        self.assertEqual(selection.count, 3)
        erased = np.array([False, True, False, False])
        erased = Selection(picks, 0.5, erased=erased, disagreement=disagreement)
        self.assertEqual(len(erased.doubtful), 0)
        axes = Figure().add_subplot()
        painter = PicksPainter(axes, 5.0)
        drawn = []
        for shown in (selection, Selection(picks, 0.5)):
            painter.draw(shown, ACCEPTED_VIEW)
            legend = draw_legend(axes, shown, ACCEPTED_VIEW, False)
            drawn.append([text.get_text() for text in legend.get_texts()])
            drawn.append(sum(len(artist.get_offsets()) for artist in painter.getArtists()) / 2)
        told = "3 picks, coloured by score"
        self.assertEqual(drawn, [[told, "1 of them doubtful"], 4, [told], 3])


class TestPicksViewer(ModelTest):
    """One run of picking, looked at from all sides."""

    @classmethod
    def setUpClass(cls):
        screen.need_screen()
        super().setUpClass()

    def viewer(self, obj, protocol=None):
        """First viewer that Scipion offers for an object."""
        found = pyworkflow.Config.getDomain().findViewers(obj, "tkinter")
        return found[0](project=self.proj, protocol=protocol or obj)

    def open(self, obj):
        """Open the window of a protocol or an output, and let it come to rest."""
        return self.show(self.viewer(obj).makeWindow(obj))

    def show(self, window):
        """Put a window on the screen."""
        self.addCleanup(window.close)
        window.root.deiconify()
        screen.pump(window, until=lambda: window.root.winfo_viewable() and not window.isBusy())
        window.root.focus_force()
        screen.pump(window)
        return window

    def rest(self, window):
        screen.pump(window, until=lambda: not window.isBusy())

    def click(self, window, x, y, button=1):
        """Click on a place of the micrograph, in its pixels."""
        widget = window.canvas.get_tk_widget()
        across, up = window.axes.transData.transform((x, y))
        place = {"x": round(across), "y": round(widget.winfo_height() - up)}
        widget.event_generate("<Motion>", **place)
        widget.event_generate("<ButtonPress-%d>" % button, **place)
        widget.event_generate("<ButtonRelease-%d>" % button, **place)
        screen.pump(window)

    def key(self, window, key):
        window.canvas.get_tk_widget().focus_force()
        screen.pump(window)
        window.canvas.get_tk_widget().event_generate(key)
        screen.pump(window)

    def answer(self, window, button):
        """Press a button of the question that closing asks; returns whether it may close."""
        path = "%s.__tk__messagebox.%s" % (window.root, button)
        tcl, pressed = window.root.tk, []

        def press():
            if tcl.call("winfo", "exists", path):
                pressed.append(button)
                tcl.call(path, "invoke")
            else:
                window.root.after(100, press)

        timer = window.root.after(100, press)
        may = window.mayClose()
        if not pressed:
            window.root.after_cancel(timer)
        self.assertEqual(pressed, [button], "closing asks")
        return may

    # ------------------------------------------------------------------------------
    def test_threshold_counts_and_new_coordinates(self):
        window = self.open(self.protPick)
        source = source_of(self.protPick, self.proj)
        every = np.concatenate([source.getPicks(label) for label in source.getLabels()])
        self.assertEqual(window.review.count(), ((every[:, 2] >= 0.5).sum(), len(every)))

        # A click in the histogram sets the threshold.
        panel = window.threshold
        widget = panel.figure.canvas.get_tk_widget()
        across, up = panel.axes.transData.transform((0.3, 1))
        widget.event_generate(
            "<ButtonPress-1>", x=round(across), y=round(widget.winfo_height() - up)
        )
        self.rest(window)
        self.assertAlmostEqual(window.review.threshold, 0.3, delta=0.01)
        self.key(window, "<plus>")
        self.assertAlmostEqual(window.review.threshold, 0.31, delta=0.011)
        panel.setThreshold(0.3)
        self.rest(window)
        kept = int((every[:, 2] >= 0.3).sum())
        self.assertEqual(window.review.count()[0], kept)
        here = source.getPicks(window.getLabel())
        text = window._counts.cget("text")
        self.assertIn("This micrograph: %d of %d" % ((here[:, 2] >= 0.3).sum(), len(here)), text)
        self.assertIn("Whole set: %d of %d on 5 micrographs" % (kept, len(every)), text)

        before = {run.getObjId() for run in self.proj.getRuns()}
        window._createButton.invoke()
        screen.pump(window, until=lambda: not window.isCreating(), seconds=90)
        self.assertIn("Created %d coordinates" % kept, window.getStatus())
        (made,) = [run for run in self.proj.getRuns(refresh=True) if run.getObjId() not in before]
        self.assertIsInstance(made, ApbcProtCreateCoordinates)
        path = self.proj.getPath(made.outputCoordinates.getFileName())
        coordinates = SetOfCoordinates(filename=path)
        coordinates.loadAllProperties()
        self.assertEqual(coordinates.getSize(), kept)
        self.assertGreaterEqual(min(getattr(item, SCORE).get() for item in coordinates), 0.3)
        self.assertEqual(coordinates.getBoxSize(), self.protPick.boxSize.get())
        # What was made can be looked at in turn, and thresholded further.
        again = self.open(made)
        self.assertEqual(again.review.count(), (kept, kept))

    def test_keys_go_through_micrographs_and_views(self):
        window = self.open(self.protPick)
        labels = window.review.labels
        self.assertEqual(labels, ["mic_%02d" % i for i in range(5)])
        self.key(window, "<Right>")
        self.assertEqual(window.getLabel(), labels[1])
        self.key(window, "<Left>")
        self.key(window, "<Left>")
        self.assertEqual(window.getLabel(), labels[0])
        self.assertEqual(window._view.get(), "both")
        self.key(window, "t")
        self.assertEqual(window._view.get(), "accepted")
        drawn = sum(len(artist.get_offsets()) for artist in window._painter.getArtists())
        self.assertEqual(drawn, 2 * len(window.review.getSelection(labels[0]).accepted))
        self.key(window, "m")
        self.assertTrue(window._withMap.get())
        self.assertEqual(len(window.axes.images), 2)

    def test_zoom_reads_the_part_that_is_shown(self):
        window = self.open(self.protPick)
        widget = window.canvas.get_tk_widget()
        across, up = window.axes.transData.transform((100, 50))
        for _ in range(8):
            widget.event_generate(
                "<Button-4>", x=round(across), y=round(widget.winfo_height() - up)
            )
        self.rest(window)
        left, right = window.axes.get_xlim()
        self.assertLess(right - left, 0.3 * 320)
        self.assertTrue(left < 100 < right)
        self.assertLess(window._shown.image.shape[1], 320)
        self.key(window, "0")
        self.assertEqual(window.axes.get_xlim(), (-0.5, 319.5))

    def test_picks_by_hand_are_saved_with_the_scores_of_the_others(self):
        window = self.open(self.protPick)
        label = window.getLabel()
        accepted = window.review.getSelection(label).accepted
        victim = accepted[0]
        self.key(window, "e")
        self.click(window, victim[0], victim[1])
        self.assertEqual(len(window.review.getSelection(label).accepted), len(accepted) - 1)
        self.key(window, "a")
        self.click(window, 160, 192)
        added = window.review.getAdded(label)
        np.testing.assert_allclose(added[0, :2], (160, 192), atol=1.5)
        self.assertTrue(0 <= added[0, 2] <= 1, "the score map gives the score")
        self.click(window, 60, 60)
        self.key(window, "<Control-z>")
        self.assertEqual(len(window.review.getAdded(label)), 1)
        self.assertFalse(self.answer(window, "no"))
        self.assertTrue(self.answer(window, "yes"))
        kept = window.review.count()[0]
        window._createButton.invoke()
        screen.pump(window, until=lambda: not window.isCreating(), seconds=90)
        self.assertIn("Created %d" % kept, window.getStatus())
        self.assertTrue(window.mayClose(), "what is saved need not be asked for")
        made = [
            run
            for run in self.proj.getRuns(refresh=True)
            if isinstance(run, ApbcProtCreateCoordinates)
        ][-1]
        self.assertIn("By hand: 1 added, 1 erased", made.summary())
        rows = {
            tuple(item.getPosition()): getattr(item, SCORE).get()
            for item in made.outputCoordinates.iterItems()
            if item.getMicName() == "mic_00.mrc"
        }
        self.assertNotIn(tuple(np.floor(victim[:2] + 0.5).astype(int)), rows)
        place = tuple(np.floor(added[0, :2] + 0.5).astype(int))
        self.assertAlmostEqual(rows[place], added[0, 2], places=5)
        for x, y, score in accepted[1:]:
            self.assertAlmostEqual(rows[int(x + 0.5), int(y + 0.5)], score, places=5)

    def test_what_cannot_be_is_told(self):
        window = self.open(self.protPick)
        window.add(-5, 10)
        self.assertIn("outside", window.getStatus())
        self.assertEqual(len(window.review.getAdded(window.getLabel())), 0)
        before = window.review.threshold
        window.threshold._text.set("nan")
        window.threshold._onEntry(None)
        self.assertIn("must be a number", window.getStatus())
        self.assertEqual(window.review.threshold, before)

    def test_damaged_picks_are_told(self):
        path = self.proj.getPath(self.protPick._getExtraPath("candidates", "mic_01.csv"))
        with open(path) as handle:
            whole = handle.read()
        with open(path, "a") as handle:
            handle.write("garbage\n")
        try:
            window = self.open(self.protPick)
            self.assertIn("mic_01.csv", window.getStatus())
            self.assertNotIn("counting", window._counts.cget("text"))
            self.key(window, "<Right>")
            self.assertIn("not a row of three numbers", window.getStatus())
            self.assertEqual(len(window.axes.images), 1)
        finally:
            with open(path, "w") as handle:
                handle.write(whole)

    def test_picks_that_go_while_the_window_is_open(self):
        folder = self.proj.getPath(self.protPick._getExtraPath("candidates"))
        window = self.open(self.protPick)
        os.rename(folder, folder + ".gone")
        try:
            window._poll()
            self.key(window, "<Right>")
            self.key(window, "m")
            self.rest(window)
            self.assertIn("No micrograph is picked yet", window._counts.cget("text"))
        finally:
            os.rename(folder + ".gone", folder)

    def test_micrographs_that_come_later_leave_the_one_that_is_shown(self):
        window = self.open(self.protPick)
        window.review.labels = window.review.labels[1::2]
        window.showMicrograph(1)
        window._poll()
        self.assertEqual(window.getLabel(), "mic_03")
        self.assertEqual(window.axes.get_title(loc="left"), "mic_03   (4 of 5)")

    def test_evaluation_shows_hits_and_misses(self):
        evaluate = self.evaluate(self.protPick)
        window = self.open(evaluate)
        self.assertTrue(window._compare.get())
        window.threshold.setThreshold(0.5)
        self.rest(window)
        self.assertAlmostEqual(window._compared[0], evaluate.precision.get(), places=3)
        self.assertAlmostEqual(window._compared[1], evaluate.recall.get(), places=3)
        selection = window.review.getSelection(window.getLabel())
        colours = [tuple(artist.get_edgecolor()[0][:3]) for artist in window._painter.getArtists()]
        self.assertEqual(
            len(set(colours)),
            1
            + (len(selection.hits) > 0)
            + (len(selection.false) > 0)
            + (len(selection.missed) > 0),
        )
        self.key(window, "t")
        self.assertFalse(
            window._compare.get(), "a view of picks takes the place of hits and misses"
        )
        window.threshold.setThreshold(0.99)
        self.rest(window)
        self.assertLess(window._compared[1], evaluate.recall.get())

    def test_screened_particles(self):
        particles = common.import_particles(
            self,
            common.crop_particles(self.protMics, self.points["good"], self.path("p.sqlite")),
            "particles",
        )
        screened = self.newProtocol(ApbcProtScreen, useGpu=False, threshold=0.5, source=MICROGRAPHS)
        self.link(screened, "inputMicrographs", self.protMics, "outputMicrographs")
        self.link(screened, "inputParticles", particles, "outputParticles")
        self.link(screened, "inputModel", self.protTrain, "outputModel")
        self.launchProtocol(screened)
        window = self.open(screened)
        total = sum(map(len, self.points["good"].values()))
        true = screened.outputParticlesTrue.getSize()
        self.assertEqual(window.review.count(), (true, total))
        self.key(window, "t")
        picks = window.review.getSelection("mic_00").accepted
        places = {tuple(place) for place in self.points["good"]["mic_00"]}
        self.assertTrue({tuple(map(int, pick[:2])) for pick in picks} <= places)

    def test_coordinates_of_another_program_have_no_histogram(self):
        coordinates = self.protCoords["good"].outputCoordinates
        found = pyworkflow.Config.getDomain().findViewers(coordinates, "tkinter")
        self.assertIn(ZApbcCoordinatesViewer, found[1:], "offered, but not first")
        self.assertNotIn(ApbcPicksViewer, found)
        viewer = ZApbcCoordinatesViewer(project=self.proj, protocol=self.protCoords["good"])
        window = self.show(viewer.makeWindow(coordinates))
        self.assertIsNone(window.threshold)
        total = sum(map(len, self.points["good"].values()))
        self.assertEqual(window.review.count(), (total, total))
        window.review.add("mic_01", 12, 34)
        before = {run.getObjId() for run in self.proj.getRuns()}
        window._createButton.invoke()
        screen.pump(window, until=lambda: not window.isCreating(), seconds=90)
        (made,) = [run for run in self.proj.getRuns(refresh=True) if run.getObjId() not in before]
        self.assertEqual(made.outputCoordinates.getSize(), total + 1)

    def test_scores_of_another_picker(self):
        maker = self.newProtocol(ApbcProtCreateCoordinates, objLabel="topaz")
        self.proj.saveProtocol(maker)
        os.makedirs(self.proj.getPath(maker._getExtraPath()))
        scored = maker._createSetOfCoordinates(common.pointer(self.protMics, "outputMicrographs"))
        scored.setBoxSize(46)
        for i, mic in enumerate(self.protMics.outputMicrographs.iterItems()):
            for score in (i - 4.0, i + 1.0):
                coordinate = Coordinate(x=100, y=100)
                coordinate.setMicrograph(mic)
                coordinate._topazScore = Float(score)
                scored.append(coordinate)
        maker._defineOutputs(outputCoordinates=scored)
        maker._store()
        self.proj.mapper.commit()
        viewer = ZApbcCoordinatesViewer(project=self.proj, protocol=maker)
        window = self.show(viewer.makeWindow(scored))
        self.assertEqual(window.review.getLimits(), (-4, 5))
        norm = window._painter.norm
        self.assertEqual((norm.vmin, norm.vmax), (-4, 5), "circles have the colours of the bars")
        # A score like any other, though the form has a meaning of its own for it.
        window.threshold.setThreshold(-1)
        self.assertEqual(window.review.count(), (7, 10))
        before = {run.getObjId() for run in self.proj.getRuns()}
        window._createButton.invoke()
        screen.pump(window, until=lambda: not window.isCreating(), seconds=90)
        self.assertIn("Created 7", window.getStatus())
        (made,) = [run for run in self.proj.getRuns(refresh=True) if run.getObjId() not in before]
        self.assertIn("Threshold: -1.000", made.summary())

    def test_moved_micrographs_are_told(self):
        path = self.proj.getPath(self.protMics.outputMicrographs.getFirstItem().getFileName())
        os.rename(path, path + ".moved")
        try:
            window = self.open(self.protPick)
            self.assertIn("no micrograph", window.getStatus())
            self.assertIn("missing", window.axes.texts[0].get_text())
            self.assertTrue(window._painter.getArtists(), "the picks are drawn all the same")
            self.key(window, "<Right>")
            self.assertEqual(len(window.axes.images), 1)
        finally:
            os.rename(path + ".moved", path)

    def test_no_picks_at_all(self):
        source = self.protMics
        empty = source._createSetOfCoordinates(
            common.pointer(source, "outputMicrographs"), suffix="Empty"
        )
        empty.setBoxSize(46)
        source._defineOutputs(outputCoordinatesEmpty=empty)
        source._store()
        self.proj.mapper.commit()
        viewer = ZApbcCoordinatesViewer(project=self.proj, protocol=source)
        window = self.show(viewer.makeWindow(empty))
        self.assertEqual(window.review.count(), (0, 0))
        self.assertIn("0 picks", window._counts.cget("text"))
        self.key(window, "<Right>")
        self.assertEqual(window.getLabel(), "mic_01")

    def test_a_running_protocol_is_followed(self):
        mics = common.import_micrographs(self, self.path("mics", "*.mrc"), label="again")
        pick = self.newPick(mics, streamingBatchSize=3)
        self.proj.launchProtocol(pick, wait=False)
        try:
            candidates = pick._getExtraPath("candidates")
            end = time.time() + 120
            while time.time() < end and not (os.path.isdir(candidates) and os.listdir(candidates)):
                time.sleep(0.1)
            self.proj._updateProtocol(pick)
            window = self.open(pick)
            first = len(window.review.labels)
            self.assertLess(first, 5, "the run is over already: nothing was followed")
            if first:
                self.assertIn("The run goes on", window._counts.cget("text"))
            # As if these had been all when the window was opened.
            source = window.review.source
            source._setMicrographs(list(source.micrographs.values())[:3])
            screen.pump(window, until=lambda: len(window.review.labels) == 5, seconds=150)
            self.rest(window)
            self.assertEqual(window._choice.cget("values")[-1], "mic_04")
            screen.pump(window, until=lambda: not window._running, seconds=60)
            self.assertNotIn("The run goes on", window._counts.cget("text"))
        finally:
            end = time.time() + 120
            while pick.isActive() and time.time() < end:
                time.sleep(0.5)
                self.proj._updateProtocol(pick)

    def test_pictures_need_no_screen(self):
        path = self.path("picks.png")
        with mock.patch.dict(os.environ):
            os.environ.pop("DISPLAY")
            viewer = self.viewer(self.protPick)
            viewer.writePicture(self.protPick, path, micrograph="mic_02", threshold=0.4)
            with self.assertRaises(NoDisplayError) as caught:
                viewer.visualize(self.protPick)
        self.assertIn("apbc_scipion.picture", str(caught.exception))
        with Image.open(path) as picture:
            self.assertGreater(np.asarray(picture.convert("L")).std(), 20)
        with self.assertRaises(SourceError) as caught:
            viewer.writePicture(self.protPick, path, micrograph="nowhere")
        self.assertIn("mic_00", str(caught.exception))

    def picture(self, *words):
        """Run the command that writes pictures, on a machine without a screen."""
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        return subprocess.run(
            [sys.executable, "-m", "apbc_scipion.picture", self.proj.getPath(), *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def test_the_command_that_writes_pictures(self):
        pick = str(self.protPick.getObjId())
        for run in (pick, str(self.protTrain.getObjId())):
            path = self.path(run + "_told.png")
            done = self.picture(run, "--out", path)
            self.assertEqual(done.returncode, 0, done.stderr)
            with Image.open(path) as picture:
                self.assertGreater(picture.size[0], 800)
        path = self.path("none.png")
        for words, told in (
            (("no such run",), "no run 'no such run'"),
            ((pick, "--micrograph", "nowhere"), "no picked micrograph 'nowhere'"),
            ((pick, "--output", "nothing"), "no output nothing"),
            ((str(self.protDataset.getObjId()),), "no picture of"),
        ):
            done = self.picture(*words, "--out", path)
            self.assertEqual(done.returncode, 1)
            self.assertIn(told, done.stderr)
            self.assertFalse(os.path.exists(path))

    def test_create_coordinates_refuses_what_cannot_be(self):
        protocol = self.newProtocol(ApbcProtCreateCoordinates, threshold=1.5)
        self.link(protocol, "inputPicks", self.protPick, "outputCoordinates")
        self.assertIn("between 0 and 1", " ".join(protocol.validate()))
        protocol.threshold.set(-1)
        protocol.editsFile.set("gone.json")
        self.assertIn("gone.json", " ".join(protocol.validate()))
        other = self.newProtocol(ApbcProtCreateCoordinates, threshold=0.5)
        self.link(other, "inputPicks", self.protCoords["good"], "outputCoordinates")
        self.assertIn("no scores", " ".join(other.validate()))
