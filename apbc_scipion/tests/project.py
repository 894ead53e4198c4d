"""A project with small made-up micrographs and labels, for tests that launch protocols."""

import atexit
import copy
import os
import shutil
import tempfile

from pyworkflow.project import Manager
from pyworkflow.tests import BaseTest, setupTestProject

from apbc_scipion.protocols import (
    ApbcProtCreateTrainingSet,
    ApbcProtEvaluate,
    ApbcProtPick,
    ApbcProtTrain,
)
from apbc_scipion.protocols.protocol_create_training_set import COORDINATES
from apbc_scipion.tests import common

EPOCHS = 3
_made = []  # classes whose project is there to be copied


class ProtocolTest(BaseTest):
    """A project with micrographs and their labels."""

    @classmethod
    def setUpClass(cls):
        cls.startFrom(Labels)

    @classmethod
    def startFrom(cls, maker):
        """Begin with a copy of a project that is made once a process.

        The same launches for every class would take most of the time of the tests.

        Parameters
        ----------
        maker : type
            Test class whose `setUpClass` makes it; its attribute ``protocols`` holds the
            protocols of the project by the names that they get here.
        """
        if maker not in _made:
            maker.setUpClass()
            atexit.register(maker.tearDownClass)
            _made.append(maker)
        cls.projName = cls.__name__
        cls.proj = Manager().importProject(maker.proj.path, projectName=cls.projName)
        cls.outputPath = cls.proj.path
        cls.folder = tempfile.mkdtemp(prefix="apbc-protocols-")
        os.symlink(maker.path("mics"), cls.path("mics"))
        cls.points = copy.deepcopy(maker.points)
        cls.protocols = {
            name: cls.proj.getProtocol(protocol.getObjId())
            for name, protocol in maker.protocols.items()
        }
        cls.protMics = cls.protocols["micrographs"]
        cls.protCoords = {kind: cls.protocols[kind] for kind in ("good", "bad")}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, *names):
        return os.path.join(cls.folder, *names)

    @classmethod
    def newDataset(cls, **values):
        values.setdefault("inputType", COORDINATES)
        values.setdefault("particleDiameter", common.DIAMETER)
        return cls.newProtocol(ApbcProtCreateTrainingSet, **values)

    @classmethod
    def datasetFromCoordinates(cls, **values):
        protocol = cls.newDataset(**values)
        protocol.goodCoordinates.append(common.pointer(cls.protCoords["good"], "outputCoordinates"))
        protocol.badCoordinates.append(common.pointer(cls.protCoords["bad"], "outputCoordinates"))
        return protocol

    @classmethod
    def link(cls, protocol, parameter, source, output):
        getattr(protocol, parameter).set(source)
        getattr(protocol, parameter).setExtended(output)

    def launchRed(self, protocol):
        """Launch a protocol that must fail, and return its error."""
        self.proj.launchProtocol(protocol, wait=True)
        self.assertTrue(protocol.isFailed(), "the protocol should have failed")
        return protocol.getErrorMessage()


class ModelTest(ProtocolTest):
    """With a training set, a model and what it picked, too."""

    @classmethod
    def setUpClass(cls):
        cls.startFrom(Model)
        cls.protDataset = cls.protocols["dataset"]
        cls.protTrain = cls.protocols["training"]
        cls.protPick = cls.protocols["pick"]
        cls.model = cls.protTrain.outputModel

    @classmethod
    def newPick(cls, protMics=None, **values):
        protocol = cls.newProtocol(ApbcProtPick, useGpu=False, **values)
        cls.link(protocol, "inputMicrographs", protMics or cls.protMics, "outputMicrographs")
        cls.link(protocol, "inputModel", cls.protTrain, "outputModel")
        return protocol

    def evaluate(self, picks):
        """Score the output of a protocol against the good coordinates."""
        protocol = self.newProtocol(ApbcProtEvaluate, particleDiameter=common.DIAMETER)
        self.link(protocol, "inputCoordinates", picks, "outputCoordinates")
        self.link(protocol, "referenceCoordinates", self.protCoords["good"], "outputCoordinates")
        self.launchProtocol(protocol)
        return protocol


class Labels(ProtocolTest):
    """Makes the project with micrographs and labels."""

    @classmethod
    def setUpClass(cls):
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-labels-")
        cls.points = common.write_micrographs(cls.path("mics"))
        cls.protMics = common.import_micrographs(cls, cls.path("mics", "*.mrc"))
        cls.protocols = {"micrographs": cls.protMics}
        for kind in ("good", "bad"):
            cls.protocols[kind] = common.import_coordinates(
                cls, cls.protMics, cls.points[kind], cls.path(kind + ".sqlite"), kind
            )


class Model(ModelTest):
    """Goes on from that to a model and its picks."""

    @classmethod
    def setUpClass(cls):
        cls.startFrom(Labels)
        cls.protDataset = cls.datasetFromCoordinates()
        cls.launchProtocol(cls.protDataset)
        cls.protTrain = cls.newProtocol(ApbcProtTrain, useGpu=False, epochs=EPOCHS)
        cls.link(cls.protTrain, "inputDataset", cls.protDataset, "outputDataset")
        cls.launchProtocol(cls.protTrain)
        cls.protPick = cls.newPick(threshold=0.5, objLabel="pick")
        cls.launchProtocol(cls.protPick)
        made = {"dataset": cls.protDataset, "training": cls.protTrain, "pick": cls.protPick}
        cls.protocols.update(made)
