"""Protocols that measure against the ground truth, on tiny sets in a real project."""

import importlib.util
import json
import os
import shutil
import tempfile
from unittest import mock

import mrcfile
import numpy as np
from emtable import Table
from pwem.constants import ALIGN_PROJ
from pwem.objects import (
    Acquisition,
    Class3D,
    Particle,
    ParticleFlex,
    SetOfParticlesFlex,
    SetOfVolumesFlex,
    Transform,
    Volume,
    VolumeFlex,
)
from pwem.protocols import ProtImportParticles
from pyworkflow import Config
from pyworkflow.object import Float, Integer
from pyworkflow.protocol import MODE_RESUME
from pyworkflow.tests import BaseTest, setupTestProject
from pyworkflow.viewer import DESKTOP_TKINTER
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from apbc.geometry import euler_to_matrix
from apbc_scipion import truth_tables
from apbc_scipion.objects import ApbcFSC
from apbc_scipion.protocols import (
    ApbcProtAlignVolume,
    ApbcProtLatentMetrics,
    ApbcProtMetricsReport,
    ApbcProtPoseError,
    ApbcProtVolumeFsc,
)
from apbc_scipion.protocols.protocol_metrics_base import BY_IMAGE as MATCH_BY_IMAGE
from apbc_scipion.protocols.protocol_volume_fsc import (
    BY_ATTRIBUTE,
    BY_ID,
    BY_IMAGE,
    BY_ORDER,
    IMAGE,
    IMAGE_BY_ID,
    IMAGE_BY_LATENT,
)
from apbc_scipion.tests import common, screen

BOX = 32
PIXEL_SIZE = 4.0
IMAGES = 120
ROOT = "ground truth"


def make_structures(count=2, box=BOX, seed=5):
    """Volumes of blobs without symmetry; they share all blobs but the last two of each."""
    rng = np.random.default_rng(seed)
    grid = np.indices((box, box, box)) - box // 2
    core = rng.uniform(-box / 5, box / 5, (8, 3))

    def draw(places):
        volume = np.zeros((box, box, box))
        for place in places:
            squares = sum((axis - x) ** 2 for axis, x in zip(grid, place))
            volume += np.exp(-squares / (2 * 1.5**2))
        return volume.astype(np.float32)

    return [draw(np.vstack([core, rng.uniform(-box / 4, box / 4, (2, 3))])) for _ in range(count)]


def write_map(path, data):
    """Write a volume."""
    with mrcfile.new(path, overwrite=True) as handle:
        handle.set_data(data)
        handle.voxel_size = PIXEL_SIZE
    return path


def make_poses(count=IMAGES, seed=2):
    """Random angles (degrees) and displacements (Å), shape (count, 5)."""
    rng = np.random.default_rng(seed)
    angles = np.stack(
        [
            rng.uniform(-180, 180, count),
            np.degrees(np.arccos(rng.uniform(-1, 1, count))),
            rng.uniform(-180, 180, count),
        ],
        axis=1,
    )
    return np.hstack([angles, rng.uniform(-8, 8, (count, 2))])


def matrix_of(rotation, shift):
    """Scipion's matrix of a projection alignment: the inverse of turn, then shift (px)."""
    forward = np.eye(4)
    forward[:3, :3] = rotation
    forward[:2, 3] = np.asarray(shift) / PIXEL_SIZE
    return np.linalg.inv(forward)


class MetricsTest(BaseTest):
    """A project with true volumes and particles that know their class and pose."""

    @classmethod
    def setUpClass(cls):
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-metrics-")
        cls.structures = make_structures()
        cls.poses = make_poses()
        cls.angles = np.random.default_rng(9).uniform(0, 180, IMAGES)
        cls.labels = [1 + number % 2 for number in range(IMAGES)]
        cls.root = cls.newSource(ROOT)
        truth = cls.root._createSetOfVolumes("truth")
        cls.fillVolumes(truth, cls.structures)
        particles = cls.root._createSetOfParticles("true")
        cls.fillParticles(particles, cls.poses)
        cls.register(cls.root, outputVolumes=truth, outputParticles=particles)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def newSource(cls, label):
        """Make a run that only holds outputs."""
        protocol = cls.newProtocol(ProtImportParticles)
        protocol.setObjLabel(label)
        cls.proj.saveProtocol(protocol)
        protocol.makePathsAndClean()
        return protocol

    @classmethod
    def register(cls, protocol, **outputs):
        """Give a run its outputs and call it finished."""
        protocol._defineOutputs(**outputs)
        protocol.setFinished()
        protocol._store()
        cls.proj.mapper.commit()

    @classmethod
    def fillVolumes(cls, volumes, structures, name="true", latents=None):
        """Write volumes and append them."""
        folder = os.path.join(cls.folder, name)
        os.makedirs(folder, exist_ok=True)
        volumes.setSamplingRate(PIXEL_SIZE)
        for number, data in enumerate(structures, 1):
            volume = Volume() if latents is None else VolumeFlex()
            if latents is not None:
                volume.setZFlex(latents[number - 1])
            volume.setLocation(write_map(os.path.join(folder, "%d.mrc" % number), data))
            volume.setSamplingRate(PIXEL_SIZE)
            volumes.append(volume)

    @classmethod
    def fillParticles(cls, particles, poses, predicted=None, stack="particles.mrcs", latents=None):
        """Append particles with true poses; `predicted` holds rotations and shifts to align."""
        particles.setSamplingRate(PIXEL_SIZE)
        particles.setAcquisition(
            Acquisition(
                magnification=10000, voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1
            )
        )
        rotations, shifts = predicted or (euler_to_matrix(poses[:, :3]), poses[:, 3:])
        for number, pose in enumerate(poses):
            particle = Particle() if latents is None else ParticleFlex()
            particle.setLocation(number + 1, stack)
            particle.setSamplingRate(PIXEL_SIZE)
            particle.setTransform(Transform(matrix_of(rotations[number], shifts[number])))
            particle._gtClass = Integer(cls.labels[number])
            particle._gtAngle = Float(cls.angles[number])
            for name, value in zip(truth_tables.TRUE_POSE, pose):
                setattr(particle, name, Float(value))
            if latents is not None:
                particle.setZFlex(latents[number])
            particles.append(particle)
        particles.setAlignment(ALIGN_PROJ)

    @classmethod
    def link(cls, protocol, parameter, source, output):
        getattr(protocol, parameter).set(source)
        getattr(protocol, parameter).setExtended(output)

    @classmethod
    def fillClasses(cls, classes, members, structures):
        """Make 3D classes: `members` is the class of each particle, `structures` their volumes."""
        paths = [
            write_map(os.path.join(cls.folder, "class_%d.mrc" % number), data)
            for number, data in enumerate(structures, 1)
        ]
        for number, path in enumerate(paths, 1):
            one = Class3D(objId=number)
            one.copyInfo(cls.root.outputParticles)
            volume = Volume(path)
            volume.setSamplingRate(PIXEL_SIZE)
            one.setRepresentative(volume)
            classes.append(one)
            for particle in cls.root.outputParticles:
                if members[particle.getObjId()] == number:
                    one.append(particle.clone())
            classes.update(one)

    def launchRed(self, protocol):
        """Launch a protocol that must fail, and return its error."""
        self.proj.launchProtocol(protocol, wait=True)
        self.assertTrue(protocol.isFailed(), "the protocol should have failed")
        return protocol.getErrorMessage()

    def figures(self, protocol, metric):
        """Figures of a metric, from its record."""
        return protocol.getRecord(metric)["figures"]


def random_rotation(seed):
    """Rotation matrix."""
    return euler_to_matrix(make_poses(1, seed)[:, :3])[0]


class TestTables(MetricsTest):
    """Sets as tables, without the engine."""

    def test_alignment_is_that_of_relion(self):
        if importlib.util.find_spec("relion") is None:
            self.skipTest("SKIPPED: the Relion plugin is not installed")
        from relion.convert.convert31 import Writer

        star = os.path.join(self.folder, "relion.star")
        Writer().writeSetOfParticles(self.root.outputParticles, star, alignType=ALIGN_PROJ)
        rows = list(Table.iterRows(star, tableName="particles"))
        found = truth_tables.collect_alignment(self.root.outputParticles, "particles")
        self.assertEqual(len(rows), IMAGES)
        for row, pose in zip(rows, found.values()):
            relion = euler_to_matrix([(row.rlnAngleRot, row.rlnAngleTilt, row.rlnAnglePsi)])
            np.testing.assert_allclose(euler_to_matrix(pose[:3]), relion, atol=1e-5)
            np.testing.assert_allclose(
                pose[3:], (-row.rlnOriginXAngst, -row.rlnOriginYAngst), atol=1e-4
            )

    def test_alignment_is_the_pose_that_was_written(self):
        found = truth_tables.collect_alignment(self.root.outputParticles, "particles")
        true = truth_tables.collect_true_poses(self.root.outputParticles)
        self.assertEqual(list(found), list(true))
        for one, pose in found.items():
            np.testing.assert_allclose(
                euler_to_matrix(pose[:3]), euler_to_matrix(true[one][:3]), atol=1e-9
            )
            np.testing.assert_allclose(pose[3:], true[one][3:], atol=1e-6)

    def test_images_of_classes_are_counted(self):
        members = {1: 5, 2: 5, 3: 6, 4: 6, 5: 5}
        labels = {1: "a", 2: "a", 3: "a", 4: "b", 5: "b"}
        counts = truth_tables.count_images(members, labels)
        self.assertEqual(counts, {"a": {5: 2, 6: 1}, "b": {6: 1, 5: 1}})
        self.assertEqual(truth_tables.most_common(counts["a"]), (5, 2))
        self.assertEqual(truth_tables.most_common(counts["b"]), (5, 1))

    def test_labels_are_whole_numbers_where_they_can_be(self):
        found = [truth_tables.as_whole(value) for value in ("12", 3.0, "a1", "1.5", None, 2.5)]
        self.assertEqual(found, [12, 3, "a1", "1.5", None, 2.5])

    def test_junk_needs_no_pose(self):
        particles = self.root._createSetOfParticles("junk")
        for number, label in enumerate((1, 0, 1)):
            particle = Particle()
            particle._gtClass = Integer(label)
            for name in truth_tables.TRUE_POSE:
                setattr(particle, name, Float(None if label == 0 else number))
            particles.append(particle)
        poses = truth_tables.collect_true_poses(particles)
        self.assertEqual([pose[0] for pose in poses.values()], [0, 0, 2])
        particle.setObjId(None)
        particle._gtPsi.set(None)
        particles.append(particle)
        with self.assertRaisesRegex(ValueError, "without a true pose: 4"):
            truth_tables.collect_true_poses(particles)

    def test_resolution_of_a_curve(self):
        fsc = ApbcFSC()
        for values, resolution in (
            ((1, 0.9, 0.1), 1 / 0.25),
            ((1, 1, 1), 1 / 0.3),
            ((0.2, 0.1, 0), 1 / 0.1),
        ):
            fsc.setData([0.1, 0.2, 0.3], values)
            self.assertEqual(fsc.calculateResolution(0.5, 3), "%0.3f" % resolution)

    def test_ids_are_named(self):
        self.assertEqual(truth_tables.name_ids([3, 1]), "1, 3")
        self.assertIn("and 92 more", truth_tables.name_ids(range(100)))


class TestPoseError(MetricsTest):
    """Errors of poses after the best common frame."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        turn, mirror = random_rotation(8), np.diag([1.0, 1.0, -1.0])
        true = euler_to_matrix(cls.poses[:, :3])
        turned = cls.root._createSetOfParticles("turned")
        cls.fillParticles(turned, cls.poses, (mirror @ true @ mirror @ turn, cls.poses[:, 3:]))
        # The same images in another order, from 10 degrees beside the truth, and no attributes.
        aside = cls.root._createSetOfParticles("aside")
        cls.fillAside(aside, Rotation.from_euler("z", 10, degrees=True).as_matrix() @ true)
        cls.register(cls.root, turnedParticles=turned, asideParticles=aside)

    @classmethod
    def fillAside(cls, particles, rotations):
        particles.setSamplingRate(PIXEL_SIZE)
        for number in reversed(range(3, IMAGES)):
            particle = Particle()
            particle.setLocation(number + 1, "elsewhere/particles.mrcs")
            particle.setTransform(
                Transform(matrix_of(rotations[number], cls.poses[number, 3:] + (3, 4)))
            )
            particles.append(particle)
        particles.setAlignment(ALIGN_PROJ)

    def newPose(self, output="turnedParticles", truth=None, **values):
        protocol = self.newProtocol(ApbcProtPoseError, **values)
        self.link(protocol, "inputParticles", self.root, output)
        if truth:
            self.link(protocol, "truthParticles", self.root, truth)
        return protocol

    def test_a_turned_and_mirrored_frame_is_no_error(self):
        protocol = self.newPose(methodName="mirrored", frames=0, symmetry="1:C1 2:C2")
        self.assertEqual(protocol.validate(), [])
        self.launchProtocol(protocol)
        self.assertLess(protocol.rotationError.get(), 1e-3)
        self.assertLess(protocol.shiftError.get(), 1e-3)
        self.assertEqual(protocol.outputMetrics.getMethod(), "mirrored")
        self.assertEqual(protocol.outputMetrics.getMetrics(), ["pose"])
        summary = "\n".join(protocol.summary())
        self.assertIn("other hand", summary)
        self.assertIn("%d particles" % IMAGES, summary)

    def test_part_of_the_images_by_name_with_no_alignment_of_frames(self):
        protocol = self.newPose(
            "asideParticles", "outputParticles", matchBy=MATCH_BY_IMAGE, allowPart=True, frames=2
        )
        self.launchProtocol(protocol)
        self.assertAlmostEqual(protocol.rotationError.get(), 10, places=3)
        self.assertAlmostEqual(protocol.shiftError.get(), 5, places=3)
        self.assertEqual(self.figures(protocol, "pose")["images"], IMAGES - 3)

    def test_refused(self):
        errors = self.newPose(symmetry="1:C1 2:D2").validate()
        self.assertIn("cannot share one frame", "\n".join(errors))
        errors = self.newPose(symmetry="1:C1 D2", frames=0).validate()
        self.assertIn("class:group of each", "\n".join(errors))
        errors = self.newPose("asideParticles").validate()
        self.assertIn("do not carry the poses", "\n".join(errors))
        message = self.launchRed(
            self.newPose("asideParticles", "outputParticles", matchBy=MATCH_BY_IMAGE)
        )
        self.assertIn("3 images (000001@particles.mrcs", message)


class TestVolumes(MetricsTest):
    """FSC with the truth, and alignment."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        mirrored = cls.structures[0][::-1]
        turned = affine_transform(mirrored, *about_centre(random_rotation(3)), order=3)
        volumes = cls.root._createSetOfVolumes("turned")
        cls.fillVolumes(volumes, [turned, cls.structures[1]], name="turned")
        # The wrong way round: class 1 holds most images of structure 2.
        classes = cls.root._createSetOfClasses3D(common.pointer(cls.root, "outputParticles"))
        cls.members = {
            particle.getObjId(): 2 if particle._gtClass.get() == 1 else 1
            for particle in cls.root.outputParticles
        }
        cls.members[2] = 2
        cls.fillClasses(classes, cls.members, cls.structures[::-1])
        cls.register(cls.root, turnedVolumes=volumes, outputClasses=classes)

    def newFsc(self, output="outputVolumes", **values):
        protocol = self.newProtocol(ApbcProtVolumeFsc, **values)
        self.link(protocol, "inputVolumes", self.root, output)
        self.link(protocol, "truthVolumes", self.root, "outputVolumes")
        return protocol

    def pairs(self, protocol):
        """Class and image of each pair, without launching."""
        given = protocol.inputVolumes.get()
        return [
            (pair.label, pair.image) for pair in protocol._pairVolumes(given, protocol._readTruth())
        ]

    def test_identical_volumes(self):
        protocol = self.newFsc()
        self.assertEqual(protocol.validate(), [])
        self.launchProtocol(protocol)
        self.assertAlmostEqual(protocol.auc.get(), 1, places=6)
        self.assertFalse(hasattr(protocol, "resolution05"))
        self.assertEqual(protocol.outputFSCs.getSize(), 2)
        frequency, values = protocol.outputFSCs.getFirstItem().getData()
        self.assertAlmostEqual(frequency[-1], 1 / (2 * PIXEL_SIZE), places=6)
        np.testing.assert_allclose(list(values), 1, atol=1e-6)
        self.checkFscViewer(protocol)
        self.assertEqual(protocol.outputMetrics.getMethod(), ROOT)
        self.assertIn("stay above up to Nyquist", "\n".join(protocol.summary()))

    def checkFscViewer(self, protocol):
        """Draw the curves with pwem's own viewer, without a window."""
        from matplotlib import pyplot
        from pwem.viewers.viewer_fsc import FscViewer

        pyplot.switch_backend("Agg")
        viewer = FscViewer(project=self.proj, protocol=protocol)
        viewer.visualize(protocol.outputFSCs)
        legend = viewer.plotter.getFigure().axes[0].get_legend()
        told = [text.get_text() for text in legend.get_texts()]
        self.assertEqual(len(told), 2)
        for number, text in enumerate(told, 1):
            start = "volume %d, class %d (%0.4f" % (number, number, 2 * PIXEL_SIZE)
            self.assertTrue(text.startswith(start), text)

    def test_turned_and_mirrored_volumes_are_aligned_and_compared(self):
        protocol = self.newFsc("turnedVolumes", alignVolumes=True, localMask=True)
        self.launchProtocol(protocol)
        self.assertGreater(protocol.auc.get(), 0.8)
        self.assertEqual(protocol.outputVolumes.getSize(), 2)
        told = [(v._apbcMirrored.get(), v._gtClass.get()) for v in protocol.outputVolumes]
        self.assertEqual(told, [(True, 1), (False, 2)])
        figures = self.figures(protocol, "fsc")
        self.assertLess(figures["auc_unaligned_median"], figures["auc_median"])
        self.assertIn("Where the true structures differ", "\n".join(protocol.summary()))
        # Continue with another form measures again.
        area = protocol.auc.get()
        protocol.alignVolumes.set(False)
        protocol.runMode.set(MODE_RESUME)
        self.launchProtocol(protocol)
        self.assertLess(protocol.auc.get(), area)

    def test_a_turned_and_mirrored_volume_is_recovered(self):
        protocol = self.newProtocol(ApbcProtAlignVolume)
        self.link(protocol, "inputVolumes", self.root, "turnedVolumes.1")
        self.link(protocol, "reference", self.root, "outputVolumes.1")
        self.launchProtocol(protocol)
        aligned = protocol.outputVolume
        self.assertTrue(aligned._apbcMirrored.get())
        self.assertEqual(aligned.getSamplingRate(), PIXEL_SIZE)
        with mrcfile.open(self.proj.getPath(aligned.getFileName())) as handle:
            found = np.corrcoef(handle.data.ravel(), self.structures[0].ravel())[0, 1]
        self.assertGreater(found, 0.98)
        self.assertIn("mirrored", "\n".join(protocol.summary()))

    def test_a_reference_of_the_same_set_is_another_volume(self):
        protocol = self.newProtocol(ApbcProtAlignVolume)
        self.link(protocol, "inputVolumes", self.root, "outputVolumes")
        self.link(protocol, "reference", self.root, "outputVolumes.2")
        found = [
            (volume.getObjId(), protocol._getReference().getObjId(), volume.getObjId())
            for volume in protocol._volumes()
        ]
        self.assertEqual(found, [(1, 2, 1), (2, 2, 2)])

    def test_classes_go_with_the_structure_of_most_of_their_images(self):
        protocol = self.newFsc("outputClasses", kind=IMAGE)
        self.assertEqual(protocol.validate(), [])
        self.launchProtocol(protocol)
        # One image of structure 2 is in the class of structure 1.
        self.assertEqual(protocol.outputFSCs.getSize(), 3)
        self.assertLess(protocol.auc.get(), 1)
        self.assertGreater(protocol.auc.get(), 1 - 1 / IMAGES)
        protocol = self.newFsc("outputClasses")
        pairs = protocol._pairClasses(self.root.outputClasses, protocol._readTruth())
        told = [pair.told for pair in pairs]
        half = IMAGES // 2
        self.assertIn("class 1 by volume 2 (%d of %d images)" % (half, half), told)
        self.assertIn("class 2 by volume 1 (%d of %d images)" % (half - 1, half), told)

    def test_volumes_of_images_are_paired_by_the_class_of_their_particle(self):
        latents = np.random.default_rng(4).normal(0, 1, (IMAGES, 3))
        particles = SetOfParticlesFlex.create(self.root._getPath())
        self.fillParticles(particles, self.poses, latents=latents)
        decoded = SetOfVolumesFlex.create(self.root._getPath())
        images = (4, 7, 8)
        places = [latents[image] + 0.01 for image in images]
        self.fillVolumes(decoded, [self.structures[0]] * 3, name="flex", latents=places)
        self.register(self.root, flexVolumes=decoded, flexParticles=particles)
        protocol = self.newFsc(
            "flexVolumes", kind=IMAGE, pairing=BY_IMAGE, imageLink=IMAGE_BY_LATENT
        )
        self.assertIn("Give the particles", "\n".join(protocol.validate()))
        self.link(protocol, "inputParticles", self.root, "flexParticles")
        self.assertEqual(protocol.validate(), [])
        # Particles count from 1.
        expected = [(self.labels[image], image + 1) for image in images]
        self.assertEqual(self.pairs(protocol), expected)
        protocol.imageLink.set(IMAGE_BY_ID)
        self.assertEqual(self.pairs(protocol), [(1, 1), (2, 2), (1, 3)])

    def test_what_has_no_partner_is_named(self):
        three = self.root._createSetOfVolumes("three")
        self.fillVolumes(three, [*self.structures, self.structures[0]], name="three")
        one = self.root._createSetOfVolumes("one")
        self.fillVolumes(one, self.structures[:1], name="one")
        self.register(self.root, threeVolumes=three, oneVolumes=one)
        message = self.launchRed(self.newFsc("threeVolumes"))
        self.assertIn("Volumes without a ground truth: 3 (the truth has the classes 1, 2)", message)
        for output, pairing, words in (
            ("oneVolumes", BY_ID, "Structures of the ground truth without a volume: 2"),
            ("threeVolumes", BY_ORDER, "There are 3 volumes and 2 true ones"),
            ("threeVolumes", BY_ATTRIBUTE, "without the attribute '_gtClass': 1, 2, 3"),
        ):
            with self.subTest(output, pairing=pairing), self.assertRaisesRegex(ValueError, words):
                self.pairs(self.newFsc(output, pairing=pairing))

    def test_numbers_of_classes_are_no_truth(self):
        self.assertIn("of a classification", "\n".join(self.newFsc().warnings()))
        self.assertEqual(self.newFsc(pairing=BY_ATTRIBUTE).warnings(), [])
        self.assertEqual(self.newFsc("outputClasses").warnings(), [])

    def test_other_grids_are_refused(self):
        small = self.root._createSetOfVolumes("small")
        self.fillVolumes(small, make_structures(box=24), name="small")
        flat = self.root._createSetOfVolumes("flat")
        self.fillVolumes(flat, [one[:, :, 4:] for one in self.structures], name="flat")
        self.register(self.root, smallVolumes=small, flatVolumes=flat)
        for output, words in (
            ("smallVolumes", "differ in box, 24 and %d voxels" % BOX),
            ("flatVolumes", "and must be cubic"),
        ):
            self.assertIn(words, "\n".join(self.newFsc(output).validate()))


class TestLatentMetrics(MetricsTest):
    """Latent spaces and classes against the truth, the report of several, and the viewers."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        angles = 100 + 0.3 * cls.angles[:, None]
        cls.latents = {
            "good": np.hstack([angles, np.zeros_like(angles)]),
            "poor": np.random.default_rng(6).normal(0, 1, (IMAGES, 2)),
        }
        cls.latents["broken"] = cls.latents["poor"].copy()
        cls.latents["broken"][4] = np.nan
        outputs = {}
        for name, latents in cls.latents.items():
            particles = SetOfParticlesFlex.create(cls.root._getPath(), suffix=name)
            cls.fillParticles(particles, cls.poses, latents=latents)
            outputs[name + "Particles"] = particles
        cls.register(cls.root, **outputs)

    def newLatent(self, name, **values):
        values.setdefault("doEmbedding", False)
        protocol = self.newProtocol(ApbcProtLatentMetrics, methodName=name, **values)
        self.link(protocol, "inputSet", self.root, name + "Particles")
        return protocol

    def test_report_of_a_good_and_a_poor_latent_space(self):
        good = self.newLatent("good", continuousAttributes="_gtAngle", doEmbedding=True, picture=1)
        poor = self.newLatent("poor", continuousAttributes="_gtAngle")
        for protocol in (good, poor):
            self.assertEqual(protocol.validate(), [])
            self.launchProtocol(protocol)
        self.assertEqual(good.outputMetrics.getMetrics(), ["neighbours", "imbalance", "embedding"])
        found = self.figures(good, "neighbours")
        self.assertAlmostEqual(found["similarity_5pct"], 100, places=6)
        self.assertAlmostEqual(found["score"], 1, places=6)
        self.assertLess(abs(self.figures(poor, "neighbours")["score"]), 0.2)
        self.assertLess(self.figures(good, "imbalance")["latent_to_truth"], 0.01)
        self.assertGreater(self.figures(poor, "imbalance")["latent_to_truth"], 0.8)
        self.assertGreater(self.figures(good, "imbalance")["latent_to_pose"], 0.8)
        self.assertIn("AMI", "\n".join(good.summary()))
        for target in (good, good.outputMetrics):
            self.checkWindow(target, ("Neighbours", "Imbalance", "Embedding", "k-means clusters"))
        report = self.newProtocol(ApbcProtMetricsReport)
        self.assertIn("There are no metrics", "\n".join(report.validate()))
        report.inputMetrics.append(common.pointer(good, "outputMetrics"))
        self.assertIn("nothing is compared", "\n".join(report.warnings()))
        report.inputMetrics.append(common.pointer(good, "outputMetrics"))
        self.assertIn("a method called good", "\n".join(report.validate()))
        del report.inputMetrics[-1]
        report.inputMetrics.append(common.pointer(poor, "outputMetrics"))
        self.assertEqual(report.validate(), [])
        self.launchProtocol(report)
        folder = os.path.dirname(report.getReportPath())
        for name in ("report.html", "report.csv"):
            with open(os.path.join(folder, name)) as handle:
                text = handle.read()
            self.assertIn("good", text)
            self.assertIn("poor", text)
        with open(os.path.join(folder, "leaderboard.json")) as handle:
            found = json.load(handle)
        score = next(one for one in found["metrics"] if one["metric"] == "neighbours")
        self.assertEqual(score["figures"]["score"]["ranking"], ["good", "poor"])
        self.assertIn("good, poor", "\n".join(report.summary()))
        self.assertIn("good 1.000", "\n".join(report.summary()))
        window = self.checkWindow(report, ("Comparison",))
        self.assertEqual(window.grid.header, ["figure", "unit", "better", "good", "poor"])
        with mock.patch("webbrowser.open", return_value=True) as opened:
            window.openPage()
        self.assertTrue(opened.call_args[0][0].endswith("report/report.html"))

    def checkWindow(self, target, titles):
        """Open the viewer that Scipion finds, look at its tabs, and close it."""
        screen.need_screen()
        found = Config.getDomain().findViewers(target, DESKTOP_TKINTER)
        self.assertEqual(found[0].__name__, "ApbcMetricsViewer")
        window = found[0](project=self.proj).makeWindow(target)
        self.addCleanup(window.close)
        screen.pump(window)
        self.assertEqual(tuple(window.pictures), titles)
        self.assertTrue(window.grid.getRows())
        return window

    def test_classes_are_clusters(self):
        classes = self.root._createSetOfClasses3D(common.pointer(self.root, "outputParticles"))
        members = dict(enumerate(self.labels, 1))
        members[1], members[2] = members[2], members[1]
        self.fillClasses(classes, members, self.structures)
        self.register(self.root, latentClasses=classes)
        protocol = self.newProtocol(ApbcProtLatentMetrics)
        self.link(protocol, "inputSet", self.root, "latentClasses")
        self.assertEqual(protocol.validate(), [])
        self.launchProtocol(protocol)
        found = self.figures(protocol, "embedding")
        self.assertAlmostEqual(found["clusters_accuracy"], 1 - 2 / IMAGES, places=6)
        self.assertEqual(protocol.outputMetrics.getMetrics(), ["embedding"])

    def test_refused(self):
        message = self.launchRed(self.newLatent("broken"))
        self.assertIn("no numbers (NaN or infinity): particles 5.", message)
        errors = self.newLatent("good", classAttribute="_nothing").validate()
        self.assertIn("no attribute '_nothing'", "\n".join(errors))
        errors = self.newLatent("good", doNeighbours=False, doImbalance=False).validate()
        self.assertIn("No metric is chosen", "\n".join(errors))
        one = self.root._createSetOfParticles("one")
        for particle in self.root.outputParticles:
            if particle._gtClass.get() == 1:
                one.append(particle.clone())
        self.register(self.root, oneParticles=one)
        protocol = self.newLatent("one", latentAttributes="_gtAngle _gtPsi")
        with self.assertRaisesRegex(ValueError, "All particles are of class 1"):
            protocol._writeTruth(truth_tables.object_id)


def about_centre(matrix):
    """Matrix and offset for scipy to turn a volume about its centre; (x, y, z) to (z, y, x)."""
    matrix = matrix[::-1, ::-1]
    centre = np.full(3, BOX // 2)
    return matrix, centre - matrix @ centre
