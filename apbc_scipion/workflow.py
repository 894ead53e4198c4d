"""The whole path as one function: micrographs, labels, training, picking, evaluation.

The demo, the tests and the benchmark run the same protocols with other data and other settings.
"""

import csv
import logging
import os
import time
from dataclasses import dataclass, field
from typing import Dict, List, Optional

import pyworkflow.utils as pwutils
from pwem.objects import Coordinate, SetOfCoordinates
from pwem.protocols import ProtImportCoordinates, ProtImportMicrographs
from pyworkflow.object import Pointer

from apbc_scipion.choose_classes import choose_classes, describe_classes
from apbc_scipion.convert import labels_of, nearest, stem_of
from apbc_scipion.protocols import (
    ApbcProtCreateTrainingSet,
    ApbcProtEvaluate,
    ApbcProtPick,
    ApbcProtTrain,
)

logger = logging.getLogger(__name__)

# Shares of the diameter between which the blind picker looks. It is to pick too much: what is no
# particle then gets classes of its own.
LOG_DIAMETERS = (0.8, 1.2)
# Pixels along the particle's diameter in the images that are classified.
CLASS_PIXELS = 20


class WorkflowError(Exception):
    """A protocol of the workflow failed; the message says which and why."""


@dataclass
class Settings:
    """What the workflow needs to know.

    Attributes
    ----------
    micrographs : list of str
        Files to pick.
    pixelSize, diameter : float
        Å.
    training : list of str
        Stems of the micrographs the labels are taken from; the others are held out for the
        evaluation. Empty: all.
    good, bad, truth : dict, optional
        Coordinates by stem: labels to use when Relion makes none, and the truth.
    """

    micrographs: List[str]
    pixelSize: float
    diameter: float
    training: List[str] = field(default_factory=list)
    good: Optional[Dict[str, list]] = None
    bad: Optional[Dict[str, list]] = None
    truth: Optional[Dict[str, list]] = None
    useRelion: bool = True
    useGpu: bool = False
    threads: int = 2
    epochs: int = 0
    classes: int = 12
    iterations: int = 15
    logThreshold: float = 0.0
    seed: int = 1
    edge: float = 0.0
    voltage: float = 300.0
    sphericalAberration: float = 2.7
    amplitudeContrast: float = 0.1


class Workflow:
    """Run the protocols one after another in a project.

    Parameters
    ----------
    project : pyworkflow.project.Project
    settings : Settings
    folder : str
        For files that are imported.
    """

    def __init__(self, project, settings, folder):
        self.project = project
        self.settings = settings
        self.folder = os.path.abspath(folder)
        self.seconds = {}
        os.makedirs(folder, exist_ok=True)

    # ----------------------------- the path --------------------------------------
    def run(self):
        """Run everything.

        Returns
        -------
        dict
            The protocols by name, and ``figures`` where there is a truth.
        """
        done = {}
        every = [stem_of(path) for path in self.settings.micrographs]
        training = self.settings.training or every
        done["micrographs"] = allMics = self.importMicrographs("all micrographs", every)
        done["training"] = trainMics = (
            allMics
            if set(training) == set(every)
            else self.importMicrographs("training micrographs", training)
        )
        if self.settings.useRelion:
            done.update(self.classify(trainMics))
            done["dataset"] = self.datasetFromClasses(done["classes"])
        else:
            done["dataset"] = self.datasetFromCoordinates(trainMics)
        done["model"] = self.train(done["dataset"])
        done["picks"] = self.pick(allMics, done["model"])
        if self.settings.useRelion:
            done["particles"] = self.extract(done["picks"], linked=True)
        if self.settings.truth:
            done["evaluation"] = self.evaluate(
                allMics, done["picks"], done["model"] if len(training) < len(every) else None
            )
        return done

    def classify(self, protMics):
        """Pick blindly, extract and classify with Relion; choose classes by the rule.

        Returns
        -------
        dict
            ``log``, ``blind`` and ``classes``: the protocols.
        """
        from relion.protocols import ProtRelionAutopickLoG, ProtRelionClassify2D

        diameter, box = self.settings.diameter, self.box()
        log = self.newProtocol(
            ProtRelionAutopickLoG,
            "blind picking (LoG)",
            boxSize=box,
            minDiameter=int(diameter * LOG_DIAMETERS[0]),
            maxDiameter=int(diameter * LOG_DIAMETERS[1]),
            threshold=self.settings.logThreshold,
            streamingBatchSize=0,
            numberOfMpi=1,
            numberOfThreads=1,
        )
        log.inputMicrographs.set(protMics)
        log.inputMicrographs.setExtended("outputMicrographs")
        self.launch(log)
        blind = self.extract(log, linked=False)
        classes = self.newProtocol(
            ProtRelionClassify2D,
            "2D classification",
            numberOfClasses=self.settings.classes,
            maskDiameterA=int(diameter * 1.3),
            useGradientAlg=False,
            doGpu=False,
            doCTF=False,
            numberOfIterations=self.settings.iterations,
            allParticlesRam=True,
            extraParams="--random_seed %d" % self.settings.seed,
            offsetSearchRangePix=3,
            numberOfMpi=1,
            numberOfThreads=self.settings.threads,
        )
        classes.inputParticles.set(blind)
        classes.inputParticles.setExtended("outputParticles")
        self.launch(classes)
        return {"log": log, "blind": blind, "classes": classes}

    def datasetFromClasses(self, protClasses):
        """Create the training set from classes chosen by the rule."""
        described = describe_classes(protClasses.outputClasses, self.settings.diameter)
        # Nobody is there to ask.
        chosen = choose_classes(described, unattended=True)
        if chosen.doubt:
            logger.warning("Doubtful classes: %s", chosen.doubt)
        for item in described:
            logger.info(
                "class %3d: %5d particles, %s: %s",
                item.classId,
                item.size,
                chosen.word(item.classId),
                chosen.reasons[item.classId],
            )
        if not chosen.good or not chosen.bad:
            raise WorkflowError(
                "The rule found %d good and %d bad classes; it needs both."
                % (len(chosen.good), len(chosen.bad))
            )
        protocol = self.newProtocol(
            ApbcProtCreateTrainingSet,
            "training set",
            inputType=2,
            goodClasses=",".join(map(str, chosen.good)),
            badClasses=",".join(map(str, chosen.bad)),
            particleDiameter=self.settings.diameter,
            seed=self.settings.seed,
        )
        protocol.inputClasses.set(protClasses)
        protocol.inputClasses.setExtended("outputClasses")
        return self.launch(protocol)

    def datasetFromCoordinates(self, protMics):
        """Create the training set from given coordinates."""
        pointers = {}
        for kind, points in (("good", self.settings.good), ("bad", self.settings.bad)):
            imported = self.importCoordinates(protMics, points, kind + " coordinates")
            pointers[kind] = Pointer(imported, extended="outputCoordinates")
        protocol = self.newProtocol(
            ApbcProtCreateTrainingSet,
            "training set",
            inputType=1,
            particleDiameter=self.settings.diameter,
            seed=self.settings.seed,
        )
        protocol.goodCoordinates.append(pointers["good"])
        protocol.badCoordinates.append(pointers["bad"])
        return self.launch(protocol)

    def train(self, protDataset):
        """Train on the training set."""
        protocol = self.newProtocol(
            ApbcProtTrain,
            "train",
            useGpu=self.settings.useGpu,
            epochs=self.settings.epochs,
            seed=self.settings.seed,
        )
        protocol.inputDataset.set(protDataset)
        protocol.inputDataset.setExtended("outputDataset")
        return self.launch(protocol)

    def pick(self, protMics, protModel):
        """Pick all micrographs."""
        protocol = self.newProtocol(ApbcProtPick, "pick", useGpu=self.settings.useGpu)
        protocol.inputMicrographs.set(protMics)
        protocol.inputMicrographs.setExtended("outputMicrographs")
        protocol.inputModel.set(protModel)
        protocol.inputModel.setExtended("outputModel")
        return self.launch(protocol)

    def extract(self, protCoordinates, linked):
        """Extract particles with Relion; `linked` takes the box size from the picks."""
        from relion.protocols import ProtRelionExtractParticles

        protocol = self.newProtocol(
            ProtRelionExtractParticles,
            "extraction of picks" if linked else "extraction",
            doInvert=True,
            doNormalize=True,
            saveFloat16=False,
            doRescale=False,
            numberOfMpi=1,
            numberOfThreads=1,
        )
        box = self.box()
        if linked:
            protocol.boxSize.setPointer(Pointer(protCoordinates, extended="boxSize"))
        else:
            # Small images classify quickly, and suffice to tell good classes from bad.
            scaled = even(box * self.settings.pixelSize * CLASS_PIXELS / self.settings.diameter)
            protocol.boxSize.set(box)
            if scaled < box:
                protocol.doRescale.set(True)
                protocol.rescaledSize.set(scaled)
        protocol.inputCoordinates.set(protCoordinates)
        protocol.inputCoordinates.setExtended("outputCoordinates")
        return self.launch(protocol)

    def evaluate(self, protMics, protPicks, protModel=None):
        """Score picks against the truth, on micrographs that did not train the model."""
        truth = self.importCoordinates(protMics, self.settings.truth, "truth")
        protocol = self.newProtocol(
            ApbcProtEvaluate,
            "evaluate",
            particleDiameter=self.settings.diameter,
            edge=self.settings.edge,
        )
        protocol.inputCoordinates.set(protPicks)
        protocol.inputCoordinates.setExtended("outputCoordinates")
        protocol.referenceCoordinates.set(truth)
        protocol.referenceCoordinates.setExtended("outputCoordinates")
        if protModel is not None:
            protocol.excludeModel.set(protModel)
            protocol.excludeModel.setExtended("outputModel")
        return self.launch(protocol)

    # ----------------------------- imports ----------------------------------------
    def importMicrographs(self, label, stems):
        """Import micrographs through a folder of links."""
        folder = self.linkMicrographs(label, stems)
        protocol = self.newProtocol(
            ProtImportMicrographs,
            label,
            filesPath=os.path.abspath(folder),
            filesPattern="*",
            samplingRate=self.settings.pixelSize,
            voltage=self.settings.voltage,
            sphericalAberration=self.settings.sphericalAberration,
            amplitudeContrast=self.settings.amplitudeContrast,
        )
        return self.launch(protocol)

    def linkMicrographs(self, label, stems):
        """Make the folder of links anew, so that no micrograph of an earlier run stays in it.

        Returns
        -------
        str
            The folder.
        """
        folder = os.path.join(self.folder, label.replace(" ", "_"))
        pwutils.cleanPath(folder)
        os.makedirs(folder)
        wanted = set(stems)
        for path in self.settings.micrographs:
            if stem_of(path) in wanted:
                os.symlink(os.path.abspath(path), os.path.join(folder, os.path.basename(path)))
        return folder

    def importCoordinates(self, protMics, points, label):
        """Import coordinates given by stem."""
        path = os.path.abspath(os.path.join(self.folder, label.replace(" ", "_") + ".sqlite"))
        box = self.box()
        write_coordinates(protMics.outputMicrographs, points, path, box)
        protocol = self.newProtocol(
            ProtImportCoordinates,
            label,
            filesPath=path,
            boxSize=box,
            importFrom=ProtImportCoordinates.IMPORT_FROM_SCIPION,
        )
        protocol.inputMicrographs.set(protMics)
        protocol.inputMicrographs.setExtended("outputMicrographs")
        return self.launch(protocol)

    # ----------------------------- helpers ------------------------------------------
    def box(self):
        """Box size in pixels: 1.5 diameters."""
        return even(1.5 * self.settings.diameter / self.settings.pixelSize)

    def newProtocol(self, protocolClass, label, **values):
        """Create a protocol with a label."""
        protocol = self.project.newProtocol(protocolClass, **values)
        protocol.setObjLabel(label)
        return protocol

    def launch(self, protocol):
        """Run a protocol to its end and return it."""
        logger.info("running: %s", protocol.getObjLabel())
        start = time.time()
        self.project.launchProtocol(protocol, wait=True)
        if not protocol.isFinished():
            raise WorkflowError(
                "'%s' ended as %s: %s"
                % (
                    protocol.getObjLabel(),
                    protocol.getStatus(),
                    protocol.getErrorMessage() or "see %s" % protocol.getStderrLog(),
                )
            )
        name = protocol.getObjLabel()
        self.seconds[name] = self.seconds.get(name, 0) + time.time() - start
        return protocol


def even(value):
    """Nearest even whole number."""
    return max(2, 2 * nearest(value / 2))


def write_coordinates(micrographs, points, path, box):
    """Write coordinates as a Scipion set that the import protocol reads.

    Parameters
    ----------
    micrographs : SetOfMicrographs
    points : dict of str to list of (float, float)
        By stem; those of other micrographs are left out.
    path : str
        ``.sqlite`` to write.
    box : int
        Box size in pixels.

    Returns
    -------
    str
        `path`.
    """
    pwutils.cleanPath(path)
    coordinates = SetOfCoordinates(filename=path)
    coordinates.setBoxSize(box)
    mics = [mic.clone() for mic in micrographs]
    labels = labels_of(mics)
    for mic in mics:
        for row in points.get(labels[mic.getObjId()], ()):
            coordinate = Coordinate(x=nearest(row[0]), y=nearest(row[1]))
            coordinate.setMicrograph(mic)
            coordinates.append(coordinate)
    coordinates.write()
    coordinates.close()
    return path


def read_coordinates(folder):
    """Coordinates of a folder of CSV files with columns x and y.

    Parameters
    ----------
    folder : str

    Returns
    -------
    dict of str to list of (float, float), or None
        None where there is no such folder.

    Raises
    ------
    WorkflowError
        If a file lacks a column or a line is no pair of numbers.
    """
    if not os.path.isdir(folder):
        return None
    points = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".csv"):
            points[os.path.splitext(name)[0]] = _read_csv(os.path.join(folder, name))
    return points


def _read_csv(path):
    """Coordinates of one CSV file."""
    # Spreadsheets put a byte order mark before the first column.
    with open(path, newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle, skipinitialspace=True)
        for column in ("x", "y"):
            if column not in (reader.fieldnames or ()):
                raise WorkflowError(
                    "%s has no column %s; its first line must name the columns x and y."
                    % (path, column)
                )
        try:
            return [(float(row["x"]), float(row["y"])) for row in reader]
        except (TypeError, ValueError) as error:
            raise WorkflowError(
                "%s, line %d: x and y must be two numbers." % (path, reader.line_num)
            ) from error
