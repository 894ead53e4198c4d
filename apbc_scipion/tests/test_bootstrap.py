"""From bare micrographs to evaluated picks: the template, its protocols and the viewer."""

import os
import shutil
import tempfile

import numpy as np
from PIL import Image
from pyworkflow.protocol import MODE_RESUME
from pyworkflow.tests import setupTestProject
from pyworkflow.viewer import DESKTOP_TKINTER

from apbc.display import bootstrap as drawing
from apbc.geometry import box_size_for
from apbc_scipion import convert, picture
from apbc_scipion.constants import (
    ARCHITECTURES,
    BAD,
    CLASSIFIER,
    GOOD,
    QUALITY,
    REASON,
    SHAPE,
)
from apbc_scipion.pick_sources import SourceError, source_of
from apbc_scipion.protocols import ApbcProtBootstrap, ApbcProtPick, ApbcProtTrain
from apbc_scipion.tests import common, screen
from apbc_scipion.tests.template_project import TemplateTest

COUNT, EACH = 4, 24
SAMPLES = 20
ROUND = 1  # of the form's shapes


class BareTest(TemplateTest):
    """A project with bare micrographs."""

    @classmethod
    def setUpClass(cls):
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-bare-")
        cls.truth = common.write_bare_micrographs(cls.path("mics"), COUNT, particles=EACH)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.folder, *names)

    @classmethod
    def newBootstrap(cls, source, **values):
        protocol = cls.newProtocol(ApbcProtBootstrap, **values)
        cls.link(protocol, "inputMicrographs", source, "outputMicrographs")
        return protocol

    @classmethod
    def link(cls, protocol, parameter, source, output):
        getattr(protocol, parameter).set(source)
        getattr(protocol, parameter).setExtended(output)

    def found(self, coordinates):
        """Share of the particles that have a coordinate within a quarter of a diameter."""
        reach = common.BARE_DIAMETER / common.PIXEL_SIZE / 4
        places = {}
        for item in coordinates.iterItems():
            places.setdefault(convert.stem_of(item.getMicName()), []).append(item.getPosition())
        hits = 0
        for stem, truth in self.truth.items():
            offsets = np.array(truth)[:, None] - np.array(places.get(stem, [(-1e6, -1e6)]))
            hits += (np.hypot(*offsets.transpose(2, 0, 1)).min(axis=1) < reach).sum()
        return hits / sum(map(len, self.truth.values()))


class TestWithoutLabels(BareTest):
    """The template runs to its end; the other tests look at what it made."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.done = cls.run_template(
            "pick_without_labels",
            # The other network learns from every training set of the other tests.
            dict(
                folder=cls.path("mics"),
                pixel=common.PIXEL_SIZE,
                shape=ROUND,
                samples=SAMPLES,
                network=ARCHITECTURES.index(CLASSIFIER),
                epochs=2,
            ),
        )
        cls.protMics, cls.boot = cls.done["import micrographs"], cls.done["bootstrap"]

    def test_examples(self):
        coordinates = self.boot.outputCoordinates
        self.assertTrue(coordinates.isStreamClosed())
        self.assertGreater(self.found(coordinates), 0.9)
        self.assertLess(coordinates.getSize(), 1.3 * COUNT * EACH)
        items = list(coordinates.iterItems())
        self.assertEqual({getattr(item, SHAPE).get() for item in items}, {"top"})
        self.assertLessEqual({getattr(item, QUALITY).get() for item in items}, {GOOD, BAD})
        for item in items:
            good = getattr(item, QUALITY).get() == GOOD
            self.assertEqual(good, not getattr(item, REASON).get())

    def test_estimated_diameter(self):
        diameter = self.boot.diameter.get()
        self.assertLess(abs(diameter - common.BARE_DIAMETER), 0.15 * common.BARE_DIAMETER)
        told = "\n".join(self.boot.summary())
        self.assertIn("%0.0f Å, estimated" % diameter, told)
        self.assertIn("is an estimate; look at diameter.png", told)
        self.assertIn("bootstrap/diameter.png", told)
        self.assertEqual(
            self.boot.outputCoordinates.getBoxSize(),
            self.done["picking"].boxSize.get(),
        )

    def test_dataset(self):
        dataset = self.boot.outputDataset
        labels, _ = dataset.getCounts()
        examples = [
            (getattr(item, QUALITY).get(), getattr(item, REASON).get())
            for item in self.boot.outputCoordinates
        ]
        good = sum(quality == GOOD for quality, _ in examples)
        touching = sum(reason in ("out of round", "overlaps") for _, reason in examples)
        self.assertEqual(labels, good + touching)
        self.assertEqual(dataset.getMicrographs(), COUNT)
        self.assertEqual(dataset.getClasses(), ["top", "background"])
        self.assertEqual(dataset.getDiameter(), self.boot.diameter.get())
        self.assertIn("Top: *%d* good" % good, "\n".join(self.boot.summary()))
        self.assertIn("DeepCryoPicker2020", self.boot.methods()[0])

    def test_picks_of_what_was_learnt(self):
        picks = self.done["picking"].outputCoordinates
        self.assertGreater(self.found(picks), 0.8)
        # Bad examples are in doubt: they are not missed where they are not picked.
        evaluation = self.done["evaluation"]
        self.assertEqual(evaluation.particleDiameter.get(), self.boot.diameter.get())
        self.assertGreater(evaluation.f1.get(), 0.8)
        with open(evaluation._getExtraPath("reference", "mic_00.csv")) as handle:
            self.assertIn("visible", handle.readline())

    def test_refused(self):
        for diameter, word in ((-3, "above 0"), (12, "pixels"), (None, None), (0, None)):
            protocol = self.newBootstrap(self.protMics, particleDiameter=diameter)
            told = "\n".join(protocol.validate())
            self.assertIn(word, told) if word else self.assertEqual(told, "")
        (few,) = protocol.warnings()
        self.assertIn("%d micrographs" % COUNT, few)
        protocol = self.newBootstrap(self.protMics, particleDiameter=60)
        self.assertIn("only 15 pixels", protocol.warnings()[1])
        micrographs = protocol.getInputMicrographs()
        self.addCleanup(micrographs.setStreamState, micrographs.getStreamState())
        micrographs.setStreamState(micrographs.STREAM_OPEN)
        protocol = self.newBootstrap(self.protMics)
        for size, count in ((0, 1), (4, 1), (5, 0)):
            protocol.streamingBatchSize.set(size)
            told = [line for line in protocol.warnings() if "first batch settles" in line]
            self.assertEqual(len(told), count)

    def test_too_few_good_examples(self):
        source = common.import_micrographs(self, self.path("mics", "mic_00.mrc"), label="one")
        protocol = self.newBootstrap(source, particleDiameter=common.BARE_DIAMETER, shapes=ROUND)
        self.proj.launchProtocol(protocol, wait=True)
        self.assertTrue(protocol.isFailed())
        self.assertIn("good examples on 1 micrographs", protocol.getErrorMessage())
        self.assertTrue(protocol.outputCoordinates.isStreamClosed())
        self.assertGreater(protocol.outputCoordinates.getSize(), EACH / 2)
        self.assertFalse(protocol.hasAttribute("outputDataset"))

    def test_the_wrong_contrast_is_told_and_nothing_else_is_done(self):
        protocol = self.newBootstrap(
            self.protMics, particleDiameter=common.BARE_DIAMETER, brightParticles=True
        )
        self.proj.launchProtocol(protocol, wait=True)
        self.assertTrue(protocol.isFailed())
        self.assertIn("darker than the ice", protocol.getErrorMessage())
        self.assertFalse(os.path.exists(protocol._getExtraPath("bootstrap", "data.h5")))

    def test_the_classifier_of_shapes(self):
        train, pick = self.done["training"], self.done["picking"]
        self.assertIn("DeepCryoPicker2020", train._citations())
        self.assertTrue(train.outputModel.isClassifier())
        self.assertEqual(train.outputModel.getNamedThreshold(), (0.5, "model's own"))
        self.assertIn("Classes: top, background", "\n".join(train.summary()))
        first = pick.outputCoordinates.getFirstItem()
        self.assertEqual(getattr(first, SHAPE).get(), "top")
        self.assertFalse(source_of(pick, self.proj).calibrated)
        again = self.newProtocol(ApbcProtPick, precision=0.9)
        self.link(again, "inputMicrographs", self.protMics, "outputMicrographs")
        self.link(again, "inputModel", train, "outputModel")
        self.assertIn("not calibrated", "\n".join(again.validate()))

    def test_a_classifier_has_no_options_of_labels_and_needs_patches(self):
        train = self.newProtocol(ApbcProtTrain, ensemble=3, feedback=2, unlabelled=1)
        self.link(train, "inputDataset", self.boot, "outputDataset")
        self.assertIn("--feedback", train._getArguments())
        train.architecture.set(ARCHITECTURES.index(CLASSIFIER))
        self.assertEqual(train.validate(), [])
        for option in ("--feedback", "--ensemble", "--unlabelled"):
            self.assertNotIn(option, train._getArguments())
        classes = train.inputDataset.get()._classes
        told = classes.get()
        classes.set("")
        self.addCleanup(classes.set, told)
        self.assertIn("patches of shapes", "\n".join(train.validate()))

    def test_micrographs_arrive(self):
        boot = common.launch_on_stream(
            self,
            self.path("mics"),
            self.path("stream"),
            lambda source: self.newBootstrap(
                source, shapes=ROUND, streamingBatchSize=2, samples=SAMPLES, keepStages=3
            ),
        )
        self.assertEqual(len(boot.outputCoordinates.getUniqueValues("_micName")), COUNT)
        self.assertEqual(boot.outputDataset.getMicrographs(), COUNT)
        self.assertEqual(len(os.listdir(boot.getStagesFolder())), 3)
        # The first batch has settled the diameter, which the set of coordinates was made with.
        self.assertEqual(
            boot.outputCoordinates.getBoxSize(),
            box_size_for(boot.diameter.get(), common.PIXEL_SIZE),
        )
        self.continue_with_another_form(boot)

    def continue_with_another_form(self, boot):
        """Continue a finished run: what is drawn follows the form, what was searched stays."""
        boot.samples.set(SAMPLES + 4)
        boot.runMode.set(MODE_RESUME)
        self.proj.launchProtocol(boot, wait=True)
        self.assertTrue(boot.isFinished(), boot.getErrorMessage())
        drawn = boot._readRecord()["classes"].values()
        self.assertEqual({row["samples"] for row in drawn}, {SAMPLES + 4})
        boot.particleDiameter.set(2 * common.BARE_DIAMETER)
        self.proj.launchProtocol(boot, wait=True)
        self.assertTrue(boot.isFailed())
        self.assertIn("found with other options (diameter none then", boot.getErrorMessage())
        self.assertIn("copy the protocol and run the copy", boot.getErrorMessage())

    # ------------------------------ viewer --------------------------------------------
    def viewer(self, protocol):
        found = self.proj.getDomain().findViewers(protocol, DESKTOP_TKINTER)
        return found[0](project=self.proj, protocol=protocol, parent=screen.main_window())

    def open(self, protocol):
        window = self.viewer(protocol).makeWindow(protocol)
        self.addCleanup(window.close)
        window.root.deiconify()
        screen.pump(window, until=window.root.winfo_viewable)
        return window

    def test_stages_are_shown(self):
        screen.need_screen()
        window = self.open(self.boot)
        self.assertEqual(window.names, sorted(self.truth))
        self.assertEqual(window.stage, drawing.EXAMPLES)
        stages = window.record.stages
        self.assertEqual(window.stages.size(), len(stages))
        good = int(window.record.good.sum())
        self.assertIn("%d good" % good, window.told.cget("text"))
        labels = [text.get_text() for text in window.axes.get_legend().get_texts()]
        self.assertEqual(labels[0], "%d good" % good)
        # The part that is shown stays from stage to stage, not from micrograph to micrograph.
        window.panZoom.set((50, 150), (60, 160))
        for stage in reversed(stages[:-1]):
            window.stepStage(-1)
            self.assertEqual(window.stage, stage)
            self.assertEqual(window.panZoom.limits, ((50, 150), (60, 160)))
        window.step(1)
        self.assertEqual(window.record.name, "mic_01")
        self.assertEqual(window.stage, stages[0])
        self.assertEqual(window.panZoom.limits[0][0], -0.5)
        path = self.path("stage.png")
        window.savePicture(path, "cleaned")
        self.assertIn("Wrote", window.getStatus())
        with Image.open(path) as image:
            self.assertGreater(image.width, 500)
        window.savePicture(os.path.join(path, "in_a_file.png"))
        self.assertIn("not written", window.getStatus())

    def test_examples_open_in_the_picks_viewer(self):
        screen.need_screen()
        from apbc_scipion.viewers import ApbcPicksViewer

        review = ApbcPicksViewer(project=self.proj, protocol=self.boot).makeReview(self.boot)
        self.assertFalse(review.hasScores())
        self.assertEqual(sorted(review.labels), sorted(self.truth))

    def test_a_run_that_has_not_begun(self):
        screen.need_screen()
        protocol = self.newBootstrap(self.protMics)
        self.proj.saveProtocol(protocol)
        window = self.open(protocol)
        self.assertIn("has not been started", window.axes.texts[0].get_text())
        window.openExamples()
        self.assertIn("no coordinates yet", window.getStatus())
        folder = protocol.getStagesFolder()
        os.makedirs(folder)
        name = sorted(os.listdir(self.boot.getStagesFolder()))[0]
        shutil.copyfile(os.path.join(self.boot.getStagesFolder(), name), os.path.join(folder, name))
        with open(os.path.join(folder, name), "rb") as handle:
            whole = handle.read()
        with open(os.path.join(folder, "torn.npz"), "wb") as handle:
            handle.write(whole[: len(whole) // 2])
        window.refresh()
        self.assertEqual(window.name, "mic_00")
        window.step(1)
        self.assertIn("make it again", window.axes.texts[0].get_text())
        window.stepStage(-1)  # nothing is there to go to
        window.step(1)
        self.assertEqual(window.record.name, "mic_00")

    def test_a_picture_needs_no_screen(self):
        out = self.path("stages.png")
        words = [self.proj.path, str(self.boot.getObjId()), "--out", out]
        picture.write_picture(self.proj, self.boot, picture.parse_arguments(words))
        with Image.open(out) as image:
            self.assertGreater(image.width, 1000)
        words += ["--micrograph", "mic_99"]
        with self.assertRaisesRegex(SourceError, "mic_99"):
            picture.write_picture(self.proj, self.boot, picture.parse_arguments(words))
