"""The wizards of sizes, threshold and GPUs, on the real forms of real protocols."""

import json
import os
import stat
import tempfile
import tkinter as tk
import unittest
from tkinter import ttk

import numpy as np
import pyworkflow.gui.project  # noqa: F401  (the form is not imported without it)
from pwem.objects import SetOfParticles
from pyworkflow.gui.form import FormWindow
from pyworkflow.protocol import LEVEL_ADVANCED

from apbc_scipion.protocols import (
    ApbcProtCreateCoordinates,
    ApbcProtEvaluate,
    ApbcProtPick,
    ApbcProtScreen,
    ApbcProtTrain,
)
from apbc_scipion.protocols.protocol_create_training_set import PARTICLES
from apbc_scipion.tests import common, screen
from apbc_scipion.tests.project import ModelTest
from apbc_scipion.wizards import ApbcDiameterWizard
from apbc_scipion.wizards.gpus import list_gpus, read_ids
from apbc_scipion.wizards.particle_sizes import average_diameter, good_box_size, is_quick
from apbc_scipion.wizards.score_sources import report_scores, scores_for
from apbc_scipion.wizards.threshold_window import ThresholdWindow


class TestSizes(unittest.TestCase):
    """What is measured and proposed."""

    def disc(self, diameter, noise=0.05, flat=1.0):
        rows, columns = np.indices((96, 96)) - 47.5
        distance = np.hypot(rows / flat, columns)
        rng = np.random.default_rng(1)
        return (distance < diameter / 2) + rng.normal(0, noise, distance.shape)

    def test_diameter_of_an_average(self):
        for diameter in (30, 45, 60):
            self.assertLess(abs(average_diameter(self.disc(diameter)) - diameter), 3)
        # A long particle is measured by its long side.
        self.assertLess(abs(average_diameter(self.disc(60, flat=0.6)) - 60), 4)

    def test_averages_without_a_particle(self):
        rng = np.random.default_rng(2)
        for image in (np.zeros((64, 64)), rng.normal(0, 1, (64, 64)), np.ones((8, 8))):
            self.assertIsNone(average_diameter(image))

    def test_box_sizes(self):
        self.assertEqual([good_box_size(n) for n in (81, 254, 300.4, 1)], [80, 256, 300, 2])
        self.assertEqual([is_quick(n) for n in (0, 2, 81, 82, 84, 210)], [0, 1, 0, 0, 1, 1])


class TestGpuList(unittest.TestCase):
    """What the NVIDIA driver's program says; a script says it on machines without one."""

    def setUp(self):
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])

    def driver(self, folder, script):
        path = os.path.join(folder, "nvidia-smi")
        with open(path, "w") as handle:
            handle.write("#!/bin/sh\n" + script)
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        os.environ["PATH"] = folder

    def test_list(self):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["PATH"] = folder
            gpus, problem = list_gpus()
            self.assertEqual(gpus, [])
            self.assertIn("no NVIDIA driver", problem)
            self.driver(
                folder, "echo '0, NVIDIA H100, 512, 81559, 3'\necho '1, GB10, [N/A], [N/A], 0'"
            )
            gpus, problem = list_gpus()
            self.assertEqual(problem, "")
            self.assertEqual(
                (gpus[0].index, gpus[0].name, gpus[0].total), (0, "NVIDIA H100", 81559)
            )
            self.assertEqual((gpus[1].used, gpus[1].load), (None, 0))
            self.driver(folder, "echo 'NVIDIA-SMI has failed'; exit 9")
            gpus, problem = list_gpus()
            self.assertEqual(gpus, [])
            self.assertIn("has failed", problem)

    def test_ids(self):
        self.assertEqual(read_ids("0, 2 3"), {0, 2, 3})
        self.assertEqual(read_ids(None), set())


def widgets(parent, kind):
    """Widgets of a kind below another, windows included."""
    for child in parent.winfo_children():
        if isinstance(child, kind):
            yield child
        for found in widgets(child, kind):
            yield found


class TestWizards(ModelTest):
    """Each wizard, from the button in the form to the value in it."""

    @classmethod
    def setUpClass(cls):
        screen.need_screen()
        super().setUpClass()
        # One for all forms: Scipion keeps its icons for the life of the first.
        cls.main = screen.main_window()

    # ------------------------- driving -------------------------------------
    def open_form(self, protocol):
        """Open a protocol's form."""
        if not protocol.hasObjId():
            self.proj.saveProtocol(protocol)
        protocol.expertLevel.set(LEVEL_ADVANCED)
        form = FormWindow("form", protocol, lambda *_: None, self.main)
        form.root.deiconify()
        self.addCleanup(form.root.destroy)
        screen.pump(form)
        return form

    def press(self, form, parameter):
        """Press the wizard's button of a parameter."""
        buttons = widgets(form.widgetDict[parameter].btnFrame, tk.Button)
        self.click_on(form, next(b for b in buttons if b.cget("text") == "Wizard"))

    def click_on(self, form, widget):
        """Click a widget."""
        for event in ("<Enter>", "<ButtonPress-1>", "<ButtonRelease-1>"):
            widget.event_generate(event, x=5, y=5)

    def open_wizard(self, form, parameter):
        """Open a wizard; returns its window's widget."""
        before = set(widgets(form.root, tk.Toplevel))
        self.press(form, parameter)
        screen.pump(form, until=lambda: len(set(widgets(form.root, tk.Toplevel)) - before) == 1)
        window = (set(widgets(form.root, tk.Toplevel)) - before).pop()
        screen.pump(form, until=window.winfo_viewable)
        return window

    def click(self, form, window, text):
        """Click the button whose text begins so."""
        kinds = (ttk.Button, ttk.Checkbutton)
        found = [w for w in widgets(window, kinds) if str(w.cget("text")).startswith(text)]
        self.assertEqual(len(found), 1, text)
        self.click_on(form, found[0])
        screen.pump(form)

    def type(self, form, window, text):
        """Type into the window's entry in place of what is there."""
        entry = next(widgets(window, ttk.Entry))
        entry.focus_force()
        screen.pump(form)
        entry.selection_range(0, tk.END)
        for letter in text:
            entry.event_generate("<Key>", keysym={".": "period"}.get(letter, letter))
        screen.pump(form)

    def told(self, window):
        """All that the window says."""
        kinds = (ttk.Label, tk.Label)
        return "\n".join(str(label.cget("text")) for label in widgets(window, kinds))

    def warned(self, form, parameter):
        """Press a wizard's button that must end in a warning; returns what it says."""
        seen = []

        def close():
            for dialog in list(widgets(form.root, tk.Toplevel)):
                texts = [text.get("1.0", tk.END) for text in widgets(dialog, tk.Text)]
                seen.append("\n".join([*texts, self.told(dialog)]))
                self.click_on(form, next(widgets(dialog, tk.Button)))

        form.root.after(400, close)
        self.press(form, parameter)
        screen.pump(form, until=lambda: seen)
        self.assertEqual(list(widgets(form.root, tk.Toplevel)), [])
        return " ".join("\n".join(seen).split())

    # ------------------------- diameter ------------------------------------
    def test_diameter(self):
        protocol = self.datasetFromCoordinates(particleDiameter=None)
        form = self.open_form(protocol)
        window = self.open_wizard(form, "particleDiameter")
        told = self.told(window)
        self.assertIn("From the box of 46 px", told)
        self.assertIn("Left and right arrow", told)
        self.type(form, window, "132")
        self.assertIn("= 33.0 px of 4 Å", self.told(window))
        self.click(form, window, "Next")
        self.click(form, window, "OK")
        self.assertEqual(protocol.particleDiameter.get(), 132)
        self.assertFalse(list(widgets(form.root, tk.Toplevel)))

    def test_wheel_drag_and_keys(self):
        form = self.open_form(self.datasetFromCoordinates())
        window = ApbcDiameterWizard().makeWindow(form)
        window.open()
        screen.pump(form)
        view = window.view
        canvas = view.figure.canvas.get_tk_widget()
        x, y = canvas.winfo_width() // 2, canvas.winfo_height() // 2

        def left_and_width():
            left, right = view.axes.get_xlim()
            return left, right - left

        _, width = left_and_width()
        canvas.event_generate("<Button-4>", x=x, y=y)
        screen.pump(form)
        left, nearer = left_and_width()
        self.assertAlmostEqual(nearer, width / 1.25)
        canvas.event_generate("<ButtonPress-1>", x=x, y=y)
        canvas.event_generate("<B1-Motion>", x=x - 40, y=y)
        canvas.event_generate("<ButtonRelease-1>", x=x - 40, y=y)
        screen.pump(form)
        self.assertGreater(left_and_width()[0], left)
        window.root.focus_force()
        screen.pump(form)
        window.root.event_generate("<Home>")
        screen.pump(form)
        self.assertEqual(left_and_width(), (-0.5, common.SHAPE[1]))
        for key, number in (("<Right>", 1), ("<Left>", 0), ("<Left>", 4)):
            window.root.event_generate(key)
            screen.pump(form)
            self.assertEqual(view.number, number)
        window.root.event_generate("<Escape>")
        screen.pump(form)
        self.assertFalse(list(widgets(form.root, tk.Toplevel)))

    def test_diameter_of_particles_without_coordinates(self):
        """No picture, but the box and the entry."""
        sqlite = common.crop_particles(self.protMics, self.points["good"], self.path("p.sqlite"))
        particles = SetOfParticles(filename=sqlite)
        for particle in particles.iterItems():
            bare = particle.clone()
            bare._coordinate = None
            break
        particles.close()
        os.remove(sqlite)
        alone = SetOfParticles(filename=sqlite)
        alone.setSamplingRate(common.PIXEL_SIZE)
        alone.append(bare)
        alone.write()
        alone.close()
        imported = common.import_particles(self, sqlite, "without coordinates")
        protocol = self.newDataset(inputType=PARTICLES, particleDiameter=None)
        protocol.goodParticles.append(common.pointer(imported, "outputParticles"))
        form = self.open_form(protocol)
        window = self.open_wizard(form, "particleDiameter")
        self.assertIn("no micrograph to show", self.told(window))
        self.click(form, window, "Use 123")
        self.click(form, window, "OK")
        self.assertEqual(protocol.particleDiameter.get(), 123)

    def test_diameter_is_refused_or_left(self):
        protocol = self.datasetFromCoordinates(particleDiameter=100)
        form = self.open_form(protocol)
        window = self.open_wizard(form, "particleDiameter")
        self.type(form, window, "3")
        self.click(form, window, "OK")
        self.assertIn("smaller than 4 pixels", self.told(window))
        self.click(form, window, "Use 123")
        self.assertIn("= 30.8 px", self.told(window))
        self.click(form, window, "Cancel")
        self.assertEqual(protocol.particleDiameter.get(), 100)

    def test_diameter_without_input(self):
        form = self.open_form(self.newDataset())
        self.assertIn("There are no coordinates yet", self.warned(form, "particleDiameter"))
        form = self.open_form(self.newProtocol(ApbcProtEvaluate))
        self.assertIn("Choose the picks or the reference", self.warned(form, "particleDiameter"))

    def test_diameter_on_a_micrograph_that_moved(self):
        first = os.path.join(
            self.proj.getPath(), self.protMics.outputMicrographs.getFirstItem().getFileName()
        )
        os.rename(first, first + ".away")
        self.addCleanup(os.rename, first + ".away", first)
        protocol = self.newProtocol(ApbcProtEvaluate)
        self.link(protocol, "referenceCoordinates", self.protCoords["good"], "outputCoordinates")
        form = self.open_form(protocol)
        window = self.open_wizard(form, "particleDiameter")
        self.assertIn("cannot be shown", self.told(window))
        self.click(form, window, "Next")
        self.assertIn("Left and right arrow", self.told(window))
        self.type(form, window, "120")
        self.click(form, window, "OK")
        self.assertEqual(protocol.particleDiameter.get(), 120)

    # ------------------------- box size -------------------------------------
    def test_box_size(self):
        for protocol in (self.newPick(), self.newCoordinates()):
            form = self.open_form(protocol)
            window = self.open_wizard(form, "wantedBoxSize")
            self.assertIn("diameter of 120 Å", self.told(window))
            self.click(form, window, "Use 4")  # 45 px: 44 has the factor 11
            told = self.told(window)
            self.assertIn("quick to transform", told)
            self.type(form, window, "20")
            self.click(form, window, "OK")
            self.assertIn("smaller than the particle", self.told(window))
            self.type(form, window, "62")
            self.assertIn("248 Å = 2.07 diameters", self.told(window))
            self.click(form, window, "Nearest quick size: 6")
            self.click(form, window, "OK")
            self.assertIn(protocol.wantedBoxSize.get(), (60, 64))

    def test_box_size_without_input(self):
        form = self.open_form(self.newProtocol(ApbcProtPick))
        self.assertIn("micrographs and the model first", self.warned(form, "wantedBoxSize"))

    # ------------------------- threshold ------------------------------------
    def newCoordinates(self):
        protocol = self.newProtocol(ApbcProtCreateCoordinates)
        self.link(protocol, "inputPicks", self.protPick, "outputCoordinates")
        return protocol

    def test_threshold_from_another_run(self):
        protocol = self.newPick()
        form = self.open_form(protocol)
        window = self.open_wizard(form, "threshold")
        told = self.told(window)
        self.assertIn("with the same model", told)
        self.assertIn("candidates kept", told)
        self.assertIn("a micrograph", told)
        self.type(form, window, "2")
        self.click(form, window, "OK")
        self.assertIn("between 0 and 1", self.told(window))
        self.type(form, window, "0.61")
        self.click(form, window, "OK")
        self.assertEqual(protocol.threshold.get(), 0.61)

        # The model's own threshold is -1 in the form.
        window = self.open_wizard(form, "threshold")
        self.click(form, window, "The model's own")
        self.assertIn("will hold -1", self.told(window))
        self.click(form, window, "OK")
        self.assertEqual(protocol.threshold.get(), -1)

    def test_threshold_by_dragging(self):
        protocol = self.newCoordinates()
        form = self.open_form(protocol)
        window = self.open_wizard(form, "threshold")
        canvas = next(c for c in widgets(window, tk.Canvas) if c.winfo_width() > 300)
        x, y = int(0.53 * canvas.winfo_width()), canvas.winfo_height() // 2
        canvas.event_generate("<ButtonPress-1>", x=x - 60, y=y)
        canvas.event_generate("<B1-Motion>", x=x, y=y)
        canvas.event_generate("<ButtonRelease-1>", x=x, y=y)
        screen.pump(form)
        self.click(form, window, "OK")
        self.assertAlmostEqual(protocol.threshold.get(), 0.5, delta=0.05)

    def test_threshold_without_scores(self):
        model = self.protTrain.outputModel.getPath()
        values, _ = report_scores(os.path.join(self.proj.getPath(), model))
        self.assertGreater(len(values), 0)
        self.assertEqual(report_scores(self.folder)[0].size, 0)
        form = self.open_form(self.newProtocol(ApbcProtScreen))
        self.assertIn("There is no model yet", self.warned(form, "threshold"))
        form = self.open_form(self.newProtocol(ApbcProtCreateCoordinates))
        self.assertIn("There are no picks yet", self.warned(form, "threshold"))
        unscored = self.newProtocol(ApbcProtCreateCoordinates)
        self.link(unscored, "inputPicks", self.protCoords["good"], "outputCoordinates")
        form = self.open_form(unscored)
        self.assertIn("have no scores", self.warned(form, "threshold"))

    def test_threshold_of_a_model_that_nobody_used(self):
        """The report's histogram; and without a report the model's own threshold alone."""
        screening = self.newProtocol(ApbcProtScreen, useGpu=False)
        self.link(screening, "inputModel", self.protTrain, "outputModel")
        model = self.protTrain.outputModel.clone()
        copied = self.path("unused")
        os.makedirs(copied, exist_ok=True)
        folder = os.path.join(self.proj.getPath(), model.getPath())
        model._path.set(copied)
        scores = scores_for(screening, model, self.proj)
        self.assertEqual(len(scores.values), 0)
        self.assertIn("No scores yet", scores.told)
        form = self.open_form(screening)
        window = ThresholdWindow(form, "threshold", scores, 0.3)
        window.open()
        self.assertIn("no candidates to count", self.told(window.root))
        self.click(form, window.root, "The model's own")
        self.click(form, window.root, "OK")
        self.assertEqual(screening.threshold.get(), -1)
        with open(os.path.join(folder, "report.json")) as handle:
            told = json.load(handle)
        with open(os.path.join(copied, "report.json"), "w") as handle:
            json.dump(told, handle)
        scores = scores_for(screening, model, self.proj)
        self.assertIn("held out", scores.told)
        self.assertEqual(scores.own, model.getThreshold())

    # ------------------------- GPUs -----------------------------------------
    def test_gpus(self):
        path = os.environ["PATH"]
        self.addCleanup(os.environ.__setitem__, "PATH", path)
        driver = os.path.join(self.folder, "nvidia-smi")
        with open(driver, "w") as handle:
            handle.write(
                "#!/bin/sh\necho '0, NVIDIA H100, 512, 81559, 3'\necho '1, NVIDIA A40, 1, 9, 0'"
            )
        os.chmod(driver, 0o755)
        os.environ["PATH"] = self.folder + os.pathsep + path
        protocol = self.newProtocol(ApbcProtTrain, useGpu=False, gpuList="0")
        form = self.open_form(protocol)
        window = self.open_wizard(form, "gpuWizard")
        self.assertIn("0.5 of 79.6 GiB", self.told(window))
        self.click(form, window, "1")
        self.click(form, window, "OK")
        self.assertEqual(protocol.gpuList.get(), "0,1")
        self.assertTrue(protocol.useGpu.get())

    def test_no_gpu(self):
        if list_gpus()[0]:
            self.skipTest("SKIPPED: this machine has a GPU")
        protocol = self.newPick()
        protocol.useGpu.set(True)
        form = self.open_form(protocol)
        window = self.open_wizard(form, "gpuWizard")
        self.assertIn("no GPU", self.told(window))
        self.click(form, window, "OK")
        self.assertFalse(protocol.useGpu.get())
