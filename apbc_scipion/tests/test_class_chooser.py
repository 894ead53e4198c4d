"""The chooser of 2D classes: its marks, its picture, and the wizard in a real form."""

import os
import tempfile
import time
import tkinter as tk
import unittest

import numpy as np
import pyworkflow.gui.project  # noqa: F401  (the form is not imported without it)
from pwem.objects import Class2D, Particle, SetOfClasses2D
from pyworkflow.gui.form import FormWindow

from apbc_scipion import convert
from apbc_scipion.choose_classes import BAD, GOOD, LEFT_OUT
from apbc_scipion.class_averages import ClassAverage, ClassesError, read_averages
from apbc_scipion.protocols.protocol_create_training_set import CLASSES, SMALLEST_CLASS
from apbc_scipion.tests import class_sets, common, screen
from apbc_scipion.tests.project import ProtocolTest
from apbc_scipion.wizards.class_chooser_figure import grey_tile, summary, write_classes_picture
from apbc_scipion.wizards.class_chooser_marks import ClassMarks, caption, format_ids
from apbc_scipion.wizards.wizard_classes import ApbcClassesWizard


def made_up(count=5):
    """Classes with the averages of `class_sets`, repeated."""
    images = class_sets.averages()
    return [
        ClassAverage(number + 1, 100 - number, 0.1, images[number % len(images)], common.PIXEL_SIZE)
        for number in range(count)
    ]


class TestMarks(unittest.TestCase):
    """Marks, orders and ids."""

    def test_format_ids(self):
        for ids, text in (
            ([], ""),
            ([4], "4"),
            ([5, 1, 4, 3], "1,3-5"),
            ([1, 2, 9, 11, 10, 9], "1-2,9-11"),
        ):
            self.assertEqual(format_ids(ids), text)
            self.assertEqual(convert.parse_ids(text), set(ids))

    def test_marks_and_undo(self):
        marks = ClassMarks(made_up(), common.DIAMETER)
        marks.suggest()
        self.assertEqual((marks.ids(GOOD), marks.ids(BAD)), ([1, 3, 4], [2, 5]))
        self.assertEqual(marks.count(GOOD), (3, 100 + 98 + 97))
        marks.settle()
        marks.toggle(1, BAD)
        marks.toggle(2, BAD)
        self.assertEqual((marks.ids(BAD), marks.ids(LEFT_OUT)), ([1, 5], [2]))
        self.assertTrue(marks.undo() and marks.undo())
        self.assertEqual((marks.ids(GOOD), marks.ids(BAD)), ([1, 3, 4], [2, 5]))
        self.assertFalse(marks.undo())
        self.assertEqual(marks.setLists({2}, {3, 77}), [77])
        self.assertEqual((marks.ids(GOOD), marks.ids(BAD)), ([2], [3]))

    def test_orders(self):
        averages = made_up()
        marks = ClassMarks(averages, common.DIAMETER)
        self.assertEqual(marks.orders(), ["size", "suggestion", "id"])
        self.assertEqual(marks.order("size"), [1, 2, 3, 4, 5])
        self.assertEqual(set(marks.order("suggestion")[-2:]), {2, 5})
        averages[2].score, averages[3].score, averages[1].resolution = 0.2, 0.8, 9.5
        self.assertEqual(marks.orders()[3:], ["resolution", "score"])
        self.assertEqual(marks.order("score"), [4, 3, 1, 2, 5])
        self.assertEqual(marks.order("resolution")[0], 2)

    def test_the_diameter_is_guessed_where_nobody_gave_it(self):
        rows, columns = np.indices((64, 64)) - 31.5
        disc = ClassAverage(1, 90, 1.0, (np.hypot(rows, columns) < 16).astype(float), 3.0)
        marks = ClassMarks([disc])
        self.assertEqual(marks.guess, "measured on the averages")
        self.assertAlmostEqual(marks.diameter, 96, delta=9)
        marks = ClassMarks([ClassAverage(1, 90, 1.0, np.zeros((60, 80)), 3.0)])
        self.assertEqual((marks.diameter, marks.guess), (120, "two thirds of the box"))
        self.assertEqual(ClassMarks([disc], 70).guess, "")

    def test_captions_and_counts(self):
        average = ClassAverage(7, 231, 0.3062, resolution=8.46, score=0.714)
        self.assertEqual(caption(average), ("7: 231 (30.6 %)", "8.5 Å  score 0.71"))
        marks = ClassMarks(made_up(2), common.DIAMETER)
        counts, warning = summary(marks, SMALLEST_CLASS)
        self.assertIn("left out: 2 classes, 199 particles", counts)
        self.assertIn("Too few: 0 good and 0 bad", warning)
        marks.suggest()
        self.assertEqual(summary(marks, SMALLEST_CLASS)[1], "")

    def test_tiles(self):
        image = np.zeros((10, 20))
        image[0] = 1
        tile = grey_tile(image, 40)
        self.assertEqual(tile.shape, (40, 40))
        # Row 0 lies at the bottom, and the tile stays square: above and below is border.
        self.assertGreater(int(tile[28, 20]), int(tile[12, 20]))
        self.assertEqual(len(np.unique(grey_tile(np.ones((8, 8)), 16))), 1)
        self.assertEqual(grey_tile(np.full((8, 8), np.nan), 16).shape, (16, 16))


class TestAverages(unittest.TestCase):
    """What cannot be read is told."""

    def classes(self, *locations):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        classes = SetOfClasses2D(filename=os.path.join(folder.name, "classes.sqlite"))
        for number, location in enumerate(locations, 1):
            item = Class2D(objId=number)
            item.setRepresentative(Particle(location=location))
            classes.append(item)
        return classes

    def test_an_empty_set(self):
        with self.assertRaises(ClassesError) as caught:
            read_averages(self.classes())
        self.assertIn("empty", str(caught.exception))

    def test_missing_averages(self):
        with self.assertRaises(ClassesError) as caught:
            read_averages(self.classes((1, "/gone/classes.mrcs"), None))
        self.assertIn("/gone/classes.mrcs is missing", str(caught.exception))

    def test_one_missing_average_is_left_out(self):
        with tempfile.TemporaryDirectory() as folder:
            stack = class_sets.write_averages(folder, class_sets.RELION)
            text = os.path.join(folder, "broken.mrcs")
            with open(text, "w") as handle:
                handle.write("no image")
            averages = read_averages(self.classes((2, stack), (9, stack), (1, text), None))
            problems = [average.problem for average in averages]
            self.assertEqual(problems[0], "")
            self.assertTrue(np.array_equal(averages[0].image, class_sets.averages()[1]))
            self.assertIn("holds 5 averages, not 9", problems[1])
            self.assertIn("broken.mrcs", problems[2])
            self.assertIn("no average", problems[3])
            marks = ClassMarks(averages, common.DIAMETER)
            self.assertEqual(marks.suggested(2), LEFT_OUT)
            write_classes_picture(
                self.classes((2, stack), None), None, os.path.join(folder, "classes.png")
            )
            self.assertGreater(os.path.getsize(os.path.join(folder, "classes.png")), 5000)


class TestWizard(ProtocolTest):
    """The wizard on the form of a real protocol."""

    @classmethod
    def setUpClass(cls):
        screen.need_screen()
        super().setUpClass()
        sets = {
            kind: common.import_particles(
                cls,
                common.crop_particles(cls.protMics, cls.points[kind], cls.path(kind + "_p.sqlite")),
                kind + " particles",
            )
            for kind in ("good", "bad")
        }
        cls.source = sets["good"]
        particles = {kind: protocol.outputParticles for kind, protocol in sets.items()}
        cls.outputs = {
            program: class_sets.register(cls, cls.source, particles, program)
            for program in (class_sets.RELION, class_sets.CRYOSPARC, class_sets.XMIPP)
        }
        cls.main = screen.main_window()

    def open(self, program=class_sets.RELION, **values):
        """Open a form and press the wizard's button.

        Returns
        -------
        form : FormWindow
        window : ClassChooserWindow
        """
        protocol = self.newDataset(inputType=CLASSES, **values)
        self.link(protocol, "inputClasses", self.source, self.outputs[program])
        self.link(protocol, "inputMicrographs", self.protMics, "outputMicrographs")
        self.proj.saveProtocol(protocol)
        form = FormWindow("form", protocol, lambda *_: None, self.main)
        self.addCleanup(form.root.destroy)
        form.root.deiconify()
        screen.pump(form)
        self.assertIn("goodClasses", form.wizards)
        window = form.wizards["goodClasses"]().makeWindow(form)
        window.open()
        screen.pump(window, until=lambda: window.canvas.winfo_width() > 600)
        return form, window

    def click(self, window, classId, button=1):
        x, y = window.tileCentre(classId)
        for event in ("<Motion>", "<ButtonPress-%d>" % button, "<ButtonRelease-%d>" % button):
            window.canvas.event_generate(event, x=x, y=y)
        screen.pump(window)

    def key(self, window, *keys):
        for key in keys:
            window.canvas.focus_force()
            screen.pump(window)
            window.canvas.event_generate(key)
            screen.pump(window)

    def alive(self, window):
        try:
            return bool(window.root.winfo_exists())
        except tk.TclError:
            return False

    def test_the_buttons_of_the_form_open_it(self):
        form, window = self.open()
        window.close()
        for parameter in ("goodClasses", "badClasses"):
            before = set(form.root.winfo_children())
            buttons = form.widgetDict[parameter].btnFrame.winfo_children()
            button = next(b for b in buttons if b.cget("text") == "Wizard")
            for event in ("<Enter>", "<ButtonPress-1>", "<ButtonRelease-1>"):
                button.event_generate(event, x=5, y=5)
            screen.pump(form, until=lambda seen=before: set(form.root.winfo_children()) - seen)
            (opened,) = set(form.root.winfo_children()) - before
            self.assertEqual(opened.title(), "Good and bad 2D classes")
            opened.focus_force()
            screen.pump(form)
            opened.event_generate("<Escape>")
            screen.pump(form, until=lambda seen=before: set(form.root.winfo_children()) == seen)

    def test_click_take_over_and_launch(self):
        form, window = self.open()
        self.assertEqual(window.marks.ids(GOOD), class_sets.GOOD_IDS)
        self.assertEqual(window.marks.ids(BAD), class_sets.BAD_IDS)
        self.click(window, 5)
        self.assertEqual(window.marks.ids(LEFT_OUT), [5])
        self.assertIn("Class 5, suggested good", window.detail.cget("text"))
        self.click(window, 4, button=3)
        self.assertEqual(window.marks.ids(BAD), [3, 4, 7])
        self.click(window, 4, button=3)
        self.assertEqual(window.marks.ids(LEFT_OUT), [4, 5])
        self.click(window, 4)
        self.assertIn("good: 2 classes, 110 particles", window.counts.cget("text"))
        self.assertEqual(window.warning.cget("text"), "")
        window.okButton.event_generate("<Enter>")
        for event in ("<ButtonPress-1>", "<ButtonRelease-1>"):
            window.okButton.event_generate(event, x=5, y=5)
        screen.pump(form, until=lambda: not self.alive(window))
        protocol = form.protocol
        self.assertEqual(protocol.goodClasses.get(), "1,4")
        self.assertEqual(protocol.badClasses.get(), "3,7")
        self.assertEqual(form.widgetDict["goodClasses"].get(), "1,4")
        self.launchProtocol(protocol)
        self.assertEqual(protocol.outputDataset.getCounts(), (110, 120))

    def test_the_three_programs_give_the_same(self):
        seen = {}
        for program in self.outputs:
            form, window = self.open(program)
            seen[program] = (
                window.marks.marks,
                [average.pixelSize for average in window.marks.averages],
                window._ids,
            )
            orders = window.sortBox.cget("values")
            self.assertEqual("score" in orders, program == class_sets.RELION)
            self.key(window, "<Escape>")
            self.assertFalse(self.alive(window))
            self.assertEqual(form.protocol.goodClasses.get(), "")
        self.assertEqual(seen[class_sets.RELION], seen[class_sets.CRYOSPARC])
        self.assertEqual(seen[class_sets.RELION], seen[class_sets.XMIPP])

    def test_keyboard(self):
        form, window = self.open()
        order = window._ids
        self.key(window, "<Right>", "<Right>")
        self.assertEqual(window.selected, order[1])
        self.key(window, "<space>")
        self.assertEqual(window.marks.marks[order[1]], LEFT_OUT)
        self.key(window, "<g>")
        self.assertEqual(window.marks.marks[order[1]], GOOD)
        self.key(window, "<Left>", "<g>")
        self.assertEqual(window.marks.marks[order[0]], GOOD)
        self.key(window, "<Control-z>", "<Control-z>")
        self.assertEqual(window.marks.marks[order[0]], BAD)
        self.assertEqual(window.marks.marks[order[1]], LEFT_OUT)
        self.key(window, "<a>")
        self.assertEqual(window.marks.ids(GOOD), class_sets.GOOD_IDS)
        self.key(window, "<Return>")
        self.assertFalse(self.alive(window))
        self.assertEqual(form.protocol.goodClasses.get(), "1,4-5")

    def test_the_forms_lists_are_shown(self):
        _, window = self.open(goodClasses="3", badClasses="1, 99")
        self.assertEqual((window.marks.ids(GOOD), window.marks.ids(BAD)), ([3], [1]))
        self.assertIn("no class 99", window.getStatus())
        window.suggestButton.invoke()
        self.assertEqual(window.marks.ids(GOOD), class_sets.GOOD_IDS)
        window.undoButton.invoke()
        self.assertEqual(window.marks.ids(GOOD), [3])
        window.close()

    def test_a_list_that_cannot_be_read(self):
        _, window = self.open(goodClasses="one")
        self.assertIn("'one' is not a class id", window.getStatus())
        self.assertEqual(window.marks.ids(GOOD), class_sets.GOOD_IDS)
        window.close()

    def test_without_a_diameter(self):
        _, window = self.open(particleDiameter=None)
        self.assertIn("no diameter: the suggestion takes", window.getStatus())
        window.close()

    def test_nothing_marked_is_told(self):
        form, window = self.open()
        for classId in list(window.marks.marks):
            window.marks.mark(classId, LEFT_OUT)
        self.key(window, "<Return>")
        self.assertTrue(self.alive(window))
        self.assertIn("No class is marked", window.getStatus())
        window.close()
        self.assertEqual(form.protocol.goodClasses.get(), "")

    def test_what_is_missing_is_told(self):
        import apbc_scipion.wizards.wizard_window as wizard_window

        told = []
        original = wizard_window.tell
        self.addCleanup(setattr, wizard_window, "tell", original)
        wizard_window.tell = lambda form, sentence: told.append(sentence)
        protocol = self.newDataset(inputType=CLASSES)
        self.proj.saveProtocol(protocol)
        form = FormWindow("form", protocol, lambda *_: None, self.main)
        self.addCleanup(form.root.destroy)
        self.assertIsNone(ApbcClassesWizard().makeWindow(form))
        empty = self.source._createSetOfClasses2D(
            common.pointer(self.source, "outputParticles"), suffix="empty"
        )
        protocol.inputClasses.set(empty)
        self.assertIsNone(ApbcClassesWizard().makeWindow(form))
        self.assertIn("Choose the set of 2D classes", told[0])
        self.assertIn("empty", told[1])

    def test_200_classes_scroll_at_once(self):
        from apbc_scipion.wizards.class_chooser_window import ClassChooserWindow

        form, small = self.open()
        small.close()
        start = time.time()
        window = ClassChooserWindow(
            form, "goodClasses", "badClasses", ClassMarks(made_up(200), common.DIAMETER), 20
        )
        self.addCleanup(window.close)
        window.show()
        screen.pump(window, until=lambda: window.canvas.winfo_width() > 600)
        self.assertLess(time.time() - start, 10)
        start = time.time()
        for _ in range(20):
            window.canvas.yview_scroll(3, "units")
            window.root.update()
        self.assertLess((time.time() - start) / 20, 0.25)
        self.click(window, 200)
        self.assertEqual(window.selected, 200)
