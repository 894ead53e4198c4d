"""The training viewer: windows on a real screen, with real trainings in a real project."""

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np
from pyworkflow import Config
from pyworkflow.viewer import DESKTOP_TKINTER

from apbc.errors import ApbcError
from apbc_scipion.protocols import ApbcProtImportModel, ApbcProtTrain
from apbc_scipion.tests import common, screen
from apbc_scipion.tests.project import EPOCHS, ModelTest
from apbc_scipion.viewers.training_figure import Place
from apbc_scipion.viewers.training_record import read_record

TRAINING_SECONDS = 300


class TestTrainingRecord(unittest.TestCase):
    """How far a training is, told from the checkpoints of an ensemble."""

    def setUp(self):
        self.folder = os.path.join(tempfile.mkdtemp(), "model")
        self.addCleanup(shutil.rmtree, os.path.dirname(self.folder))

    def write(self, name, **state):
        """Write a checkpoint as the engine does."""
        folder = os.path.join(self.folder + ".partial", name)
        os.makedirs(folder)
        if state:
            history = [{"epoch": epoch + 1, "loss": 1.0} for epoch in range(state["epoch"])]
            with open(os.path.join(folder, "state.json"), "w") as handle:
                json.dump(dict(state, name=name, history=history, best_epoch=1), handle)

    def progress(self):
        record = read_record(self.folder)
        return [fit["name"] for fit in record.fits], record.progress.getText()

    def test_fits_come_in_their_order(self):
        self.write("split_1", epoch=9, epochs=40, seconds_per_epoch=60.0, finished=True)
        with open(self.folder + ".partial/request.json", "w") as handle:
            json.dump({"ensemble": 10}, handle)
        names, text = self.progress()
        self.assertIn("Network 1 of 10: epoch 9 of 40 was its last", text)
        self.write("split_10", epoch=1, epochs=40, seconds_per_epoch=60.0, finished=False)
        names, text = self.progress()
        self.assertEqual(names, ["split_1", "split_10"])
        self.assertIn("Network 10 of 10: epoch 1 of 40, at most 39 min left", text)
        self.write("split_2", epoch=1, epochs=40, seconds_per_epoch=60.0, finished=True)
        self.write("all_1")
        names, text = self.progress()
        self.assertEqual(names, ["split_1", "split_2", "split_10"])
        self.assertEqual(text, "Network 1 of 10, refit on all labels: the first epoch is running.")

    def test_a_fit_goes_on_from_its_first_part(self):
        self.write("split_1_start", epoch=3, epochs=4, seconds_per_epoch=60.0, finished=False)
        names, text = self.progress()
        self.assertEqual(names, ["split_1"])
        self.assertIn("The network, before labels are centred: epoch 3 of 4, at most 60 s", text)
        self.write("split_1", epoch=1, epochs=4, seconds_per_epoch=60.0, finished=False)
        (fit,) = read_record(self.folder).fits
        self.assertEqual([row["epoch"] for row in fit["history"]], [1, 2, 3, 4])
        self.assertEqual(fit["best_epoch"], 4)
        self.assertIn("The network: epoch 4 of 7, at most 3 min left", self.progress()[1])

    def test_the_time_left_goes_down_while_an_epoch_runs(self):
        self.write("split_1", epoch=1, epochs=2, seconds_per_epoch=60.0, finished=False)
        path = os.path.join(self.folder + ".partial", "split_1", "state.json")
        os.utime(path, (time.time() - 40, time.time() - 40))
        self.assertAlmostEqual(read_record(self.folder).progress.secondsLeft, 20, delta=3)
        os.utime(path, (time.time() - 400, time.time() - 400))
        self.assertEqual(read_record(self.folder).progress.secondsLeft, 0)

    def test_nothing_there(self):
        record = read_record(self.folder)
        self.assertEqual((record.fits, record.progress, record.card), ([], None, None))


class TrainingViewerTest(ModelTest):
    """A project with a training set, and a window that is closed after each test."""

    @classmethod
    def setUpClass(cls):
        screen.need_screen()
        super().setUpClass()

    def setUp(self):
        self.window = None

    def tearDown(self):
        if self.window is not None:
            self.window.close()

    @classmethod
    def newTrain(cls, **values):
        values.setdefault("epochs", EPOCHS)
        protocol = cls.newProtocol(ApbcProtTrain, useGpu=False, **values)
        cls.link(protocol, "inputDataset", cls.protDataset, "outputDataset")
        return protocol

    def makeViewer(self, obj):
        found = Config.getDomain().findViewers(obj, DESKTOP_TKINTER)
        self.assertEqual([viewer.__name__ for viewer in found], ["ApbcTrainingViewer"])
        return found[0](project=self.proj)

    def open(self, obj):
        self.window = self.makeViewer(obj).makeWindow(obj)
        self.window.root.geometry("1100x740+0+0")
        self.window.root.deiconify()
        self.pump()
        return self.window

    def pump(self, until=None, **values):
        screen.pump(self.window, until, **values)

    def settle(self):
        """Let the canvas of the tab that was chosen get its size."""
        end = time.time() + 0.5
        self.pump(until=lambda: time.time() > end)

    def showTab(self, name):
        tabs = self.window.tabs
        tabs.select(next(i for i in tabs.tabs() if tabs.tab(i, "text") == name))
        self.settle()

    def click(self, figure, axes, x, y):
        """Click a point of an axes with the mouse."""
        widget = figure.canvas.get_tk_widget()
        across, up = axes.transData.transform((x, y))
        place = {"x": int(across), "y": int(widget.winfo_height() - up)}
        widget.event_generate("<Motion>", **place)
        widget.event_generate("<ButtonPress-1>", **place)
        widget.event_generate("<ButtonRelease-1>", **place)

    def sentences(self, figure):
        return " ".join(
            " ".join(text.get_text().split()) for axes in figure.axes for text in axes.texts
        )

    def lines(self, axes):
        """Values of the lines that have points, by their colour, as drawn."""
        return {
            line.get_color(): np.asarray(line.get_ydata(), float)
            for line in axes.get_lines()
            if line.get_linestyle() != "None"
        }


class TestTrainingViewer(TrainingViewerTest):
    """One finished training, looked at in all ways."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.model = cls.protTrain.outputModel.getPath()
        with open(os.path.join(cls.model, "history.csv"), newline="") as handle:
            cls.history = [
                {key: float(value) for key, value in row.items()} for row in csv.DictReader(handle)
            ]

    def test_curves_are_those_of_the_history(self):
        window = self.open(self.protTrain)
        self.assertEqual(len(self.history), EPOCHS)
        for axes, key in zip(window.curves.axes, ("loss", "accuracy")):
            drawn = list(self.lines(axes).values())
            np.testing.assert_allclose(drawn[0], [row[key] for row in self.history])
            np.testing.assert_allclose(drawn[1], [row["val_" + key] for row in self.history])
            self.assertEqual(len(drawn), 3, "training, validation and refit")
        self.assertIn("dense network, particle of 120", window.state.cget("text"))

    def test_figures(self):
        window = self.open(self.protTrain)
        self.showTab("Figures")
        table = window.figures.axes[0].tables[0]
        cells = [cell.get_text().get_text() for cell in table.get_celld().values()]
        with open(os.path.join(self.model, "card.json")) as handle:
            card = json.load(handle)
        self.assertIn("%0.3f" % card["metrics"]["test"]["accuracy"], cells)
        self.assertIn(str(card["metrics"]["train"]["samples"]), cells)
        titles = " ".join(axes.get_title(loc="left") for axes in window.figures.axes)
        for word in ("Precision and recall, test", "Reliability", "Scores, test"):
            self.assertIn(word, titles)
        drawn = [line.get_xdata()[0] for line in window.figures.axes[3].get_lines()]
        self.assertEqual(drawn, [card["threshold"]])

    def test_a_click_on_a_crop_shows_where_it_was(self):
        window = self.open(self.protTrain.outputModel)
        self.showTab("Crops")
        cell = window.cells[3]
        middle = (cell.left + cell.side / 2.0, cell.top + cell.side / 2.0)
        self.click(window.sheet, window.sheet.axes[0], *middle)
        self.pump(until=lambda: window.circles)
        self.assertEqual(window.selected, 3)
        crop = window.getCrop()
        truth = self.points[crop["label"]][crop["micrograph"]]
        self.assertIn((crop["x"], crop["y"]), truth)
        for circle in window.circles:
            self.assertEqual(tuple(circle.center), (crop["x"], crop["y"]))
            self.assertAlmostEqual(circle.radius, common.DIAMETER / common.PIXEL_SIZE / 2)
        told = window.told.cget("text")
        self.assertIn("%s, x %d, y %d px" % (crop["micrograph"], crop["x"], crop["y"]), told)
        # The micrograph is drawn in its own pixels, so that the circle lies on the particle.
        image = window.place.axes[0].get_images()[0]
        self.assertEqual(tuple(image.get_extent()), (-0.5, 319.5, -0.5, 383.5))

    def test_keys_move_among_the_crops(self):
        window = self.open(self.protTrain)
        self.showTab("Crops")
        widget = window.sheet.canvas.get_tk_widget()
        widget.focus_force()
        self.pump(until=lambda: window.root.focus_get() is widget)
        at = []
        for key in ("<Right>", "<Right>", "<Down>", "<Left>", "<Up>", "<Tab>", "<Shift-Tab>"):
            widget.event_generate(key)
            self.pump()
            cell = window.cells[window.selected]
            at.append((cell.line, cell.column))
        self.assertEqual(at, [(0, 0), (0, 1), (1, 1), (1, 0), (0, 0), (0, 1), (0, 0)])
        window.showRow("bad, scored high")
        self.assertIsNone(window.selected)
        shown = [window.record.crops["crops"][cell.crop] for cell in window.cells]
        self.assertEqual({crop["label"] for crop in shown}, {"bad"})
        scores = [crop["score"] for crop in shown]
        self.assertEqual(scores, sorted(scores, reverse=True))
        closed = []
        window._onClosing = lambda: closed.append(True)
        widget.event_generate("<Escape>")
        self.pump(until=lambda: closed)

    def test_a_micrograph_that_has_gone_is_told(self):
        window = self.open(self.protTrain)
        window.select(0)
        label = window.getCrop()["micrograph"]
        link = window.source.getMicrograph(label)
        source = os.readlink(link)
        os.rename(source, source + ".moved")
        try:
            window.select(0)
            self.pump(until=lambda: "no longer there" in self.sentences(window.place))
            self.assertIn(label, self.sentences(window.place))
            self.assertEqual(window.circles, [])
        finally:
            os.rename(source + ".moved", source)

    def importModel(self, *without):
        """Import a copy of the model that lacks some files."""
        copy = self.path("copy_%d" % len(os.listdir(self.path())))
        shutil.copytree(self.model, copy)
        for name in without:
            os.remove(os.path.join(copy, name))
        protocol = self.newProtocol(ApbcProtImportModel, modelPath=copy)
        self.launchProtocol(protocol)
        return protocol

    def test_an_imported_model_of_an_older_version(self):
        protocol = self.importModel("report.json", "crops.json", "crops.npz")
        window = self.open(protocol)
        drawn = list(self.lines(window.curves.axes[0]).values())
        np.testing.assert_allclose(drawn[0], [row["loss"] for row in self.history])
        self.assertEqual(len(window.figures.axes[0].tables), 1)
        self.assertIn("An older version", self.sentences(window.figures))
        self.assertIn("An older version", self.sentences(window.sheet))
        self.assertEqual(window.cells, [])
        window.tabs.select(2)
        window.sheet.canvas.get_tk_widget().event_generate("<Right>")
        self.pump()
        self.assertIsNone(window.selected)

    def test_rounds_and_views(self):
        protocol = self.importModel()
        path = os.path.join(protocol.outputModel.getPath(), "card.json")
        with open(path) as handle:
            card = json.load(handle)
        rounds = [
            dict(number=n, measure=0.8 + n / 20, sure=70 * n, purity=0.9, mined=n, kept=n == 2)
            for n in range(3)
        ]
        views = {
            str(n): {"labels": 8 + n, "recall": 0.9 - n / 50, "recall_before": None}
            for n in range(1, 20)
        }
        card.update(rounds=rounds, views=views, lost_views=["19"])
        with open(path, "w") as handle:
            json.dump(card, handle)
        window = self.open(protocol)
        self.showTab("Rounds and views")
        tables = [
            [cell.get_text().get_text() for cell in axes.tables[0].get_celld().values()]
            for axes in window.tablesFigure.axes
        ]
        self.assertIn("kept", tables[0])
        self.assertIn("140", tables[0])
        self.assertIn("lost", tables[1])
        self.assertIn("7 more", tables[1])
        self.assertIn("2D class", window.getStatus())
        window.savePicture(self.path("rounds.png"))
        self.assertIn("Wrote", window.getStatus())
        self.window.close()
        self.assertIsNone(self.open(self.protTrain).tablesFigure)

    def test_an_imported_model_does_not_know_its_micrographs(self):
        protocol = self.importModel()
        window = self.open(protocol)
        window.select(0)
        self.pump(until=lambda: "was imported" in self.sentences(window.place))
        for crop in window.record.crops["crops"]:
            crop.update(micrograph=None, x=None, y=None)
        window.select(1)
        self.pump(until=lambda: "read from a stack" in self.sentences(window.place))
        self.assertIn("particle of a stack", window.told.cget("text"))

    def test_a_model_that_has_gone(self):
        protocol = self.importModel()
        shutil.rmtree(protocol.outputModel.getPath())
        window = self.open(protocol.outputModel)
        self.assertIn("folder of the model has gone", window.state.cget("text"))
        self.assertEqual(window.cells, [])

    def test_a_micrograph_that_was_replaced(self):
        path = self.path("mics", "mic_00.mrc")
        place = Place(path, 100, 350, 30)
        self.assertEqual(place.whole.shape, common.SHAPE)
        with self.assertRaisesRegex(ApbcError, "320 x 384 pixels"):
            Place(path, 350, 100, 30)

    def test_damaged_files_are_told(self):
        protocol = self.importModel("history.csv")
        folder = protocol.outputModel.getPath()
        with open(os.path.join(folder, "report.json"), "w") as handle:
            handle.write('{"part": "te')
        with open(os.path.join(folder, "crops.npz"), "wb") as handle:
            handle.write(b"PK no archive")
        window = self.open(protocol)
        self.assertIn("report.json of the model cannot be read", self.sentences(window.figures))
        self.assertIn("crops.npz of the model is damaged", self.sentences(window.sheet))
        self.assertIn("no history.csv", self.sentences(window.curves))

    def test_pickled_crops_are_refused(self):
        protocol = self.importModel()
        path = os.path.join(protocol.outputModel.getPath(), "crops.npz")
        np.savez(path, pixels=np.array([{"code": 1}], dtype=object))
        window = self.open(protocol)
        self.assertIn("crops.npz of the model is damaged", self.sentences(window.sheet))

    def test_a_picture_needs_no_screen(self):
        path = self.path("training.png")
        script = (
            "import sys; from pyworkflow import Config; Config.setDomain('pwem')\n"
            "from pyworkflow.project import Manager\n"
            "from apbc_scipion.viewers import ApbcTrainingViewer\n"
            "assert 'apbc_scipion.viewers.training_figure' not in sys.modules\n"
            "project = Manager().loadProject(sys.argv[1])\n"
            "protocol = project.getProtocol(int(sys.argv[2]))\n"
            "ApbcTrainingViewer(project=project).writePicture(protocol, sys.argv[3])\n"
        )
        environ = {key: value for key, value in os.environ.items() if key != "DISPLAY"}
        environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        words = [self.proj.getName(), str(self.protTrain.getObjId()), path]
        subprocess.run([sys.executable, "-c", script, *words], check=True, env=environ)
        from PIL import Image

        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        self.assertGreater(pixels.shape[0], 1500)
        for third in np.array_split(pixels, 3):
            self.assertGreater((third < 250).mean(), 0.01)

    def test_saving_where_nothing_can_be_written_is_told(self):
        window = self.open(self.protTrain)
        window.savePicture(os.path.join(self.path("mics"), "mic_00.mrc", "a.png"))
        self.assertIn("was not written", window.getStatus())
        window.savePicture(self.path("b.png"))
        self.assertTrue(os.path.exists(self.path("b.png")))


class TestTrainingFollowed(TrainingViewerTest):
    """Trainings that run, fail or are stopped while a window is open."""

    def test_a_running_training_is_followed(self):
        protocol = self.newTrain(epochs=4)
        self.proj.launchProtocol(protocol, wait=False)
        window = self.open(protocol)
        lengths, told = [], []

        def finished():
            values = list(self.lines(window.curves.axes[0]).values())
            lengths.append(len(values[0]) if values else 0)
            told.append(window.state.cget("text"))
            return window.record.isComplete()

        self.assertFalse(window.record.isComplete())
        self.assertIn("appears when", self.sentences(window.figures))
        self.pump(until=finished, seconds=TRAINING_SECONDS)
        self.assertGreater(len(set(lengths)), 2, "the curve has not grown")
        self.assertTrue(any("The network: epoch" in text for text in told), set(told))
        self.assertTrue(
            any("centred: epoch" in text and "left" in text for text in told), set(told)
        )
        self.assertEqual(len(window.figures.axes[0].tables), 1)
        self.assertTrue(window.cells)
        self.assertEqual([fit["name"] for fit in window.record.fits], ["split_1", "all_1"])
        self.pump(until=lambda: "trained on cpu" in window.state.cget("text"))
        self.pump(until=lambda: protocol.isFinished(), seconds=60)

    def test_a_training_that_fails_is_told(self):
        protocol = self.newTrain(learningRate=1e30, batchSize=4)
        self.proj.launchProtocol(protocol, wait=False)
        window = self.open(protocol)
        self.pump(until=lambda: "failed" in window.state.cget("text"), seconds=TRAINING_SECONDS)
        self.assertIn("the loss of split_1_start is not a number", window.state.cget("text"))

    def test_a_training_that_is_stopped_is_told(self):
        protocol = self.newTrain(epochs=50)
        self.proj.launchProtocol(protocol, wait=False)
        window = self.open(protocol)
        self.pump(until=lambda: window.record.fits, seconds=TRAINING_SECONDS)
        self.proj.stopProtocol(protocol)
        self.pump(until=lambda: "was stopped" in window.state.cget("text"), seconds=60)
        self.assertIn("of 25", window.state.cget("text"))

    def test_a_training_that_was_not_started(self):
        protocol = self.newTrain()
        self.proj.saveProtocol(protocol)
        window = self.open(protocol)
        self.assertEqual(
            window.state.cget("text"), "The run has not been started: there is nothing to show yet."
        )
