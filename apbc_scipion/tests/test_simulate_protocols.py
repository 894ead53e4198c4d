"""Simulated particles and micrographs in a project, compared with the engine's own tables."""

import csv
import os
import pickle
import tempfile
import unittest

import mrcfile
import numpy as np
from emtable import Table
from pwem.objects import AtomStruct, Volume
from pwem.protocols import ProtImportPdb, ProtImportVolumes
from pyworkflow import Config
from pyworkflow.object import Pointer
from pyworkflow.protocol import MODE_RESUME
from pyworkflow.tests import setupTestProject

from apbc.commands.main import build_parser
from apbc_scipion import convert, headless, simulation
from apbc_scipion.protocols import (
    ApbcProtEvaluate,
    ApbcProtSimulateMicrographs,
    ApbcProtSimulateParticles,
)
from apbc_scipion.protocols.protocol_simulate_base import ANTIBODY, HINGE, MIXTURE, NAMES
from apbc_scipion.protocols.protocol_simulate_particles import CTFS, FILE, NO_CTF, PARTICLES
from apbc_scipion.tests import common
from apbc_scipion.tests.project import ProtocolTest
from apbc_scipion.viewers import ApbcPicksViewer

PIXEL_SIZE = 5.0
BOX = 40
IMAGES = 60


def need_relion():
    """Skip loudly where Relion or its plugin is missing."""
    problem = headless.relion_problem()
    if problem:
        raise unittest.SkipTest("SKIPPED: this test needs Relion, but %s" % problem)


def read_table(*names):
    """Rows of a CSV file of the engine."""
    with open(os.path.join(*names), newline="") as handle:
        return list(csv.DictReader(handle))


def parse(words):
    """Let the engine's own parser read a command line."""
    return build_parser("simulate").parse_args([str(word) for word in words])


def correlation(one, other):
    """Correlation coefficient of two volumes."""
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


class SimulateTest(ProtocolTest):
    """A project with nothing in it."""

    @classmethod
    def setUpClass(cls):
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-simulate-")

    @classmethod
    def particles(cls, launch=True, structures=(), **values):
        """Simulate a few small images."""
        values = {
            "pixelSize": PIXEL_SIZE,
            "boxSize": BOX,
            "numberOfImages": IMAGES,
            "numberOfThreads": 2,
            **values,
        }
        protocol = cls.newProtocol(ApbcProtSimulateParticles, **values)
        for source, output in structures:
            protocol.inputStructures.append(common.pointer(source, output))
        if launch:
            cls.launchProtocol(protocol)
        return protocol

    @classmethod
    def micrographs(cls, launch=True, structures=(), **values):
        """Simulate a few small micrographs without contamination."""
        values = {
            "numberOfMicrographs": 2,
            "columns": 640,
            "rows": 512,
            "pixelSize": 4.0,
            "numberOfThreads": 2,
            **dict.fromkeys(("carbon", "iceBlobs", "crystals", "ethane", "aggregates"), 0.0),
            **values,
        }
        protocol = cls.newProtocol(ApbcProtSimulateMicrographs, **values)
        for source, output in structures:
            protocol.inputStructures.append(common.pointer(source, output))
        if launch:
            cls.launchProtocol(protocol)
        return protocol


class TestParticles(SimulateTest):
    """Sets of particles, their truth, and what the form takes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.simulated = cls.particles(
            outputBox=32, poseError=5.0, shiftError=2.0, defocusError=200.0, junk=0.2, clean=True
        )

    def test_particles_tell_the_truth(self):
        rows = read_table(self.simulated._getSimulationPath(), "truth.csv")
        particles = self.simulated.outputParticles
        self.assertEqual(particles.getSize(), IMAGES)
        self.assertEqual(particles.getDim()[:2], (32, 32))
        self.assertAlmostEqual(particles.getSamplingRate(), PIXEL_SIZE * BOX / 32)
        self.assertEqual(particles.getAcquisition().getVoltage(), 300)
        self.assertTrue(particles.hasCTF() and particles.hasAlignmentProj())
        junk = 0
        for particle, row in zip(particles.iterItems(), rows):
            self.assertEqual(particle.getIndex(), int(row["image"]))
            self.assertEqual(particle._gtClass.get(), int(row["class"]))
            self.assertEqual(particle._gtVolId.get(), int(row["class"]))
            for column, attribute in (
                ("rot", "_gtRot"),
                ("tilt", "_gtTilt"),
                ("psi", "_gtPsi"),
                ("shift_x", "_gtShiftX"),
                ("shift_y", "_gtShiftY"),
            ):
                value = getattr(particle, attribute).get()
                self.assertAlmostEqual(value, float(row[column]), places=5)
            self.assertEqual(particle._gtJunk.get() or "", row["junk"])
            self.assertEqual(bool(row["junk"]), particle._gtClass.get() == 0)
            junk += bool(row["junk"])
            # What programs are told has errors.
            told = particle.getCTF().getDefocusU() - float(row["defocus_u"])
            self.assertTrue(0 < abs(told) < 1500)
        self.assertEqual(junk, round(0.2 * IMAGES))

    def test_volumes_and_mask_fit_the_images(self):
        volumes = self.simulated.outputVolumes
        self.assertEqual(
            [(v.getObjId(), v.getObjLabel(), v._gtClass.get()) for v in volumes],
            [(1, "hinge-closed", 1), (2, "hinge-open", 2)],
        )
        for volume in [*(v.clone() for v in volumes), self.simulated.outputMask]:
            self.assertEqual(volume.getDim(), (32, 32, 32))
            self.assertAlmostEqual(
                volume.getSamplingRate(), self.simulated.outputParticles.getSamplingRate()
            )
        mask = mrcfile.read(self.simulated.outputMask.getFileName())
        self.assertTrue(mask.min() >= 0 and mask.max() == 1 and mask.mean() < 0.6)

    def test_clean_images_are_the_images_without_noise(self):
        clean = self.simulated.outputCleanParticles
        self.assertEqual(clean.getSize(), IMAGES)
        first = mrcfile.read(clean.getFirstItem().getFileName())
        noisy = mrcfile.read(self.simulated.outputParticles.getFirstItem().getFileName())
        sigmas = {
            round(float(row["sigma"]), 3)
            for row in read_table(self.simulated._getSimulationPath(), "truth.csv")
        }
        self.assertEqual(len(sigmas), 1, "the noise is pooled")
        self.assertAlmostEqual((noisy - first).std() / sigmas.pop(), 1, delta=0.02)

    def test_summary_and_methods(self):
        told = " ".join(self.simulated.summary())
        self.assertIn("*60* images of 32 px at 6.250 Å/px, 2 structures", told)
        self.assertIn("class 2: hinge-open", told)
        self.assertIn("[Jeon2024]", self.simulated.methods()[0])
        self.assertEqual(self.simulated._citations(), ["Jeon2024"])

    def test_relion_reads_the_angles_that_the_engine_wrote(self):
        need_relion()
        from relion.convert import writeSetOfParticles

        path = os.path.join(self.folder, "through_relion.star")
        writeSetOfParticles(self.simulated.outputParticles, path, outputDir=self.folder)
        star = os.path.join(self.simulated._getSimulationPath(), "particles.star")
        rows = list(
            zip(Table.iterRows("particles@" + path), simulation.read_star(star, "particles"))
        )
        self.assertEqual(len(rows), IMAGES)
        for back, engine in rows:
            for label in ("rlnOriginXAngst", "rlnOriginYAngst", "rlnDefocusU", "rlnDefocusV"):
                self.assertAlmostEqual(getattr(back, label), getattr(engine, label), delta=1e-3)
            for label in ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi"):
                turn = getattr(back, label) - getattr(engine, label)
                self.assertAlmostEqual((turn + 180) % 360 - 180, 0, delta=1e-3)
            self.assertEqual(back.rlnRandomSubset, int(engine.rlnRandomSubset))

    def test_relion_reconstructs_the_true_volume(self):
        need_relion()
        from relion.protocols import ProtRelionReconstruct

        run = self.particles(
            builtin=NAMES, builtinNames="hinge-open", boxSize=44, numberOfImages=300, snr=2.0
        )
        protocol = self.newProtocol(ProtRelionReconstruct, doCTF=True, numberOfMpi=1)
        self.link(protocol, "inputParticles", run, "outputParticles")
        self.launchProtocol(protocol)
        found = mrcfile.read(protocol.outputVolume.getFileName())
        truth = mrcfile.read(run.outputVolumes.getFirstItem().getFileName())
        self.assertGreater(correlation(found, truth), 0.9)
        self.assertLess(correlation(found[:, :, ::-1], truth), 0.85, "the hand is told apart")

    def test_atoms_and_volumes(self):
        path = os.path.join(self.folder, "zigzag.pdb")
        write_atoms(path)
        atoms = self.newProtocol(
            ProtImportPdb, inputPdbData=ProtImportPdb.IMPORT_FROM_FILES, pdbFile=path
        )
        self.launchProtocol(atoms)
        self.assertIsInstance(atoms.outputPdb, AtomStruct)
        for number, stem in enumerate(("hinge-closed", "hinge-open")):
            # A header with another pixel size, which Scipion's goes before.
            source = mrcfile.read(self.simulated.outputVolumes[number + 1].getFileName())
            with mrcfile.new(os.path.join(self.folder, stem + ".mrc")) as handle:
                handle.set_data(source)
                handle.voxel_size = 1.0 + number
        volumes = self.newProtocol(
            ProtImportVolumes, filesPath=self.folder, filesPattern="hinge*.mrc", samplingRate=6.25
        )
        self.launchProtocol(volumes)
        run = self.particles(
            structures=((volumes, "outputVolumes"), (atoms, "outputPdb")),
            numberOfImages=30,
            weights="1 0 2",
            ctfSource=NO_CTF,
        )
        record = simulation.read_record(run._getSimulationPath())
        self.assertEqual(
            [one["name"] for one in record["structures"]],
            [v.getObjLabel() for v in run.outputVolumes],
        )
        self.assertEqual(run.outputVolumes[3].getObjLabel(), "zigzag")
        self.assertAlmostEqual(run.outputParticles.getSamplingRate(), 6.25)
        self.assertEqual(run.outputParticles.getDim()[0], 32)
        self.assertFalse(run.outputParticles.hasCTF())
        counts = [one["images"] for one in record["structures"]]
        self.assertEqual((counts[0] + counts[2], counts[1]), (30, 0))
        self.assertEqual(run._citations(), ["Jeon2024", "Wojdyr2022"])

    def test_ctfs_of_sets_and_files(self):
        star = os.path.join(self.simulated._getSimulationPath(), "particles.star")
        known = [row.rlnDefocusU for row in simulation.read_star(star, "particles")]
        run = self.particles(
            numberOfImages=20, ctfSource=PARTICLES, inputParticles=self.simulated.outputParticles
        )
        found = [particle.getCTF().getDefocusU() for particle in run.outputParticles]
        for defocus in found:
            self.assertLess(np.abs(np.subtract(known, defocus)).min(), 0.02)
        self.assertEqual(len(set(found)), 20, "each CTF serves once")
        few = self.particles(launch=False, ctfSource=PARTICLES, numberOfImages=IMAGES + 1)
        few.inputParticles.set(self.simulated.outputParticles)
        self.assertIn("There are 60 CTFs for 61 images", few._validate()[0])
        few.ctfReplace.set(True)
        self.assertEqual(few._validate(), [])
        few.ctfReplace.set(False)
        # The engine refuses too few of a file, whose rows the form does not count.
        few.ctfSource.set(FILE)
        few.ctfFile.set(star)
        self.assertIn("60 CTFs", self.launchRed(few))

    def test_two_microscopes_are_two_optics_groups(self):
        need_relion()
        from relion.convert import writeSetOfParticles

        with open(os.path.join(self.simulated._getSimulationPath(), "ctf.pkl"), "rb") as handle:
            ctfs = pickle.load(handle)
        ctfs[::2, 5] = 200.0
        path = os.path.join(self.folder, "ctf.pkl")
        with open(path, "wb") as handle:
            pickle.dump(ctfs, handle)
        run = self.particles(numberOfImages=20, ctfSource=FILE, ctfFile=path)
        star = os.path.join(self.folder, "two_groups.star")
        writeSetOfParticles(run.outputParticles, star, outputDir=self.folder)
        voltages = {row.rlnOpticsGroup: row.rlnVoltage for row in Table.iterRows("optics@" + star)}
        self.assertEqual(voltages, {1: 200.0, 2: 300.0})
        truth = read_table(run._getSimulationPath(), "truth.csv")
        for row, known in zip(Table.iterRows("particles@" + star), truth):
            self.assertEqual(voltages[row.rlnOpticsGroup], float(known["voltage"]))
            self.assertAlmostEqual(row.rlnDefocusU, float(known["defocus_u"]), delta=0.01)

    def test_wrong_values_are_told(self):
        for values, sentence in (
            ({"pixelSize": None}, "must be above 0"),
            ({"snr": 0.0}, "The signal-to-noise ratio must be above 0, not 0.0"),
            ({"defocusMin": 3e4}, "The least defocus (30000 Å) is above the largest (25000 Å)."),
            ({"weights": "1"}, "There are 1 abundances for 2 structures"),
            ({"weights": "1 two"}, "The abundances must be numbers"),
            ({"weights": "-1 2"}, "Abundances must not be below 0"),
            ({"outputBox": 64}, "The box of the images (64 px) must not be larger"),
            ({"builtin": NAMES, "builtinNames": " "}, "No built-in molecule is named."),
            ({"ctfSource": FILE}, "Name a file of CTFs."),
            ({"ctfSource": FILE, "ctfFile": "no.star"}, "There is no file of CTFs 'no.star'."),
            ({"ctfSource": CTFS}, "Choose the set of CTFs that the CTFs are drawn from."),
        ):
            with self.subTest(sentence):
                protocol = self.particles(launch=False, **values)
                self.assertIn(sentence, " ".join(protocol.validate()))

    def test_structures_that_cannot_be_used_are_named(self):
        volumes = []
        for name, shape, pixelSize in (
            ("one", (16, 16, 16), 3.0),
            ("smaller", (12, 12, 12), 3.0),
            ("coarser", (16, 16, 16), 3.1),
            ("slab", (8, 16, 16), 3.0),
            ("gone", (16, 16, 16), 3.0),
        ):
            path = os.path.join(self.folder, name + ".mrc")
            mrcfile.write(path, np.ones(shape, np.float32), overwrite=True)
            volumes.append(Volume(path))
            volumes[-1].setSamplingRate(pixelSize)
        os.remove(path)
        protocol = self.particles(launch=False)
        for volume in volumes:
            protocol.inputStructures.append(volume)
        grids = "The volumes 'one' (16 voxels of 3 Å) and %s lie on different grids: bring them to "
        grids += "one box and pixel size."
        self.assertEqual(
            protocol._validate(),
            [
                grids % "'smaller' (12 voxels of 3 Å)",
                grids % "'coarser' (16 voxels of 3.1 Å)",
                "The volume 'slab' is 16 x 16 x 8 voxels and must be cubic: crop or pad it.",
                "The file of the structure 'gone' has gone: %s. Import it again." % path,
            ],
        )
        protocol = self.particles(launch=False)
        protocol.inputStructures.append(Pointer())
        self.assertEqual(
            protocol._validate(),
            ["A structure of the form is not there (any more): choose it again."],
        )

    def test_continue_with_other_values_makes_other_images(self):
        run = self.particles(numberOfImages=10)
        before = mrcfile.read(run.outputParticles.getFirstItem().getFileName())
        run.seed.set(3)
        run.numberOfImages.set(12)
        run.runMode.set(MODE_RESUME)
        self.launchProtocol(run)
        after = mrcfile.read(run.outputParticles.getFirstItem().getFileName())
        self.assertEqual(run.outputParticles.getSize(), 12)
        self.assertFalse(np.array_equal(before, after[:10]))

    def test_the_engine_knows_every_option(self):
        for values, words in (
            ({"builtin": HINGE, "conformations": 3}, ["hinge:-15", "hinge:20", "hinge:55"]),
            ({"builtin": ANTIBODY, "conformations": 4}, ["antibody:0", "antibody:270"]),
            ({"builtin": MIXTURE, "weights": "7, 6 5 4 3 2 1"}, ["cage", "--weights", "7.0"]),
            ({"views": 1, "viewConcentration": 3.5}, ["--views", "preferred:3.5"]),
            ({"legacyShrink": True, "contrast": 1, "noiseColor": 1.0}, ["--legacy-shrink", "dark"]),
            ({"envelopeB": 80.0, "contrastVariation": 0.1, "resolution": 15.0}, ["--envelope-b"]),
        ):
            with self.subTest(words=words):
                protocol = self.particles(launch=False, **values)
                request = [*protocol._structureArguments(), *protocol._getOptions()]
                self.assertLessEqual(set(words), {str(word) for word in request})
                parse(["simulate", "particles", "--out", "x", *request])
        protocol = self.micrographs(launch=False, crowding=2, views=2, mtf="mtf.star", detector=1)
        parse(["simulate", "micrographs", "--out", "x", *protocol._getOptions()])

    def test_the_form_hides_what_does_not_apply(self):
        form = self.particles(launch=False)
        shown = form.evalParamCondition
        for name in ("builtin", "pixelSize", "boxSize", "resolution", "defocusMin"):
            self.assertTrue(shown(name), name)
        for name in ("conformations", "builtinNames", "sharedCentre", "inputCTF", "ctfReplace"):
            self.assertFalse(shown(name), name)
        form.builtin.set(HINGE)
        self.assertTrue(shown("conformations"))
        form.inputStructures.append(common.pointer(self.simulated, "outputVolumes"))
        for name in ("builtin", "conformations", "pixelSize", "boxSize", "resolution"):
            self.assertFalse(shown(name), name)


def write_atoms(path, count=400):
    """Write a PDB file of carbon atoms at random in a ball of 40 Å."""
    rng = np.random.default_rng(5)
    with open(path, "w") as handle:
        for number in range(1, count + 1):
            x, y, z = rng.normal(0, 12, 3)
            handle.write(
                "ATOM  %5d  CA  ALA A%4d    %8.3f%8.3f%8.3f  1.00 20.00           C  \n"
                % (number, number, x, y, z)
            )
        handle.write("END\n")


class TestMicrographs(SimulateTest):
    """Sets of micrographs, CTFs and coordinates."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.simulated = cls.micrographs(
            crowding=1, particlesPerMicrograph=30, dose=100.0, overlap=0.0, clusters=0.0
        )

    def rows(self, run, mic):
        """Truth of a micrograph."""
        stem = convert.stem_of(mic.getMicName())
        return read_table(run._getSimulationPath(), "truth", stem + ".csv")

    def test_coordinates_tell_the_truth(self):
        coordinates = self.simulated.outputCoordinates
        diameter = simulation.read_record(self.simulated._getSimulationPath())["diameter"]
        self.assertAlmostEqual(coordinates.getBoxSize(), 1.5 * diameter / 4, delta=1)
        for mic in self.simulated.outputMicrographs:
            rows = self.rows(self.simulated, mic)
            found = [coordinate.clone() for coordinate in coordinates.iterCoordinates(mic)]
            self.assertEqual(len(found), len(rows))
            for coordinate, row in zip(found, rows):
                self.assertLessEqual(abs(coordinate.getX() - float(row["x"])), 0.5)
                self.assertLessEqual(abs(coordinate.getY() - float(row["y"])), 0.5)
                self.assertEqual(coordinate._gtClass.get(), int(row["class"]))
                self.assertEqual(coordinate._gtVisible.get(), row["visible"] == "1")
                for column in ("rot", "tilt", "psi"):
                    value = getattr(coordinate, "_gt" + column.capitalize()).get()
                    self.assertAlmostEqual(value, float(row[column]), places=3)

    def test_micrographs_masks_and_ctfs(self):
        micrographs, ctfs = self.simulated.outputMicrographs, self.simulated.outputCTF
        self.assertEqual(micrographs.getSize(), 2)
        self.assertEqual(micrographs.getSamplingRate(), 4.0)
        self.assertEqual(micrographs.getAcquisition().getVoltage(), 300)
        self.assertEqual(ctfs.getMicrographs().getObjId(), micrographs.getObjId())
        star = os.path.join(self.simulated._getSimulationPath(), "micrographs_ctf.star")
        known = list(simulation.read_star(star, "micrographs"))
        for mic, ctf, row in zip(micrographs, ctfs, known):
            self.assertEqual(mic.getDim()[:2], (640, 512))
            mask = mrcfile.read(mic._apbcMask.get())
            self.assertEqual((mask.shape, mask.dtype), ((512, 640), np.int8))
            self.assertEqual(ctf.getMicrograph().getMicName(), mic.getMicName())
            self.assertAlmostEqual(ctf.getDefocusU(), row.rlnDefocusU, places=1)
            self.assertAlmostEqual(ctf.getDefocusAngle(), row.rlnDefocusAngle, places=2)
        self.assertEqual(
            [v.getObjLabel() for v in self.simulated.outputVolumes], ["hinge-closed", "hinge-open"]
        )

    def test_the_viewer_of_picks_shows_the_truth(self):
        path = os.path.join(self.folder, "truth.png")
        viewer = Config.getDomain().findViewers(self.simulated, "tkinter")[0]
        self.assertIs(viewer, ApbcPicksViewer)
        viewer(project=self.proj, protocol=self.simulated).writePicture(self.simulated, path)
        self.assertTrue(os.path.exists(path))

    def test_relion_extracts_centred_particles(self):
        need_relion()
        from relion.protocols import ProtRelionExtractParticles

        protocol = self.newProtocol(
            ProtRelionExtractParticles,
            boxSize=64,
            doInvert=True,
            doNormalize=True,
            saveFloat16=False,
            numberOfMpi=1,
            ctfRelations=None,
        )
        self.link(protocol, "inputCoordinates", self.simulated, "outputCoordinates")
        self.link(protocol, "ctfRelations", self.simulated, "outputCTF")
        self.launchProtocol(protocol)
        particles = protocol.outputParticles
        self.assertGreater(particles.getSize(), 0.6 * self.simulated.outputCoordinates.getSize())
        self.assertTrue(particles.hasCTF())
        stacks = {particle.getFileName() for particle in particles}
        images = np.concatenate([mrcfile.read(stack) for stack in sorted(stacks)])
        mean = images.mean(axis=0)
        y, x = np.mgrid[:64, :64] - 32
        inside = np.hypot(x, y) < 20
        self.assertGreater(mean[inside].mean(), mean[~inside].mean() + 0.1, "white particles")
        weight = np.clip(mean - mean[~inside].mean(), 0, None) * inside
        centre = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
        self.assertLess(np.hypot(*centre), 2.0)

    def test_relion_finds_and_classifies_the_particles(self):
        need_relion()
        from relion.protocols import (
            ProtRelionAutopickLoG,
            ProtRelionClassify2D,
            ProtRelionExtractParticles,
        )

        log = self.newProtocol(
            ProtRelionAutopickLoG,
            boxSize=64,
            minDiameter=130,
            maxDiameter=200,
            threshold=0.5,
            streamingBatchSize=0,
            numberOfMpi=1,
            numberOfThreads=1,
        )
        self.link(log, "inputMicrographs", self.simulated, "outputMicrographs")
        self.launchProtocol(log)
        score = self.newProtocol(ApbcProtEvaluate, particleDiameter=175.0, edge=90.0)
        self.link(score, "inputCoordinates", log, "outputCoordinates")
        self.link(score, "referenceCoordinates", self.simulated, "outputCoordinates")
        self.launchProtocol(score)
        self.assertGreater(score.recall.get(), 0.7)
        self.assertGreater(score.f1.get(), 0.4)
        extract = self.newProtocol(
            ProtRelionExtractParticles,
            boxSize=64,
            doRescale=True,
            rescaledSize=32,
            doInvert=True,
            doNormalize=True,
            saveFloat16=False,
            numberOfMpi=1,
        )
        self.link(extract, "inputCoordinates", log, "outputCoordinates")
        self.launchProtocol(extract)
        classify = self.newProtocol(
            ProtRelionClassify2D,
            numberOfClasses=2,
            maskDiameterA=220,
            numberOfIterations=3,
            useGradientAlg=False,
            doGpu=False,
            doCTF=False,
            numberOfMpi=1,
            numberOfThreads=2,
        )
        self.link(classify, "inputParticles", extract, "outputParticles")
        self.launchProtocol(classify)
        sizes = [item.getSize() for item in classify.outputClasses.iterItems()]
        self.assertEqual(sum(sizes), extract.outputParticles.getSize())

    def test_particles_lie_where_coordinates_say(self):
        again = self.micrographs(launch=False, seed=9)
        again.inputCoordinates.set(self.simulated)
        again.inputCoordinates.setExtended("outputCoordinates")
        self.assertFalse(again.evalParamCondition("numberOfMicrographs"))
        self.launchProtocol(again)
        for mic, first in zip(again.outputMicrographs, self.simulated.outputMicrographs):
            self.assertEqual(mic.getMicName(), first.getMicName())
            self.assertEqual(mic.getDim(), first.getDim())
            one, other = self.rows(again, mic), self.rows(self.simulated, first)
            self.assertEqual(len(one), len(other))
            for row, known in zip(one, other):
                self.assertLessEqual(abs(float(row["x"]) - float(known["x"])), 0.5)
                self.assertEqual(row["class"], known["class"])
                self.assertAlmostEqual(float(row["tilt"]), float(known["tilt"]), places=2)

    def test_continue_adds_micrographs(self):
        run = self.micrographs(numberOfMicrographs=1, columns=320, rows=320)
        first = run.outputMicrographs.getFirstItem().getFileName()
        before = os.stat(first).st_mtime_ns
        run.numberOfMicrographs.set(2)
        run.runMode.set(MODE_RESUME)
        self.launchProtocol(run)
        self.assertEqual(run.outputMicrographs.getSize(), 2)
        self.assertEqual(os.stat(first).st_mtime_ns, before)
        run.numberOfMicrographs.set(1)
        self.launchProtocol(run)
        self.assertEqual(run.outputMicrographs.getSize(), 1)
        self.assertEqual(len(os.listdir(os.path.join(run._getSimulationPath(), "masks"))), 1)

    def test_ctfs_for_particles(self):
        run = self.particles(launch=False, numberOfImages=8, ctfSource=CTFS, ctfReplace=True)
        self.link(run, "inputCTF", self.simulated, "outputCTF")
        self.launchProtocol(run)
        known = [ctf.getDefocusU() for ctf in self.simulated.outputCTF]
        found = [particle.getCTF().getDefocusU() for particle in run.outputParticles]
        for defocus in known:
            self.assertLess(np.abs(np.subtract(found, defocus)).min(), 0.1)
        self.assertEqual(run.outputParticles.getAcquisition().getSphericalAberration(), 2.7)

    def test_wrong_values_are_told(self):
        for values, sentence in (
            ({"defocusMin": 3e4}, "The least defocus (30000 Å) is above the largest (25000 Å)."),
            ({"overlap": 0.6, "clusters": 0.6}, "more than 1 together"),
            ({"broken": 1.5}, "The share of broken particles must lie between 0 and 1."),
            ({"mtf": "no.star"}, "There is no file 'no.star' with the MTF."),
        ):
            with self.subTest(sentence):
                protocol = self.micrographs(launch=False, **values)
                self.assertIn(sentence, " ".join(protocol.validate()))
        told = self.launchRed(
            self.micrographs(launch=False, crowding=1, particlesPerMicrograph=2000)
        )
        self.assertIn("ask for fewer", told)
