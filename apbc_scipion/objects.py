"""Typed outputs that pass data sets and models from protocol to protocol."""

import json
import os

import pyworkflow.object as pwobj
from pwem.objects import FSC, EMObject

from apbc.display.card import lost_told, promise_told, rounds_told, views_told
from apbc_scipion.constants import CLASSIFIER, COMPARISON_RECORD, METRICS_REPORT, MODEL_CARD


class ApbcDataset(EMObject):
    """A data set of good and bad particles: one HDF5 file and what is worth knowing of it."""

    def __init__(self, path=None, **kwargs):
        EMObject.__init__(self, **kwargs)
        self._path = pwobj.String(path)
        self._good = pwobj.Integer()
        self._bad = pwobj.Integer()
        self._views = pwobj.Integer()
        self._micrographs = pwobj.Integer()
        self._diameter = pwobj.Float()
        self._pixelSize = pwobj.Float()
        self._phaseFlipped = pwobj.Boolean(False)
        self._classes = pwobj.String("")

    def getPath(self):
        """Path of the HDF5 file."""
        return self._path.get()

    def getCounts(self):
        """Numbers of good and of bad particles."""
        return self._good.get(0), self._bad.get(0)

    def getViews(self):
        """Return of how many 2D classes the good particles are; 0 where these are not known."""
        return self._views.get(0)

    def getMicrographs(self):
        """Return the number of micrographs; 0 for particles read from stacks."""
        return self._micrographs.get(0)

    def getDiameter(self):
        """Particle diameter in Å."""
        return self._diameter.get()

    def getPixelSize(self):
        """Å per pixel of the images the particles came from."""
        return self._pixelSize.get()

    def isPhaseFlipped(self):
        """Tell whether the phases were flipped with a CTF."""
        return self._phaseFlipped.get(False)

    def getClasses(self):
        """Names of the classes of its patches; none where it has none (see ``apbc bootstrap``)."""
        return [name for name in self._classes.get("").split(",") if name]

    def fill(self, good, bad, micrographs, diameter, pixelSize, phaseFlipped, views=0, classes=()):
        """Set what is known of the data set."""
        self._good.set(good)
        self._bad.set(bad)
        self._micrographs.set(micrographs)
        self._diameter.set(diameter)
        self._pixelSize.set(pixelSize)
        self._phaseFlipped.set(phaseFlipped)
        self._views.set(views)
        self._classes.set(",".join(classes))

    def getFiles(self):
        """Files that belong to the object."""
        return {self.getPath()}

    def __str__(self):
        """One line for the project window."""
        good, bad = self.getCounts()
        source = "%d micrographs" % self.getMicrographs() if self.getMicrographs() else "stacks"
        return "ApbcDataset (%d good, %d bad, %s, %0.0f Å)" % (
            good,
            bad,
            source,
            self.getDiameter() or 0,
        )


def _capital(sentence):
    """Begin a sentence with a capital letter."""
    return sentence[:1].upper() + sentence[1:]


class ApbcModel(EMObject):
    """A trained classifier: a model folder and what its card says."""

    def __init__(self, path=None, **kwargs):
        EMObject.__init__(self, **kwargs)
        self._path = pwobj.String(path)
        self._architecture = pwobj.String()
        self._engineVersion = pwobj.String()
        self._diameter = pwobj.Float()
        self._pixelSize = pwobj.Float()
        self._phaseFlipped = pwobj.Boolean(False)
        self._threshold = pwobj.Float(0.5)
        self._trainingMicrographs = pwobj.Integer(0)
        self._refitted = pwobj.Boolean(False)
        self._device = pwobj.String()
        self._testAccuracy = pwobj.Float()
        self._testPrecision = pwobj.Float()
        self._testRecall = pwobj.Float()
        self._testAuc = pwobj.Float()

    def getPath(self):
        """Path of the model folder."""
        return self._path.get()

    def getArchitecture(self):
        """Name of the network."""
        return self._architecture.get()

    def getDiameter(self):
        """Particle diameter in Å."""
        return self._diameter.get()

    def getPixelSize(self):
        """Å per pixel at which the network looks."""
        return self._pixelSize.get()

    def isPhaseFlipped(self):
        """Tell whether the model was trained on phase-flipped micrographs."""
        return self._phaseFlipped.get(False)

    def isRefitted(self):
        """Tell whether the delivered weights saw all labels, the held-out ones too."""
        return self._refitted.get(False)

    def getThreshold(self):
        """Score above which a candidate is exported unless told otherwise."""
        return self._threshold.get()

    def getNamedThreshold(self):
        """Give the threshold, and what it is: the best F1, or the model's own."""
        asked = (self.getCard().get("promise") or {}).get("asked")
        best = asked is None and not self.isClassifier()
        return self.getThreshold(), "best F1" if best else "model's own"

    def isClassifier(self):
        """Tell whether the network tells shapes, and its scores are not calibrated."""
        return self.getArchitecture() == CLASSIFIER

    def getDevice(self):
        """Return "cpu" or the name of the GPU on which the model was trained."""
        return self._device.get()

    def getHeldOutFigures(self):
        """Figures on the test split.

        Returns
        -------
        dict of str to float
            ``accuracy``, ``precision``, ``recall`` and ``auc``; a figure that the card does
            not hold is left out.
        """
        figures = {
            "accuracy": self._testAccuracy.get(),
            "precision": self._testPrecision.get(),
            "recall": self._testRecall.get(),
            "auc": self._testAuc.get(),
        }
        return {name: value for name, value in figures.items() if value is not None}

    def getCard(self):
        """Contents of the card; empty where the folder of the model has gone."""
        path = os.path.join(self.getPath() or "", MODEL_CARD)
        if not os.path.exists(path):
            return {}
        with open(path) as handle:
            return json.load(handle)

    def getTrainingLines(self):
        """Tell of rounds of feedback, of views and of the threshold, where the card does."""
        card = self.getCard()
        return list(map(_capital, [*rounds_told(card), *views_told(card), *promise_told(card)]))

    def getClassLines(self):
        """Tell how well a classifier of shapes tells its classes; nothing of other networks."""
        card = self.getCard()
        test = card.get("classifier", {}).get("test", {})
        if test.get("accuracy") is None:
            return []
        return [
            "Classes: %s, told apart with an accuracy of *%0.3f*"
            % (", ".join(card["classes"]), test["accuracy"])
        ]

    def getLossLines(self):
        """Tell the 2D classes that the model loses, in a line of a summary; none if it does not."""
        return ["*%s.*" % _capital(line) for line in lost_told(self.getCard())]

    def fillFromCard(self, card):
        """Copy what a card says.

        Parameters
        ----------
        card : dict
            Contents of ``card.json``.
        """
        self._architecture.set(card["architecture"])
        self._engineVersion.set(card["apbc_version"])
        self._diameter.set(card["diameter"])
        self._pixelSize.set(card["pixel_size"])
        self._phaseFlipped.set(bool(card.get("phase_flipped", False)))
        self._threshold.set(card.get("threshold", 0.5))
        self._trainingMicrographs.set(len(card.get("training_micrographs") or []))
        self._refitted.set(bool(card.get("refitted", False)))
        self._device.set(card.get("device"))
        test = (card.get("metrics") or {}).get("test") or {}
        for attribute, name in (
            (self._testAccuracy, "accuracy"),
            (self._testPrecision, "precision"),
            (self._testRecall, "recall"),
            (self._testAuc, "auc"),
        ):
            attribute.set(test.get(name))

    def getFiles(self):
        """Files that belong to the object."""
        return {self.getPath()}

    def __str__(self):
        """One line for the project window."""
        figures = self.getHeldOutFigures()
        held = (
            ", held-out "
            + ", ".join(
                "%s %0.2f" % (name, figures[name])
                for name in ("precision", "recall")
                if name in figures
            )
            if figures
            else ""
        )
        return "ApbcModel (%s, %0.0f Å at %0.2f Å/px%s)" % (
            self.getArchitecture(),
            self.getDiameter() or 0,
            self.getPixelSize() or 0,
            held,
        )


class ApbcFSC(FSC):
    """A Fourier shell correlation with the truth, which may stay above every threshold."""

    def calculateResolution(self, threshold=0.143, precision=4):
        """Resolution where the curve first falls below a threshold.

        pwem's own extrapolates a curve that does not, and divides by zero if it ends level.

        Returns
        -------
        str
            Å; that of the last shell if the curve stays above, of the first if it starts below.
        """
        x, y = ([float(value) for value in values] for values in self.getData())
        below = next((i for i, value in enumerate(y) if value < threshold), len(y))
        frequency = x[min(below, len(x) - 1)]
        if 0 < below < len(y):
            share = (y[below - 1] - threshold) / (y[below - 1] - y[below])
            frequency = x[below - 1] + share * (x[below] - x[below - 1])
        return "%.*f" % (precision, 1 / frequency)


class ApbcMetrics(EMObject):
    """What was measured of one method against the ground truth, for a report of several."""

    def __init__(self, path=None, **kwargs):
        EMObject.__init__(self, **kwargs)
        self._path = pwobj.String(path)
        self._method = pwobj.String()
        self._metrics = pwobj.CsvList()

    def getPath(self):
        """Folder that has a folder for each metric."""
        return self._path.get()

    def getMethod(self):
        """Name of the method, as the report calls it."""
        return self._method.get()

    def getMetrics(self):
        """Names of the metrics: ``"fsc"``, ``"neighbours"``, ..."""
        return list(self._metrics)

    def getFolders(self):
        """Folder of each metric, with its ``metrics.json``."""
        return [os.path.join(self.getPath(), metric) for metric in self.getMetrics()]

    def getReportPath(self):
        """JSON record of pictures and tables, for the viewer."""
        return os.path.join(self.getPath(), METRICS_REPORT)

    def fill(self, method, metrics):
        """Set what was measured.

        Parameters
        ----------
        method : str
        metrics : list of str
        """
        self._method.set(method)
        self._metrics.set(metrics)

    def getFiles(self):
        """Files that belong to the object."""
        return {self.getPath()}

    def __str__(self):
        """One line for the project window."""
        return "ApbcMetrics (%s: %s)" % (self.getMethod(), ", ".join(self.getMetrics()))


class ApbcComparison(EMObject):
    """What was found of several pickers: a folder with a report, and the best of them."""

    def __init__(self, path=None, **kwargs):
        EMObject.__init__(self, **kwargs)
        self._path = pwobj.String(path)
        self._best = pwobj.String()
        self._bestF1 = pwobj.Float()
        self._pickers = pwobj.Integer(0)
        self._micrographs = pwobj.Integer(0)
        self._particles = pwobj.Integer(0)

    def getPath(self):
        """Folder of the report."""
        return self._path.get()

    def getReportPath(self):
        """JSON record of the comparison, with all figures."""
        return os.path.join(self.getPath(), COMPARISON_RECORD)

    def getBestPicker(self):
        """Name of the picker of the highest F1."""
        return self._best.get()

    def getBestF1(self):
        """F1 of the best picker."""
        return self._bestF1.get()

    def getFigures(self):
        """Figures of every picker, as the report tells them.

        Returns
        -------
        dict of str to dict
            By name: ``precision``, ``recall``, ``f1``, ``average_precision`` and more.
        """
        with open(self.getReportPath(), encoding="utf-8") as handle:
            return json.load(handle)["pickers"]

    def fill(self, record):
        """Copy what the record of the comparison says.

        Parameters
        ----------
        record : dict
            Contents of ``compare.json``.
        """
        self._best.set(record["best"])
        self._bestF1.set(record["pickers"][record["best"]]["f1"])
        self._pickers.set(len(record["pickers"]))
        self._micrographs.set(len(record["micrographs"]))
        self._particles.set(record["particles"])

    def getFiles(self):
        """Files that belong to the object."""
        return {self.getPath()}

    def __str__(self):
        """One line for the project window."""
        return "ApbcComparison (%d pickers on %d micrographs, best %s with F1 %0.2f)" % (
            self._pickers.get(0),
            self._micrographs.get(0),
            self.getBestPicker(),
            self.getBestF1() or 0,
        )
