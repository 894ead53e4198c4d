"""A project with small made-up micrographs and labels, for tests that launch protocols."""

import os
import shutil
import tempfile

from pyworkflow.tests import BaseTest, setupTestProject

from apbc_scipion.protocols import (
    ApbcProtCreateTrainingSet,
    ApbcProtEvaluate,
    ApbcProtPick,
    ApbcProtTrain,
)
from apbc_scipion.protocols.protocol_create_training_set import COORDINATES
from apbc_scipion.tests import common


class ProtocolTest(BaseTest):
    """A project with micrographs, labels, a training set and a model, made once."""

    @classmethod
    def setUpClass(cls):
        setupTestProject(cls)
        cls.folder = tempfile.mkdtemp(prefix="apbc-protocols-")
        cls.points = common.write_micrographs(os.path.join(cls.folder, "mics"))
        cls.protMics = common.import_micrographs(cls, os.path.join(cls.folder, "mics", "*.mrc"))
        cls.protCoords = {
            kind: common.import_coordinates(
                cls, cls.protMics, cls.points[kind], cls.path(kind + ".sqlite"), kind
            )
            for kind in ("good", "bad")
        }

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
    """With a training set and a model, too."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.protDataset = cls.datasetFromCoordinates()
        cls.launchProtocol(cls.protDataset)
        cls.protTrain = cls.newProtocol(ApbcProtTrain, useGpu=False, epochs=1)
        cls.link(cls.protTrain, "inputDataset", cls.protDataset, "outputDataset")
        cls.launchProtocol(cls.protTrain)
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
