"""Every protocol of the plugin, launched in a real project on small made-up micrographs."""

import json
import os
import shutil
from unittest import mock

import h5py
import mrcfile
import numpy as np
from pwem.objects import (
    Class2D,
    CTFModel,
    Micrograph,
    SetOfCoordinates,
    SetOfParticles,
    Transform,
)
from pwem.protocols import ProtImportMicrographs
from pyworkflow.protocol import MODE_RESUME

from apbc_scipion.constants import DISAGREEMENT, SCORE
from apbc_scipion.engine import EngineError
from apbc_scipion.pick_sources import source_of
from apbc_scipion.protocols import (
    ApbcProtCreateCoordinates,
    ApbcProtEvaluate,
    ApbcProtImportModel,
    ApbcProtScreen,
    ApbcProtTrain,
)
from apbc_scipion.protocols.protocol_create_training_set import CLASSES, PARTICLES
from apbc_scipion.protocols.protocol_screen import MICROGRAPHS, STACKS
from apbc_scipion.tests import common
from apbc_scipion.tests.project import ModelTest, ProtocolTest


class TestCreateTrainingSet(ProtocolTest):
    """The three kinds of input and what is refused."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.protParticles = {
            kind: common.import_particles(
                cls,
                common.crop_particles(cls.protMics, cls.points[kind], cls.path(kind + "_p.sqlite")),
                kind + " particles",
            )
            for kind in ("good", "bad")
        }

    def check(self, protocol, micrographs):
        self.launchProtocol(protocol)
        dataset = protocol.outputDataset
        self.assertEqual(dataset.getCounts(), (120, 120))
        self.assertEqual(dataset.getMicrographs(), micrographs)
        self.assertEqual(dataset.getDiameter(), common.DIAMETER)
        self.assertTrue(os.path.exists(self.proj.getPath(dataset.getPath())))
        self.assertIn("120", "\n".join(protocol.summary()))

    def test_coordinates(self):
        self.check(self.datasetFromCoordinates(), 5)

    def particles(self, **values):
        protocol = self.newDataset(inputType=PARTICLES, **values)
        for kind in ("good", "bad"):
            getattr(protocol, kind + "Particles").append(
                common.pointer(self.protParticles[kind], "outputParticles")
            )
        return protocol

    def test_particles_on_given_micrographs(self):
        protocol = self.particles()
        self.link(protocol, "inputMicrographs", self.protMics, "outputMicrographs")
        self.assertEqual(protocol.warnings(), [])
        self.check(protocol, 5)

    def test_particles_from_stacks(self):
        protocol = self.particles()
        self.assertIn("stacks", protocol.warnings()[0])
        self.check(protocol, 0)

    def test_classes(self):
        source = self.protParticles["good"]
        classes = source._createSetOfClasses2D(common.pointer(source, "outputParticles"))
        for classId, kind in ((1, "good"), (2, "bad"), (3, "good")):
            item = Class2D(objId=classId)
            item.copyInfo(source.outputParticles)
            classes.append(item)
            for particle in self.protParticles[kind].outputParticles:
                particle = particle.clone()
                particle.setObjId(None)
                item.append(particle)
            classes.update(item)
        source._defineOutputs(outputClasses=classes)
        source._store()
        self.proj.mapper.commit()

        def new(good, bad):
            protocol = self.newDataset(inputType=CLASSES, goodClasses=good, badClasses=bad)
            self.link(protocol, "inputClasses", source, "outputClasses")
            self.link(protocol, "inputMicrographs", self.protMics, "outputMicrographs")
            return protocol

        for good, bad, word in (
            ("1", "1-2", "good and bad at once"),
            ("1,7", "2", "no class 7"),
            ("", "2", "no good classes"),
            ("", "", "no good classes"),
            ("1", "x", "not a class id"),
        ):
            self.assertIn(word, "\n".join(new(good, bad).validate()))
        protocol = new("1", "2")
        self.check(protocol, 5)
        self.assertIn("view", self.header(protocol, "good"))
        self.assertEqual(protocol.outputDataset.getViews(), 1)
        self.assertIn("of *1* 2D classes", "\n".join(protocol.summary()))
        self.checkGoodAlone(new("1,3", ""), 240)

    def header(self, protocol, kind):
        with open(protocol._getExtraPath("input", kind, "mic_00.csv")) as handle:
            return handle.readline()

    def checkGoodAlone(self, protocol, count):
        self.assertIn("Good labels alone", "\n".join(protocol.warnings()))
        self.launchProtocol(protocol)
        self.assertEqual(protocol.outputDataset.getCounts(), (count, 0))
        self.assertIn("Good labels alone", "\n".join(protocol.summary()))
        self.assertFalse(os.path.exists(protocol._getExtraPath("input", "bad")))

    def test_good_coordinates_alone(self):
        protocol = self.newDataset()
        protocol.goodCoordinates.append(
            common.pointer(self.protCoords["good"], "outputCoordinates")
        )
        self.checkGoodAlone(protocol, 120)
        self.assertEqual(protocol.outputDataset.getViews(), 0)
        self.assertNotIn("2D classes", "\n".join(protocol.summary()))

    def test_stacks_need_bad_particles(self):
        protocol = self.newDataset(inputType=PARTICLES)
        protocol.goodParticles.append(common.pointer(self.protParticles["good"], "outputParticles"))
        self.assertIn("no bad particles", "\n".join(protocol.validate()))
        self.link(protocol, "inputMicrographs", self.protMics, "outputMicrographs")
        self.assertEqual(protocol.validate(), [])

    def aligned(self, mirrored):
        """A set of the good particles, picked 2 pixels beside them, that knows it."""
        path = self.path("aligned_%d.sqlite" % mirrored)
        particles = SetOfParticles(filename=path)
        particles.copyInfo(self.protParticles["good"].outputParticles)
        particles.setAlignment2D()
        for number, item in enumerate(self.protParticles["good"].outputParticles, 1):
            item = item.clone()
            item.setObjId(number)
            x, y = item.getCoordinate().getPosition()
            item.getCoordinate().setPosition(x + 2, y)
            matrix = np.eye(4)
            if mirrored:
                matrix[0, 0] = matrix[2, 2] = -1
            matrix[0, 3] = 2
            item.setTransform(Transform(matrix))
            item.setClassId(1 + number % 3)
            particles.append(item)
        particles.write()
        particles.close()
        return common.import_particles(self, path, "aligned %d" % mirrored)

    def test_aligned_particles_are_re_centred(self):
        for mirrored, recentre, moved in ((0, True, 2), (0, False, 0), (1, True, 0)):
            if recentre:
                source = self.aligned(mirrored)
            protocol = self.newDataset(inputType=PARTICLES, recentre=recentre)
            for kind, prot in (("good", source), ("bad", self.protParticles["bad"])):
                getattr(protocol, kind + "Particles").append(
                    common.pointer(prot, "outputParticles")
                )
            self.link(protocol, "inputMicrographs", self.protMics, "outputMicrographs")
            self.launchProtocol(protocol)
            with h5py.File(protocol.outputDataset.getPath(), "r") as handle:
                labels = {
                    name: handle["labels"][name][:] for name in ("kind", "view", "micrograph")
                }
                good = (labels["kind"] == 1) & (labels["micrograph"] == 0)
                found = handle["labels/coordinates"][:][good]
            wanted = np.array(self.points["good"]["mic_00"], float) + (2 - moved, 0)
            self.assertEqual(sorted(map(tuple, found)), sorted(map(tuple, wanted)))
            self.assertEqual(set(labels["view"][labels["kind"] == 1]), {1, 2, 3})
            with open(protocol.getLogPaths()[0]) as handle:
                log = handle.read()
            self.assertEqual("stay where they were picked" in log, bool(mirrored))

    def test_refused(self):
        errors = self.newDataset().validate()
        self.assertIn("no good coordinates", "\n".join(errors))
        self.assertIn(
            "4 pixels", "\n".join(self.datasetFromCoordinates(particleDiameter=10).validate())
        )
        for seed, count in ((-1, 1), (0, 0)):
            errors = self.datasetFromCoordinates(seed=seed).validate()
            self.assertEqual(len(errors), count, errors)
        few = common.import_coordinates(
            self, self.protMics, {"mic_00": [(50, 50), (90, 90)]}, self.path("few.sqlite"), "few"
        )
        protocol = self.newDataset()
        protocol.goodCoordinates.append(
            common.pointer(self.protCoords["good"], "outputCoordinates")
        )
        protocol.badCoordinates.append(common.pointer(few, "outputCoordinates"))
        self.assertIn("only 2 bad particles", "\n".join(protocol.validate()))


class TestModelProtocols(ModelTest):
    """Training, importing, picking, screening and evaluating with one model."""

    # ------------------------------ models -------------------------------------
    def test_train(self):
        self.assertEqual(self.model.getDiameter(), common.DIAMETER)
        self.assertEqual(self.model.getDevice(), "cpu")
        self.assertTrue(self.model.isRefitted())
        self.assertTrue(self.model.getHeldOutFigures())
        summary = "\n".join(self.protTrain.summary())
        self.assertIn("kept aside", summary)
        self.assertNotIn("WARNING", summary)
        self.assertIn("ApbcModel", str(self.model))

    def test_a_complete_model_is_not_trained_again(self):
        # As after a cut between the end of the engine and the end of the step.
        with mock.patch.object(self.protTrain, "_runEngine") as run:
            self.protTrain.trainStep()
            run.assert_not_called()
        stale = self.newProtocol(ApbcProtTrain, useGpu=False, epochs=1, seed=2)
        self.link(stale, "inputDataset", self.protDataset, "outputDataset")
        self.saveProtocol(stale)
        stale.makePathsAndClean()
        shutil.copytree(self.model.getPath(), stale._getModelPath())
        with mock.patch.object(stale, "_runEngine") as run:
            stale.trainStep()
            run.assert_called_once()
        self.assertFalse(os.path.exists(stale._getModelPath()), "that of other settings goes")

    def test_a_seed_below_0_is_refused(self):
        for seed, count in ((-1, 1), (0, 0)):
            train = self.newProtocol(ApbcProtTrain, seed=seed)
            self.link(train, "inputDataset", self.protDataset, "outputDataset")
            self.assertEqual(len(train.validate()), count)

    def test_cpu_instead_of_gpu_is_loud(self):
        protocol = self.newProtocol(ApbcProtTrain, useGpu=True)
        self.assertIn("CPU", protocol._deviceLines("cpu")[0])
        self.assertIn("WARNING", protocol._deviceLines("cpu")[0])

    def test_continue_from_model(self):
        protocol = self.newProtocol(ApbcProtTrain, useGpu=False, epochs=1, refit=False)
        self.link(protocol, "inputDataset", self.protDataset, "outputDataset")
        self.link(protocol, "continueFrom", self.protTrain, "outputModel")
        self.launchProtocol(protocol)
        self.assertEqual(protocol.outputModel.getArchitecture(), "dense")
        self.assertFalse(protocol.outputModel.isRefitted())

    def test_import_model(self):
        source = self.proj.getPath(self.model.getPath())
        protocol = self.newProtocol(ApbcProtImportModel, modelPath=source)
        self.launchProtocol(protocol)
        self.assertEqual(protocol.outputModel.getDiameter(), common.DIAMETER)
        self.assertEqual(protocol.outputModel.getHeldOutFigures(), self.model.getHeldOutFigures())

    def test_import_of_a_tampered_model_is_refused(self):
        broken = self.path("tampered")
        shutil.copytree(self.proj.getPath(self.model.getPath()), broken)
        with open(os.path.join(broken, "model.keras"), "ab") as handle:
            handle.write(b"x")
        protocol = self.newProtocol(ApbcProtImportModel, modelPath=broken)
        self.assertIn("check sum", "\n".join(protocol.validate()))
        os.remove(os.path.join(broken, "card.json"))
        self.assertIn("card.json", "\n".join(protocol.validate()))

    def importWithCard(self, **values):
        """Import a copy of the model whose card tells more."""
        copy = self.path("told_%d" % len(os.listdir(self.path())))
        shutil.copytree(self.proj.getPath(self.model.getPath()), copy)
        path = os.path.join(copy, "card.json")
        with open(path) as handle:
            card = json.load(handle)
        card.update(values)
        with open(path, "w") as handle:
            json.dump(card, handle)
        protocol = self.newProtocol(ApbcProtImportModel, modelPath=copy)
        self.launchProtocol(protocol)
        return protocol

    def test_a_model_that_loses_a_view_says_so(self):
        told = self.importWithCard(
            rounds=[
                {"number": 0, "measure": 0.8, "sure": 0, "purity": None, "mined": 0, "kept": False},
                {"number": 1, "measure": 0.9, "sure": 50, "purity": 1.0, "mined": 3, "kept": True},
            ],
            views={
                "3": {"labels": 12, "recall": 0.25, "recall_before": 0.5},
                "5": {"labels": 40, "recall": 0.95, "recall_before": None},
                "7": {"labels": 9, "recall": 0.3, "recall_before": None},
            },
            lost_views=["3", "7"],
            promise={"precision": 0.8, "asked": 0.9},
        )
        pick = self.newPick()
        self.link(pick, "inputModel", told, "outputModel")
        for protocol in (told, pick):
            self.assertIn("*The model loses 2D classes 3 and 7.*", protocol.summary())
        summary = "\n".join(told.summary())
        self.assertIn("Feedback: round 1 of 1 was kept", summary)
        self.assertIn("by 2D class: 3: 0.250 (before 0.500) of 12, 7: 0.300 of 9, 5:", summary)
        self.assertIn("0.9 was asked for, and no threshold promises that", summary)
        self.assertNotIn("loses", "\n".join(self.protTrain.summary()))

    def test_an_ensemble_with_every_setting(self):
        train = self.newProtocol(
            ApbcProtTrain,
            useGpu=False,
            epochs=1,
            ensemble=2,
            refit=False,
            balanceViews=False,
            unlabelled=1,
            precision=0.6,
        )
        self.link(train, "inputDataset", self.protDataset, "outputDataset")
        self.launchProtocol(train)
        card = train.outputModel.getCard()
        options = card["options"]
        self.assertEqual((options["unlabelled"], options["precision"]), ("pu", 0.6))
        self.assertFalse(options["balance_views"])
        self.assertEqual(options["feedback"], 0)
        self.assertIn("promises a precision of", "\n".join(train.summary()))

        pick = self.newPick(streamingBatchSize=3)
        self.link(pick, "inputModel", train, "outputModel")
        self.launchProtocol(pick)
        doubts = self.doubts(pick)
        self.assertEqual(len(doubts), pick.outputCoordinates.getSize())
        self.assertGreater(max(doubts.values()), 0)
        made = self.newProtocol(ApbcProtCreateCoordinates, precision=0.7)
        self.link(made, "inputPicks", pick, "outputCoordinates")
        self.launchProtocol(made)
        self.assertIn("promises a precision of 0.7", "\n".join(made.summary()))
        scores = [getattr(item, SCORE).get() for item in made.outputCoordinates]
        self.assertGreaterEqual(np.mean(scores), 0.7)
        kept = self.doubts(made)
        both = set(kept) & set(doubts)
        self.assertGreater(len(both), 20)
        self.assertEqual({key: kept[key] for key in both}, {key: doubts[key] for key in both})
        # The set alone knows it, too, without the run that made it.
        again = self.newProtocol(ApbcProtCreateCoordinates, threshold=0.0)
        self.link(again, "inputPicks", made, "outputCoordinates")
        self.launchProtocol(again)
        self.assertEqual(self.doubts(again), kept)

    def doubts(self, protocol):
        """Disagreement of the ensemble about each pick, by its place."""
        return {
            (item.getMicName(), *item.getPosition()): getattr(item, DISAGREEMENT).get()
            for item in protocol.outputCoordinates
        }

    # ------------------------------ picking ------------------------------------
    def test_a_promised_precision_fixes_one_threshold(self):
        pick = self.newPick(streamingBatchSize=2, precision=0.8, workers=2)
        self.assertEqual(pick.validate(), [])
        self.launchProtocol(pick)
        with open(self.proj.getPath(pick._getExtraPath("threshold.json"))) as handle:
            fixed = json.load(handle)
        self.assertEqual(pick.getThreshold(), fixed["threshold"])
        self.assertNotEqual(pick.getThreshold(), self.model.getThreshold())
        self.assertGreaterEqual(fixed["expected"], 0.8 - 1e-6)
        told = "The first batch fixed the threshold, which promised a precision of"
        self.assertIn(told, "\n".join(pick.summary()))
        runs = sorted(pick._iterRuns(), key=lambda run: run["precision_asked"] is None)
        self.assertEqual([run["precision_asked"] for run in runs], [0.8, None, None])
        self.assertEqual({run["threshold"] for run in runs}, {fixed["threshold"]})
        scores = [getattr(item, SCORE).get() for item in pick.outputCoordinates]
        exported = sum(count["exported"] for run in runs for count in run["counts"].values())
        self.assertEqual(len(scores), exported)
        self.assertGreaterEqual(min(scores), fixed["threshold"])
        # A batch that comes second keeps to the threshold of the first.
        self.assertEqual(pick._fixPromise(dict(fixed, threshold=0.1)), fixed)
        self.assertEqual(source_of(pick, self.proj).threshold, fixed["threshold"])

        both = self.newPick(threshold=0.5, precision=0.8)
        self.assertIn("not both", "\n".join(both.validate()))
        for precision, count in ((0, 1), (1, 1), (-1, 0), (0.5, 0)):
            self.assertEqual(len(self.newPick(precision=precision).validate()), count)

        made = self.newProtocol(ApbcProtCreateCoordinates, threshold=0.5, precision=0.8)
        self.link(made, "inputPicks", pick, "outputCoordinates")
        self.assertIn("not both", "\n".join(made.validate()))
        plain = self.newProtocol(ApbcProtCreateCoordinates, precision=0.8)
        self.link(plain, "inputPicks", self.protCoords["good"], "outputCoordinates")
        self.assertIn("not probabilities", "\n".join(plain.validate()))
        much = self.newProtocol(ApbcProtCreateCoordinates, precision=0.9999999)
        self.link(much, "inputPicks", pick, "outputCoordinates")
        self.assertIn("No threshold promises a precision of 1", self.launchRed(much))

    def test_a_batch_without_a_promise_takes_the_models_threshold(self):
        pick = self.newPick(precision=0.9)
        self.saveProtocol(pick)
        pick.makePathsAndClean()
        self.assertEqual(pick.getThreshold(), self.model.getThreshold())
        for expected, told in ((0.7, "which promised a precision of 0.70"), (None, "no candidate")):
            fixed = {"threshold": 0.4, "precision": 0.9, "expected": expected}
            with open(pick._getExtraPath("threshold.json"), "w") as handle:
                json.dump(fixed, handle)
            summary = "\n".join(pick.summary())
            self.assertIn("*No threshold promised a precision of 0.9*", summary)
            self.assertIn(told, summary)

    def test_pick_and_evaluate(self):
        pick = self.newPick(streamingBatchSize=2, threshold=0.5)
        self.launchProtocol(pick)
        coordinates = pick.outputCoordinates
        self.assertTrue(coordinates.isStreamClosed())
        self.assertEqual(coordinates.getBoxSize(), 44)
        self.assertEqual(pick.boxSize.get(), 44)
        self.assertGreater(coordinates.getSize(), 20)
        self.assertTrue(
            all(0.5 <= getattr(item, SCORE).get() <= 1 for item in coordinates.iterItems())
        )
        self.assertEqual(len(os.listdir(self.proj.getPath(pick._getExtraPath("candidates")))), 5)
        self.assertIn("Device: cpu", "\n".join(pick.summary()))

        evaluate = self.newProtocol(
            ApbcProtEvaluate, particleDiameter=common.DIAMETER, edge=common.DIAMETER / 2
        )
        self.link(evaluate, "inputCoordinates", pick, "outputCoordinates")
        self.link(evaluate, "referenceCoordinates", self.protCoords["good"], "outputCoordinates")
        self.launchProtocol(evaluate)
        self.assertGreater(evaluate.f1.get(), 0.7)
        for name in ("evaluation.csv", "evaluation.png", "curve.csv"):
            self.assertTrue(os.path.exists(self.proj.getPath(evaluate._getExtraPath(name))), name)
        self.assertIn("F1", evaluate.summary()[0])

        # All micrographs trained the model, so nothing is left to compare.
        self.link(evaluate, "excludeModel", self.protTrain, "outputModel")
        self.assertIn("all trained the model", self.launchRed(self.proj.copyProtocol(evaluate)))

    def test_evaluate_picks_without_scores(self):
        half = {stem: rows[:12] for stem, rows in self.points["good"].items()}
        picks = common.import_coordinates(
            self, self.protMics, half, self.path("half.sqlite"), "manual picks"
        )
        evaluate = self.evaluate(picks)
        self.assertAlmostEqual(evaluate.precision.get(), 1)
        self.assertAlmostEqual(evaluate.recall.get(), 0.5)
        self.assertFalse(evaluate.hasAttribute("averagePrecision"))
        self.assertFalse(os.path.exists(self.proj.getPath(evaluate._getExtraPath("curve.csv"))))
        summary = "\n".join(evaluate.summary())
        self.assertIn("no scores", summary)
        self.assertIn("evaluation.csv", summary)
        self.assertNotIn("evaluation.png", summary)

    def test_evaluate_a_set_without_picks(self):
        source = self.protMics
        empty = source._createSetOfCoordinates(common.pointer(source, "outputMicrographs"))
        empty.setBoxSize(46)
        source._defineOutputs(outputCoordinates=empty)
        source._store()
        self.proj.mapper.commit()
        evaluate = self.evaluate(source)
        self.assertIn("empty", "\n".join(evaluate.warnings()))
        self.assertEqual(evaluate.recall.get(), 0)
        self.assertEqual(evaluate.f1.get(), 0)
        self.assertIn("recall 0.000", evaluate.summary()[0])

    def test_pick_at_another_pixel_size(self):
        folder = self.path("fine")
        os.makedirs(folder)
        with mrcfile.open(self.path("mics", "mic_00.mrc")) as handle:
            image = np.kron(handle.data, np.ones((2, 2), np.float32))
        with mrcfile.new(os.path.join(folder, "mic_00.mrc")) as handle:
            handle.set_data(image)
        mics = common.import_micrographs(self, os.path.join(folder, "*.mrc"), 2.0, "fine")
        pick = self.newPick(mics)
        self.launchProtocol(pick)
        self.assertEqual(pick.boxSize.get(), 90)
        truth = np.array(self.points["good"]["mic_00"]) * 2
        found = np.array([item.getPosition() for item in pick.outputCoordinates])
        distances = np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1))
        self.assertGreater((distances.min(axis=0) < 15).mean(), 0.7)

    def test_pick_while_micrographs_arrive(self):
        mics = self.path("mics")
        pick = common.launch_on_stream(
            self,
            mics,
            self.path("stream"),
            lambda source: self.newPick(source, streamingBatchSize=2),
        )
        self.assertEqual(len(pick.outputCoordinates.getUniqueValues("_micName")), 5)

    def test_equal_names_do_not_meet(self):
        for name in ("one", "two"):
            os.makedirs(self.path("twins", name))
        shutil.copyfile(self.path("mics", "mic_00.mrc"), self.path("twins", "one", "mic.mrc"))
        shutil.copyfile(self.path("mics", "mic_01.mrc"), self.path("twins", "two", "mic.mrc"))
        protocol = self.newProtocol(
            ProtImportMicrographs,
            filesPath=self.path("twins"),
            filesPattern="*/mic.mrc",
            samplingRate=common.PIXEL_SIZE,
            voltage=300,
            sphericalAberration=2.7,
            amplitudeContrast=0.1,
        )
        self.launchProtocol(protocol)
        pick = self.newPick(protocol)
        self.launchProtocol(pick)
        names = os.listdir(self.proj.getPath(pick._getExtraPath("candidates")))
        self.assertEqual(len(names), 2)

    def test_nothing_to_pick_is_no_failure(self):
        folder = self.path("empty")
        os.makedirs(folder)
        rng = np.random.default_rng(3)
        with mrcfile.new(os.path.join(folder, "noise.mrc")) as handle:
            handle.set_data(rng.normal(0, 1, common.SHAPE).astype(np.float32))
        mics = common.import_micrographs(self, os.path.join(folder, "*.mrc"), label="noise")
        pick = self.newPick(mics, threshold=1.0)
        self.launchProtocol(pick)
        self.assertEqual(pick.outputCoordinates.getSize(), 0)
        self.assertTrue(pick.outputCoordinates.isStreamClosed())

    def test_failed_micrographs_are_told_and_picked_again(self):
        folder = self.path("broken")
        shutil.copytree(self.path("mics"), folder)
        mics = common.import_micrographs(self, os.path.join(folder, "*.mrc"), label="broken")
        broken = os.path.join(folder, "mic_03.mrc")
        whole = broken + ".whole"
        shutil.copyfile(broken, whole)
        os.truncate(broken, 5000)
        pick = self.newPick(mics, streamingBatchSize=2)
        error = self.launchRed(pick)
        self.assertIn("1 of 5 micrographs failed", error)
        self.assertIn("mic_03", "\n".join(pick.summary()))
        done = self.proj.getPath(pick._getExtraPath("DONE"))
        self.assertEqual(sum(name.startswith("mic_") for name in os.listdir(done)), 4)
        before = pick.outputCoordinates.getSize()
        picked = set(pick.outputCoordinates.getUniqueValues("_micName"))
        self.assertEqual(len(picked), 4)

        shutil.copyfile(whole, broken)
        stamps = self.stamps(pick)
        pick.runMode.set(MODE_RESUME)
        self.launchProtocol(pick)
        self.assertTrue(pick.isFinished())
        after = SetOfCoordinates(filename=self.proj.getPath(pick.outputCoordinates.getFileName()))
        self.assertEqual(len(after.getUniqueValues("_micName")), 5)
        self.assertGreater(after.getSize(), before)
        again = self.stamps(pick)
        self.assertEqual({name: again[name] for name in stamps}, stamps)
        self.assertNotIn("failed", "\n".join(pick.summary()))

        shutil.copyfile(whole, broken)
        os.truncate(broken, 5000)
        tolerant = self.newPick(mics, maxFailed=0.25)
        self.launchProtocol(tolerant)
        self.assertIn("1 micrographs failed", "\n".join(tolerant.summary()))

    def test_failures_of_an_earlier_attempt_are_forgotten(self):
        folder = self.path("batch")
        os.makedirs(folder)
        with open(os.path.join(folder, "failed.csv"), "w") as handle:
            handle.write("micrograph,reason\nmic_00,of yesterday\n")
        mic = Micrograph(location=self.path("mics", "mic_00.mrc"))
        mic.setObjId(1)
        mic.setMicName("mic_00.mrc")
        pick = self.newPick()
        with mock.patch.object(pick, "_runEngine", side_effect=EngineError("of today")):
            self.assertEqual(pick._pickBatch([mic], {1: "mic_00"}, folder), {"mic_00": "of today"})

    def stamps(self, pick):
        folder = self.proj.getPath(pick._getExtraPath("candidates"))
        return {name: os.path.getmtime(os.path.join(folder, name)) for name in os.listdir(folder)}

    def test_model_that_has_gone(self):
        pick = self.newPick()
        moved = self.proj.getPath(self.model.getPath())
        os.rename(moved, moved + ".away")
        try:
            self.assertIn("has gone", "\n".join(pick.validate()))
        finally:
            os.rename(moved + ".away", moved)

    def makeCtfs(self, output, count):
        """Give the imported micrographs, up to a number, a CTF."""
        source = self.protMics
        ctfs = source._createSetOfCTF(suffix="_" + output)
        ctfs.setMicrographs(common.pointer(source, "outputMicrographs"))
        for mic in [mic.clone() for mic in source.outputMicrographs.iterItems()][:count]:
            ctf = CTFModel(objId=mic.getObjId())
            ctf.setStandardDefocus(18000, 17000, 25)
            ctf.setMicrograph(mic)
            ctfs.append(ctf)
        source._defineOutputs(**{output: ctfs})
        source._store()
        self.proj.mapper.commit()
        return source

    def test_micrographs_without_ctf_count_as_failed(self):
        source = self.makeCtfs("fewCTF", 3)
        pick = self.newPick(streamingBatchSize=2)
        self.link(pick, "inputCTF", source, "fewCTF")
        error = self.launchRed(pick)
        self.assertIn("2 of 5 micrographs failed", error)
        self.assertIn("it has no CTF", error)
        self.assertEqual(len(pick.outputCoordinates.getUniqueValues("_micName")), 3)
        tolerant = self.newPick(maxFailed=0.4)
        self.link(tolerant, "inputCTF", source, "fewCTF")
        self.launchProtocol(tolerant)
        self.assertIn("2 micrographs failed", "\n".join(tolerant.summary()))
        self.assertTrue(tolerant.outputCoordinates.isStreamClosed())

    def test_phase_flipped_model(self):
        source = self.makeCtfs("outputCTF", 5)
        dataset = self.datasetFromCoordinates()
        self.link(dataset, "inputCTF", source, "outputCTF")
        self.launchProtocol(dataset)
        self.assertTrue(dataset.outputDataset.isPhaseFlipped())
        train = self.newProtocol(ApbcProtTrain, useGpu=False, epochs=1, refit=False)
        self.link(train, "inputDataset", dataset, "outputDataset")
        self.launchProtocol(train)
        self.assertTrue(train.outputModel.isPhaseFlipped())

        pick = self.newPick()
        self.link(pick, "inputModel", train, "outputModel")
        self.assertIn("give CTFs", "\n".join(pick.validate()))
        self.link(pick, "inputCTF", source, "outputCTF")
        self.launchProtocol(pick)
        self.assertGreater(pick.outputCoordinates.getSize(), 20)

        needless = self.newPick()
        self.link(needless, "inputCTF", source, "outputCTF")
        self.assertIn("trained without", "\n".join(needless.warnings()))

        particles = self.particlesOf(self.points["good"], "flipped")
        screen = self.newScreen(particles, source=STACKS)
        self.link(screen, "inputModel", train, "outputModel")
        self.assertIn("phase-flipped", "\n".join(screen.warnings()))
        self.assertEqual(screen.validate(), [])
        screen = self.newScreen(particles, source=MICROGRAPHS, threshold=0.0)
        self.link(screen, "inputModel", train, "outputModel")
        self.assertIn("give CTFs", "\n".join(screen.validate()))
        self.link(screen, "inputCTF", source, "outputCTF")
        self.assertEqual(screen.warnings(), [])
        self.launchProtocol(screen)
        self.assertEqual(screen.outputParticlesTrue.getSize(), 120)

    # ------------------------------ screening ----------------------------------
    def particlesOf(self, points, name):
        """Import particles that are cut out at given points."""
        return common.import_particles(
            self, common.crop_particles(self.protMics, points, self.path(name + ".sqlite")), name
        )

    def newScreen(self, particles, **values):
        screen = self.newProtocol(ApbcProtScreen, useGpu=False, **values)
        self.link(screen, "inputParticles", particles, "outputParticles")
        self.link(screen, "inputModel", self.protTrain, "outputModel")
        self.link(screen, "inputMicrographs", self.protMics, "outputMicrographs")
        return screen

    def test_screen(self):
        both = {
            stem: self.points["good"][stem] + self.points["bad"][stem]
            for stem in self.points["good"]
        }
        particles = self.particlesOf(both, "both")
        for source in (STACKS, MICROGRAPHS):
            screen = self.newScreen(particles, source=source, threshold=0.5)
            self.launchProtocol(screen)
            true, false = screen.outputParticlesTrue, screen.outputParticlesFalse
            self.assertEqual(true.getSize() + false.getSize(), 240)
            good = {
                (stem, tuple(map(int, xy)))
                for stem, rows in self.points["good"].items()
                for xy in rows
            }
            hits = sum(
                (item.getCoordinate().getMicName()[:-4], item.getCoordinate().getPosition()) in good
                for item in true.iterItems()
            )
            self.assertGreater(hits / 120, 0.7)
            first = true.getFirstItem()
            original = particles.outputParticles[first.getObjId()]
            self.assertEqual(first.getLocation(), original.getLocation())
            self.assertGreaterEqual(getattr(first, SCORE).get(), 0.5)
            self.assertEqual(true.getSamplingRate(), common.PIXEL_SIZE)
            self.assertIn("Device: cpu", screen.summary())
            screen.useGpu.set(True)
            self.assertIn("WARNING: a GPU was asked for", "\n".join(screen.summary()))

        nothing = self.newProtocol(ApbcProtScreen, useGpu=False, threshold=0.0)
        self.link(nothing, "inputParticles", particles, "outputParticles")
        self.link(nothing, "inputModel", self.protTrain, "outputModel")
        self.launchProtocol(nothing)
        self.assertEqual(nothing.outputParticlesTrue.getSize(), 240)
        self.assertFalse(nothing.hasAttribute("outputParticlesFalse"))
        self.assertIn("No particle is false", "\n".join(nothing.summary()))

    def test_card_names_the_training_micrographs(self):
        with open(self.proj.getPath(self.model.getPath(), "card.json")) as handle:
            card = json.load(handle)
        self.assertEqual(sorted(card["training_micrographs"]), sorted(self.points["good"]))
