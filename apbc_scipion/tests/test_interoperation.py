"""Coordinates and classes to other programs and back, with their own programs and converters."""

import glob
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import mrcfile
import numpy as np
from emtable import Table
from pwem.objects import SetOfCoordinates
from pwem.protocols import ProtImportCoordinates, ProtImportParticles
from pyworkflow.tests import BaseTest, setupTestProject
from pyworkflow.utils import cleanPath, makePath

from apbc_scipion import convert, headless
from apbc_scipion.protocols import ApbcProtCreateTrainingSet, ApbcProtExport
from apbc_scipion.protocols.protocol_create_training_set import CLASSES, PARTICLES
from apbc_scipion.tests import common

SHAPE = (384, 320)  # rows, columns: rectangular
BOX = 32
STEP = 44
NAMES = ("a/one.mrc", "a/two.mrc", "b/one.mrc")  # two of one name
DEPTH = -100.0
KINDS = ("good", "bad")


def plugin(name):
    """Module of another plugin, from the environment or the folder of scripts/setup.sh."""
    folder = os.path.join(sys.prefix, "interop")
    if importlib.util.find_spec(name) is None and os.path.isdir(os.path.join(folder, name)):
        sys.path.append(folder)
    if importlib.util.find_spec(name) is None:
        raise unittest.SkipTest("SKIPPED: there is no plugin %s (scripts/setup.sh gets it)" % name)
    return importlib.import_module(name)


def write_spots(folder):
    """Write noise with a dark pixel at every particle; return ``{kind: {name: [(x, y)]}}``."""
    rng = np.random.default_rng(3)
    spots = {kind: {} for kind in KINDS}
    for name in NAMES:
        cells = [
            (x + rng.integers(-4, 5), y + rng.integers(-4, 5))
            for y in range(28, SHAPE[0] - 28, STEP)
            for x in range(28, SHAPE[1] - 28, STEP)
        ]
        rng.shuffle(cells)
        image = rng.normal(0, 1, SHAPE)
        for kind, places in (("good", cells[:16]), ("bad", cells[16:34])):
            spots[kind][name] = [(int(x), int(y)) for x, y in places]
            for x, y in places:
                image[y, x] = DEPTH
        path = os.path.join(folder, name)
        makePath(os.path.dirname(path))
        with mrcfile.new(path) as handle:
            handle.set_data(image.astype(np.float32))
            handle.voxel_size = common.PIXEL_SIZE
    return spots


def write_relion_micrographs(star, names):
    """Write the star file of the micrographs of a Relion project."""
    with open(star, "w") as handle:
        handle.write(
            "data_optics\n\nloop_\n_rlnOpticsGroupName\n_rlnOpticsGroup\n"
            "_rlnMicrographPixelSize\n_rlnMicrographOriginalPixelSize\n_rlnVoltage\n"
            "_rlnSphericalAberration\n_rlnAmplitudeContrast\none 1 4.0 4.0 300 2.7 0.1\n\n"
            "data_micrographs\n\nloop_\n_rlnMicrographName\n_rlnOpticsGroup\n"
        )
        handle.writelines("%s 1\n" % name for name in names)


class InteroperationTest(BaseTest):
    """Micrographs of nested folders, good and bad coordinates, made once."""

    @classmethod
    def setUpClass(cls):
        problem = headless.relion_problem()
        if problem:
            raise unittest.SkipTest("SKIPPED: these tests need Relion, but %s" % problem)
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-interoperation-")
        cls.spots = write_spots(cls.path("Raw"))
        cls.protMics = common.import_micrographs(cls, cls.path("Raw", "*", "*.mrc"))
        cls.mics = {}
        for mic in cls.protMics.outputMicrographs:
            source = os.path.realpath(mic.getFileName())
            cls.mics[os.path.relpath(source, os.path.realpath(cls.path("Raw")))] = mic.clone()
        points = {
            convert.stem_of(mic.getMicName()): cls.spots["good"][name] + cls.spots["bad"][name]
            for name, mic in cls.mics.items()
        }
        cls.protCoords = common.import_coordinates(
            cls, cls.protMics, points, cls.path("all.sqlite"), "all"
        )
        cls.coordinates = cls.protCoords.outputCoordinates

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.folder, *names)

    @classmethod
    def allSpots(cls):
        """Places of all particles by name of the micrograph, sorted."""
        return {name: sorted(cls.spots["good"][name] + cls.spots["bad"][name]) for name in NAMES}

    @classmethod
    def nameOf(cls, mic):
        """Name in the folder Raw of a micrograph, by its id."""
        return next(name for name, one in cls.mics.items() if one.getObjId() == mic)

    @classmethod
    def link(cls, protocol, parameter, source, output):
        getattr(protocol, parameter).set(source)
        getattr(protocol, parameter).setExtended(output)
        return protocol

    @classmethod
    def extract(cls, label, **values):
        """Extract particles with Relion through Scipion."""
        from relion.protocols import ProtRelionExtractParticles

        protocol = cls.newProtocol(
            ProtRelionExtractParticles,
            boxSize=BOX,
            doInvert=False,
            doNormalize=False,
            saveFloat16=False,
            numberOfMpi=1,
            numberOfThreads=1,
            objLabel=label,
            **values,
        )
        cls.link(protocol, "inputCoordinates", cls.protCoords, "outputCoordinates")
        cls.launchProtocol(protocol)
        return protocol

    def assertCentred(self, stack, number):
        """The dark pixel is the centre of the particle."""
        with mrcfile.open(stack, permissive=True) as handle:
            image = handle.data.reshape(-1, BOX, BOX)[number - 1]
        self.assertEqual(np.unravel_index(image.argmin(), image.shape), (BOX // 2, BOX // 2))
        self.assertLess(image.min(), DEPTH / 2)


class TestExport(InteroperationTest):
    """The protocol that writes files for other programs."""

    def export(self, **values):
        protocol = self.newProtocol(ApbcProtExport, **values)
        self.link(protocol, "inputCoordinates", self.protCoords, "outputCoordinates")
        self.launchProtocol(protocol)
        return protocol

    def relionExtracts(self, project, micrographs, suffixFile):
        """Run Relion's extraction in a project folder, as its window does for a suffix file."""
        folder, name = os.path.split(suffixFile)
        cleanPath(os.path.join(project, "Extract"))
        makePath(os.path.join(project, "Extract", "job009"))
        done = subprocess.run(
            ["relion_preprocess", "--i", micrographs, "--coord_dir", folder + "/"]
            + ["--coord_suffix", name[len("coords_suffix") :]]
            + ["--part_star", "Extract/job009/particles.star", "--part_dir", "Extract/job009/"]
            + ["--extract", "--extract_size", str(BOX)],
            cwd=project,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotIn("does not exist", done.stdout)
        found = {}
        star = os.path.join(project, "Extract", "job009", "particles.star")
        for row in Table.iterRows("particles@" + star):
            number, stack = row.rlnImageName.split("@")
            self.assertCentred(os.path.join(project, stack), int(number))
            place = (round(row.rlnCoordinateX), round(row.rlnCoordinateY))
            found.setdefault(row.rlnMicrographName, []).append(place)
        return {name: sorted(places) for name, places in found.items()}

    def test_relion_extracts_in_the_scipion_project(self):
        protocol = self.export(exportStar=True, exportCsv=True)
        found = self.relionExtracts(
            ".",
            protocol.getExportPath("micrographs.star"),
            protocol.getExportPath("coords_suffix_apbc.star"),
        )
        expected = {self.mics[name].getFileName(): spots for name, spots in self.allSpots().items()}
        self.assertEqual(found, expected)
        told = " ".join(protocol.summary())
        self.assertIn("*102* coordinates on *3* micrographs", told)
        self.assertIn(os.path.abspath(protocol.getExportPath()), told)

        for name, mic in self.mics.items():
            base = os.path.splitext(protocol.getExportPath(mic.getFileName()))[0]
            corners = np.loadtxt(base + ".box")
            self.assertTrue((corners[:, 2:] == 46).all(), "the box size of the coordinates")
            places = sorted((int(x) + 23, int(y) + 23) for x, y in corners[:, :2])
            self.assertEqual(places, self.allSpots()[name])
            rows = np.loadtxt(base + ".csv", delimiter=",", skiprows=1)
            self.assertEqual(sorted((x, y) for x, y in rows), self.allSpots()[name])
        rows = list(Table.iterRows(protocol.getExportPath("coordinates.star")))
        self.assertEqual(len(rows), 102)

    def test_relion_extracts_in_a_project_of_its_own(self):
        """The project of Relion lies elsewhere, and its micrographs in a folder of a job."""
        project = self.path("relion")
        names = {}
        for name, mic in self.mics.items():
            base = os.path.basename(mic.getFileName())
            names[name] = "MotionCorr/job002/Raw/%s/%s" % (os.path.dirname(name), base)
            makePath(os.path.dirname(os.path.join(project, names[name])))
            shutil.copy(self.path("Raw", name), os.path.join(project, names[name]))
        star = os.path.join(project, "MotionCorr", "job002", "corrected_micrographs.star")
        write_relion_micrographs(star, names.values())
        protocol = self.export(relionMicrographs=star)
        found = self.relionExtracts(
            project, star, os.path.abspath(protocol.getExportPath("coords_suffix_apbc.star"))
        )
        expected = {names[name]: spots for name, spots in self.allSpots().items()}
        self.assertEqual(found, expected)
        for row in Table.iterRows("coordinate_files@" + protocol.getExportPath("autopick.star")):
            self.assertIn(row.rlnMicrographName, expected)
            self.assertTrue(os.path.isabs(row.rlnMicrographCoordinates))
            self.assertTrue(os.path.exists(row.rlnMicrographCoordinates))

    def test_eman_reads_the_boxes(self):
        plugin("eman2")
        from eman2.convert.dataimport import EmanImport

        protocol = self.export(exportRelion=False, boxSize=BOX)
        for name, mic in self.mics.items():
            path = os.path.splitext(protocol.getExportPath(mic.getFileName()))[0] + ".box"
            reader, found = EmanImport(self.newProtocol(ProtImportCoordinates)), []
            self.assertEqual(reader.getBoxSize(path), BOX)
            reader.importCoordinates(path, found.append)
            places = sorted(coordinate.getPosition() for coordinate in found)
            self.assertEqual(places, self.allSpots()[name])

    def test_what_is_not_in_relion_is_told(self):
        star = self.path("few.star")
        with open(star, "w") as handle:
            handle.write("data_\n\nloop_\n_rlnMicrographName\nRaw/a/two.mrc\n")
        protocol = self.export(relionMicrographs=star, exportEman=False)
        self.assertIn("*2 micrographs are left out*", " ".join(protocol.summary()))
        self.assertTrue(os.path.exists(protocol.getExportPath("Raw", "a", "two_apbc.star")))

    def test_bad_input(self):
        protocol = self.newProtocol(ApbcProtExport, exportRelion=False, exportEman=False)
        self.link(protocol, "inputCoordinates", self.protCoords, "outputCoordinates")
        self.assertIn("Choose at least one format.", protocol._validate())
        protocol.exportRelion.set(True)
        self.assertEqual(protocol._validate(), [])
        protocol.relionMicrographs.set("nowhere.star")
        self.assertEqual(protocol._validate(), ["There is no file nowhere.star."])


class ExtractedTest(InteroperationTest):
    """Particles that Relion extracted at the pixel size of the micrographs, and at twice it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.protParticles = cls.extract("full size", doRescale=False)
        cls.protSmall = cls.extract("half size", doRescale=True, rescaledSize=BOX // 2)


class TestConverters(ExtractedTest):
    """The converters of the plugins of Relion, Xmipp and cryoSPARC."""

    def test_particles_are_centred_on_their_coordinates(self):
        particles = self.protParticles.outputParticles
        found = {name: [] for name in NAMES}
        for particle in particles:
            number, stack = particle.getLocation()
            self.assertCentred(stack, number)
            coordinate = particle.getCoordinate()
            place = tuple(int(value) for value in coordinate.getPosition())
            found[self.nameOf(coordinate.getMicId())].append(place)
        self.assertEqual({name: sorted(v) for name, v in found.items()}, self.allSpots())

    def test_coordinates_through_xmipp_and_back(self):
        plugin("xmipp3")
        from xmipp3.convert import readSetOfCoordinates, writeSetOfCoordinates

        folder = self.path("pos")
        makePath(folder)
        writeSetOfCoordinates(folder, self.coordinates)
        self.assertEqual(len(glob.glob(os.path.join(folder, "*.pos"))), 3)
        back = SetOfCoordinates(filename=":memory:")
        back.setMicrographs(self.protMics.outputMicrographs)
        readSetOfCoordinates(folder, self.protMics.outputMicrographs, back)
        self.assertEqual(back.getBoxSize(), self.coordinates.getBoxSize())
        found = {name: [] for name in NAMES}
        for coordinate in back.iterItems():
            found[self.nameOf(coordinate.getMicId())].append(coordinate.getPosition())
        self.assertEqual({name: sorted(v) for name, v in found.items()}, self.allSpots())

    def test_particles_to_cryosparc(self):
        """The star file that its plugin imports carries coordinates and micrographs as they are."""
        plugin("cryosparc2")
        from cryosparc2.convert import writeSetOfParticles

        folder = self.path("cryosparc")
        makePath(folder)
        star = os.path.join(folder, "input_particles.star")
        writeSetOfParticles(self.protParticles.outputParticles, star, folder)
        found = {}
        for row in Table.iterRows("particles@" + star):
            place = (round(row.rlnCoordinateX), round(row.rlnCoordinateY))
            found.setdefault(row.rlnMicrographName, []).append(place)
            number, stack = row.rlnImageName.split("@")
            self.assertCentred(os.path.join(folder, stack), int(number))
        expected = {self.mics[name].getMicName(): v for name, v in self.allSpots().items()}
        self.assertEqual({name: sorted(v) for name, v in found.items()}, expected)


class TestClasses(ExtractedTest):
    """Good and bad particles come from the classes of three programs alike.

    Classes 1 and 3 hold the good particles, class 2 the bad ones. The classes are read from the
    files of each program by its own plugin; the particles were cut at half the size of a pixel.
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        kinds = {(cls.mics[name].getObjId(), *place): kind for kind, name, place in cls.iterSpots()}
        cls.classes = {}
        for protocol in (cls.protParticles, cls.protSmall):
            for particle in protocol.outputParticles:
                x, y = (
                    value * cls.scaleOf(protocol)
                    for value in particle.getCoordinate().getPosition()
                )
                near = [
                    kind
                    for (mic, *place), kind in kinds.items()
                    if mic == particle.getMicId() and np.hypot(x - place[0], y - place[1]) <= 2
                ]
                assert len(near) == 1, "a particle belongs to one spot"
                number = particle.getObjId()
                cls.classes[protocol, number] = 2 if near[0] == "bad" else 1 + 2 * (number % 2)

    @classmethod
    def iterSpots(cls):
        for kind in KINDS:
            for name, places in cls.spots[kind].items():
                for place in places:
                    yield kind, name, place

    @classmethod
    def scaleOf(cls, protocol):
        return protocol.outputParticles.getSamplingRate() / common.PIXEL_SIZE

    def averages(self, protocol, folder):
        """Class averages of random pixels."""
        makePath(folder)
        path = os.path.join(folder, "averages.mrcs")
        side = protocol.outputParticles.getDim()[0]
        with mrcfile.new(path, overwrite=True) as handle:
            handle.set_data(np.random.default_rng(1).normal(size=(3, side, side)).astype("f4"))
        return path

    def readByRelion(self, protocol):
        """Write what relion_refine leaves behind, and let Relion's plugin read it."""
        from relion.convert import createWriter
        from relion.protocols import ProtRelionClassify2D

        reader = self.newProtocol(ProtRelionClassify2D)
        self.link(reader, "inputParticles", protocol, "outputParticles")
        reader.setWorkingDir(self.path("relion_%g" % self.scaleOf(protocol)))
        makePath(reader._getExtraPath())
        reader._initialize()
        star = reader._getFileName("data", iter=1)
        createWriter(rootDir=".", outputDir=reader._getExtraPath()).writeSetOfParticles(
            protocol.outputParticles,
            star,
            postprocessImageRow=lambda part, row: row.update(
                rlnClassNumber=self.classes[protocol, part.getObjId()],
                rlnOriginXAngst=5.0,
                rlnOriginYAngst=-3.0,
                rlnAnglePsi=30.0,
            ),
        )
        averages = self.averages(protocol, reader._getExtraPath())
        with open(reader._getFileName("model", iter=1), "w") as handle:
            handle.write(
                "data_model_classes\n\nloop_\n_rlnReferenceImage\n_rlnClassDistribution\n"
                "_rlnAccuracyRotations\n_rlnAccuracyTranslationsAngst\n"
            )
            handle.writelines("%06d@%s 0.33 1.0 1.0\n" % (n, averages) for n in (1, 2, 3))
        classes = protocol._createSetOfClasses2D(reader.inputParticles, suffix="Relion")
        reader._fillClassesFromIter(classes, 1)
        return classes

    def readByXmipp(self, protocol):
        """Write the classes by Xmipp's plugin and let it read them."""
        plugin("xmipp3")
        from xmipp3.convert import readSetOfClasses2D, writeSetOfClasses2D

        xmd = self.path("classes_%g.xmd" % self.scaleOf(protocol))
        cleanPath(xmd)
        source = self.readByRelion(protocol)
        writeSetOfClasses2D(source, xmd)
        source.close()
        classes = protocol._createSetOfClasses2D(
            common.pointer(protocol, "outputParticles"), suffix="Xmipp"
        )
        readSetOfClasses2D(classes, xmd)
        return classes

    def readByCryosparc(self, protocol):
        """Write the star files that pyem makes of cryoSPARC's, and let the plugin read them."""
        plugin("cryosparc2")
        from cryosparc2.protocols import ProtCryo2D

        reader = self.newProtocol(ProtCryo2D)
        self.link(reader, "inputParticles", protocol, "outputParticles")
        reader.setWorkingDir(self.path("cryosparc_%g" % self.scaleOf(protocol)))
        makePath(reader._getExtraPath())
        reader._defineFileNames()
        with open(reader._getFileName("out_particles"), "w") as handle:
            handle.write(
                "data_particles\n\nloop_\n_rlnImageName\n_rlnClassNumber\n_rlnOriginXAngst\n"
                "_rlnOriginYAngst\n_rlnAnglePsi\n"
            )
            for particle in protocol.outputParticles:
                number = self.classes[protocol, particle.getObjId()]
                handle.write("%d@%s %d 5.0 -3.0 30.0\n" % (*particle.getLocation(), number))
        averages = self.averages(protocol, reader._getExtraPath())
        with open(reader._getFileName("out_class"), "w") as handle:
            handle.write("data_particles\n\nloop_\n_rlnImageName\n")
            name = os.path.basename(averages)
            handle.writelines("%06d@J1/%s\n" % (n, name) for n in (1, 2, 3))
        reader._createModelFile()
        reader._loadClassesInfo(reader._getFileName("out_class_m2"))
        classes = protocol._createSetOfClasses2D(reader.inputParticles, suffix="Cryosparc")
        reader._fillClassesFromLevel(classes)
        return classes

    def labels(self, protocol, classes, name):
        """Labels in the training set from a set of classes: good and bad by micrograph."""
        protocol._defineOutputs(**{name: classes})
        classes.close()
        dataset = self.newProtocol(
            ApbcProtCreateTrainingSet,
            inputType=CLASSES,
            goodClasses="1,3",
            badClasses="2",
            particleDiameter=common.DIAMETER,
            objLabel="training set of " + name,
        )
        self.link(dataset, "inputClasses", protocol, name)
        self.launchProtocol(dataset)
        self.assertEqual(dataset.outputDataset.getCounts(), (48, 54))
        found = {}
        for kind in KINDS:
            for path in glob.glob(dataset._getExtraPath("input", kind, "*.csv")):
                label = os.path.splitext(os.path.basename(path))[0]
                rows = np.genfromtxt(path, delimiter=",", names=True)
                # rlnOriginXAngst and rlnOriginYAngst, turned round: where the particles lie
                np.testing.assert_allclose(rows["shift_x"], -5, atol=0.01)
                np.testing.assert_allclose(rows["shift_y"], 3, atol=0.01)
                self.assertEqual(set(rows["view"]), {"good": {1, 3}, "bad": {2}}[kind])
                found[kind, label] = np.stack([rows["x"], rows["y"]], axis=1)
        return found

    def checkAlike(self, protocol, tolerance):
        for name, read in (
            ("Relion", self.readByRelion),
            ("Xmipp", self.readByXmipp),
            ("Cryosparc", self.readByCryosparc),
        ):
            with self.subTest(name):
                found = self.labels(protocol, read(protocol), "classes" + name)
                self.assertEqual(len(found), 2 * len(NAMES))
                for kind in KINDS:
                    for mic, places in self.spots[kind].items():
                        label = convert.stem_of(self.mics[mic].getMicName())
                        wanted = np.array(places, float)
                        rows = found[kind, label]
                        self.assertEqual(len(rows), len(wanted))
                        away = np.abs(rows[:, None] - wanted[None]).max(axis=2).min(axis=1)
                        self.assertLessEqual(away.max(), tolerance)

    def test_particles_of_full_size(self):
        self.checkAlike(self.protParticles, 0)

    def test_particles_of_half_size(self):
        # Scipion keeps coordinates as whole pixels of the particles, here of twice the size.
        self.checkAlike(self.protSmall, 1)


class TestImported(InteroperationTest):
    """Particles that Relion extracted on its own, at twice the pixel size, and Scipion imports."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Relion's plugin knows imported micrographs by file name alone: take one of each name.
        cls.names = NAMES[:2]
        cls.imports = {kind: cls.importParticles(kind, cls.extractByRelion(kind)) for kind in KINDS}

    @classmethod
    def extractByRelion(cls, kind):
        """Run Relion in a project folder of its own; return the star file of the particles."""
        job = "Extract/%s/" % kind
        makePath(cls.path(job))
        write_relion_micrographs(cls.path(kind + ".star"), ["Raw/" + name for name in cls.names])
        for name in cls.names:
            star = "%s_%s.star" % (os.path.splitext(cls.path("Raw", name))[0], kind)
            with open(star, "w") as handle:
                handle.write("data_\n\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n")
                handle.writelines("%d %d\n" % place for place in cls.spots[kind][name])
        subprocess.run(
            ["relion_preprocess", "--i", kind + ".star", "--coord_dir", "./"]
            + ["--coord_suffix", "_%s.star" % kind, "--part_star", job + "particles.star"]
            + ["--part_dir", job, "--extract", "--extract_size", str(BOX)]
            + ["--scale", str(BOX // 2)],
            cwd=cls.folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return cls.path(job, "particles.star")

    @classmethod
    def importParticles(cls, kind, star):
        protocol = cls.newProtocol(
            ProtImportParticles,
            importFrom=ProtImportParticles.IMPORT_FROM_RELION,
            starFile=star,
            samplingRate=2 * common.PIXEL_SIZE,
            objLabel="import %s particles" % kind,
        )
        cls.launchProtocol(protocol)
        return protocol

    def test_labels_are_the_spots(self):
        dataset = self.newProtocol(
            ApbcProtCreateTrainingSet, inputType=PARTICLES, particleDiameter=common.DIAMETER
        )
        for kind, protocol in self.imports.items():
            particles = common.pointer(protocol, "outputParticles")
            getattr(dataset, kind + "Particles").append(particles)
        self.link(dataset, "inputMicrographs", self.protMics, "outputMicrographs")
        self.launchProtocol(dataset)
        for kind in KINDS:
            for name in self.names:
                label = convert.stem_of(self.mics[name].getMicName())
                path = dataset._getExtraPath("input", kind, label + ".csv")
                rows = np.loadtxt(path, delimiter=",", skiprows=1)
                self.assertEqual(sorted(map(tuple, rows)), sorted(self.spots[kind][name]))
