"""Where a viewer, or the protocol that makes coordinates of them, finds picks and their scores.

A source knows micrographs by their label (see `apbc_scipion.convert`) and gives picks as arrays
with the columns x, y (pixels of the micrograph) and score (NaN for none). It reads what a run has
written so far, so that a window can follow a run.
"""

import os
import sqlite3

import numpy as np
from pwem.objects import SetOfCoordinates, SetOfParticles
from pyworkflow.protocol import getProtocolFromDb

from apbc_scipion import convert
from apbc_scipion.constants import DISAGREEMENT, SCORE

# Columns in which pickers keep their score; ours first, the only one that is a probability.
SCORE_COLUMNS = (SCORE, "_topazScore", "_rlnAutopickFigureOfMerit", "_xmipp_zScoreDeepLearning1")
NO_PICKS = np.empty((0, 3))


class SourceError(ValueError):
    """There is nothing to show; the message says why."""


def read_columns(items, labels):
    """Read columns of a set from its file, without making an object a row.

    Parameters
    ----------
    items : pyworkflow.object.Set
    labels : iterable of str
        Such as ``"_x"`` or ``"_coordinate._x"``; those that the set does not have are left out.

    Returns
    -------
    dict of str to list
    """
    path = os.path.abspath(items.getFileName())
    prefix = (items.getPrefix() or "").strip()
    prefix += "_" if prefix and not prefix.endswith("_") else ""
    connection = sqlite3.connect("file:%s?mode=ro" % path.replace("?", "%3f"), uri=True)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if prefix + "Classes" not in tables:
            return {}  # a set that never held anything
        known = dict(
            connection.execute("SELECT label_property, column_name FROM %sClasses" % prefix)
        )
        wanted = [label for label in labels if label in known]
        if not wanted:
            return {}
        rows = connection.execute(
            "SELECT %s FROM %sObjects ORDER BY id"
            % (", ".join(known[label] for label in wanted), prefix)
        ).fetchall()
    finally:
        connection.close()
    columns = list(zip(*rows)) if rows else [()] * len(wanted)
    return dict(zip(wanted, columns))


class PickSource:
    """Picks of a run or a set.

    Attributes
    ----------
    title : str
    micrographs : dict of str to Micrograph
        By label.
    pixelSize : float
        Å per pixel of the micrographs.
    diameter : float
        Particle diameter in Å; of an unknown one 2/3 of the box.
    boxSize : int
        Pixels.
    threshold : float or None
        That of the run; None where picks have no scores.
    suggested : (float, str) or None
        The model's own threshold, and what it is.
    calibrated : bool
        Whether scores are probabilities.
    edge : float
        Picks and reference nearer to the border than this, in pixels, do not count.
    """

    title = ""
    threshold = None
    suggested = None
    calibrated = False
    edge = 0.0

    def __init__(self, micrographs, diameter, boxSize):
        self._setMicrographs(micrographs)
        if not self.micrographs:
            raise SourceError("The set of micrographs is empty: there is nothing to show.")
        self.pixelSize = self.index.pixelSize
        self.boxSize = boxSize or 0
        self.diameter = diameter or (boxSize or 100) * self.pixelSize / 1.5

    def _setMicrographs(self, micrographs):
        self.index = convert.MicrographIndex(micrographs)
        self.micrographs = {
            self.index.labels[micId]: mic for micId, mic in self.index.micrographs.items()
        }

    def refresh(self):
        """Look again at a run that goes on."""

    def getLabels(self):
        """Labels of the micrographs that are picked, in their order."""
        raise NotImplementedError

    def getPicks(self, label):
        """Give the picks of a micrograph, shape (n, 3)."""
        raise NotImplementedError

    def getDisagreement(self, label):
        """How far an ensemble differs about each pick, shape (n,), NaN where it is not known.

        None for all micrographs where no ensemble has scored the picks.
        """
        return None

    def getScores(self):
        """Scores of all picks that have one, micrograph by micrograph."""
        found = [self.getPicks(label)[:, 2] for label in self.getLabels()]
        scores = np.concatenate([np.empty(0), *found])
        return scores[np.isfinite(scores)]

    def getScoreMap(self, label):
        """Path of the score map of a micrograph, or None."""
        return None

    def getReference(self, label):
        """Known particles of a micrograph, shape (n, 2), or None where nothing is known."""
        return None

    def getHidden(self, label):
        """Known particles that cannot be seen, shape (n, 2): picks on them do not count."""
        return NO_PICKS[:, :2]

    def hasReference(self):
        """Tell whether there is a reference."""
        return False

    def isRunning(self):
        """Tell whether more may come."""
        return False

    def getPath(self, label):
        """Path of a micrograph's file, whether it is there or not."""
        return self.micrographs[label].getFileName()


class CandidateSource(PickSource):
    """Every candidate of a run of *pick particles*, those below its threshold too.

    Parameters
    ----------
    protocol : ApbcProtPick
    """

    def __init__(self, protocol):
        model, micrographs = protocol.inputModel.get(), protocol.getInputMicrographs()
        self.title = protocol.getObjLabel() or protocol.getClassLabel()
        if model is None or micrographs is None:
            raise SourceError(
                "The model or the micrographs of '%s' are not in the project: there is nothing to "
                "show." % self.title
            )
        PickSource.__init__(self, micrographs, model.getDiameter(), protocol._getBoxSize())
        self.protocol = protocol
        self.threshold = protocol.getThreshold()
        self.suggested = model.getNamedThreshold()
        self.calibrated = not model.isClassifier()
        self._folder = protocol._getExtraPath("candidates")
        self._running = protocol.isActive()

    def refresh(self):
        """Look whether the run goes on, and for micrographs that have come since."""
        protocol = self.protocol
        if not protocol.isActive():
            self._running = False
            return
        self.threshold = protocol.getThreshold()
        there = getProtocolFromDb(
            protocol.getProject().path, protocol.getDbPath(), protocol.getObjId()
        )
        self._running = there.isActive()
        known = protocol.getInputMicrographs()
        micrographs = type(known)(filename=known.getFileName())
        micrographs.loadAllProperties()
        if micrographs.getSize() > len(self.micrographs):
            self._setMicrographs(micrographs)

    def getLabels(self):
        """Labels of the micrographs that are picked so far."""
        there = set(os.listdir(self._folder)) if os.path.isdir(self._folder) else set()
        return [label for label in self.micrographs if label + ".csv" in there]

    def getPicks(self, label):
        """Candidates of a micrograph."""
        picks = convert.read_picks(os.path.join(self._folder, label + ".csv"))
        return np.array(picks, float).reshape(-1, 3)

    def getDisagreement(self, label):
        """How far an ensemble differs about the candidates of a micrograph, or None."""
        values = convert.read_disagreement(os.path.join(self._folder, label + ".csv"))
        return None if values is None else np.array(values, float)

    def getScoreMap(self, label):
        """Path of the score map, if the run wrote it."""
        path = self.protocol._getExtraPath("maps", label + ".png")
        return path if os.path.exists(path) else None

    def isRunning(self):
        """Tell whether the run goes on."""
        return self._running


class SetSource(PickSource):
    """Coordinates, or particles with coordinates, of any program.

    Parameters
    ----------
    items : list of SetOfCoordinates or of SetOfParticles
        Read together, such as true and false particles.
    micrographs : SetOfMicrographs, optional
        Default: those of the first set.
    diameter : float, optional
        Å.
    """

    def __init__(self, items, micrographs=None, diameter=None):
        first = items[0]
        micrographs = micrographs if micrographs is not None else micrographs_of(first)
        if micrographs is None:
            raise SourceError(
                "The micrographs of the %s are not known, so there is nothing to draw picks on."
                % ("coordinates" if isinstance(first, SetOfCoordinates) else "particles")
            )
        if isinstance(first, SetOfCoordinates):
            scale, box = 1.0, first.getBoxSize()
        else:
            dimensions, rate = first.getDim(), first.getSamplingRate()
            box = int(dimensions[0] * rate / micrographs.getSamplingRate()) if dimensions else 0
            # A header tells how large micrographs are; one that has moved tells nothing.
            there = os.path.exists(micrographs.getFirstItem().getFileName())
            scale = (
                convert.particle_scale(first, micrographs)
                if there
                else rate / micrographs.getSamplingRate()
            )
        PickSource.__init__(self, micrographs, diameter, box)
        self.items = items
        self.scale = scale
        self.title = first.getObjLabel() or str(first)
        self._ofEnsemble = False
        self._rows = self._read()

    def _read(self):
        """Rows by label."""
        rows = {}
        prefix = "" if isinstance(self.items[0], SetOfCoordinates) else "_coordinate."
        names = [prefix + name for name in ("_micId", "_micName", "_x", "_y")]
        for items in self.items:
            columns = read_columns(items, [*names, *SCORE_COLUMNS, DISAGREEMENT])
            if not columns:
                continue
            score = next((columns[name] for name in SCORE_COLUMNS if name in columns), None)
            self.calibrated = SCORE in columns
            count = len(columns[names[2]])
            table = np.full((count, 4), np.nan)
            table[:, 0] = np.array(columns[names[2]], float) * self.scale
            table[:, 1] = np.array(columns[names[3]], float) * self.scale
            if score is not None:
                table[:, 2] = np.array(score, float)
            if DISAGREEMENT in columns:
                self._ofEnsemble = True
                table[:, 3] = np.array(columns[DISAGREEMENT], float)
            for where, found in self._group(columns, names, count).items():
                rows.setdefault(where, []).append(table[found])
        rows = {label: np.concatenate(found) for label, found in rows.items()}
        # Picks made by hand may have no score; any threshold keeps them.
        scores = [found[np.isfinite(found[:, 2]), 2] for found in rows.values()]
        lowest = [float(some.min()) for some in scores if len(some)]
        self.threshold = min(lowest) if lowest else None
        return rows

    def _group(self, columns, names, count):
        """Row numbers by label of the micrograph; rows of unknown micrographs are left out."""
        micIds = columns.get(names[0]) or [None] * count
        micNames = columns.get(names[1]) or [None] * count
        rows = {}
        for number, key in enumerate(zip(micIds, micNames)):
            rows.setdefault(key, []).append(number)
        groups, place = {}, _Place()
        for (place.micId, place.micName), numbers in rows.items():
            found = self.index.find(place)
            if found is not None:
                groups.setdefault(self.index.labels[found], []).extend(numbers)
        return groups

    def getLabels(self):
        """Labels of the micrographs; with picks, if any has some."""
        return [label for label in self.micrographs if label in self._rows] or list(
            self.micrographs
        )

    def getPicks(self, label):
        """Give the picks of a micrograph."""
        return self._rows[label][:, :3] if label in self._rows else NO_PICKS

    def getDisagreement(self, label):
        """How far an ensemble differs about the picks of a micrograph, or None."""
        if not self._ofEnsemble:
            return None
        return self._rows[label][:, 3] if label in self._rows else np.empty(0)


class ReferenceSource(PickSource):
    """Picks beside their reference, of a run of *evaluate picks*.

    Every candidate is shown if *pick particles* made the picks, else those of the set.

    Parameters
    ----------
    protocol : ApbcProtEvaluate
    picks : PickSource
    """

    def __init__(self, protocol, picks):
        self.protocol = protocol
        self.picks = picks
        self.micrographs, self.index = picks.micrographs, picks.index
        self.pixelSize, self.boxSize = picks.pixelSize, picks.boxSize
        self.diameter = protocol.particleDiameter.get()
        self.threshold, self.suggested = picks.threshold, picks.suggested
        self.calibrated = picks.calibrated
        self.edge = protocol.edge.get() / self.pixelSize
        self.title = protocol.getObjLabel() or protocol.getClassLabel()
        self._folder = protocol._getExtraPath("reference")
        self._reference = {}

    def getLabels(self):
        """Labels of the micrographs that are compared."""
        there = set(os.listdir(self._folder)) if os.path.isdir(self._folder) else set()
        labels = [label for label in self.micrographs if label + ".csv" in there]
        if not labels:
            raise SourceError("The run has compared nothing yet: there is nothing to show.")
        return labels

    def getPicks(self, label):
        """Give the picks of a micrograph."""
        return self.picks.getPicks(label)

    def getDisagreement(self, label):
        """How far an ensemble differs about the picks of a micrograph, or None."""
        return self.picks.getDisagreement(label)

    def getScoreMap(self, label):
        """Path of the score map, or None."""
        return self.picks.getScoreMap(label)

    def getReference(self, label):
        """Give the reference particles of a micrograph; asked for at every threshold."""
        return self._readReference(label)[0]

    def getHidden(self, label):
        """Give the particles of the reference that cannot be seen."""
        return self._readReference(label)[1]

    def _readReference(self, label):
        if label not in self._reference:
            found = convert.read_reference(os.path.join(self._folder, label + ".csv"))
            self._reference[label] = [np.array(rows, float).reshape(-1, 2) for rows in found]
        return self._reference[label]

    def hasReference(self):
        """Tell that there is one."""
        return True


class _Place:
    """What `MicrographIndex.find` asks of a coordinate."""

    micId = micName = None

    def getMicId(self):
        return self.micId

    def getMicName(self):
        return self.micName


def micrographs_of(items):
    """Micrographs on which coordinates or particles were picked, or None."""
    coordinates = items.getCoordinates() if isinstance(items, SetOfParticles) else items
    return coordinates.getMicrographs() if coordinates is not None else None


def producer_of(items, project):
    """Protocol that made an output, or None."""
    parent = items.getObjParentId()
    if parent is None or project is None:
        return None
    return project.getProtocol(parent, fromRuns=True)


def source_of(obj, project):
    """Find the picks behind a protocol or an output of one.

    Parameters
    ----------
    obj : Protocol, SetOfCoordinates or SetOfParticles
    project : pyworkflow.project.Project

    Returns
    -------
    PickSource

    Raises
    ------
    SourceError
        If there is nothing to show.
    """
    from apbc_scipion.protocols import ApbcProtEvaluate, ApbcProtPick, ApbcProtScreen

    if isinstance(obj, ApbcProtPick):
        return CandidateSource(obj)
    if isinstance(obj, ApbcProtEvaluate):
        picks = obj.inputCoordinates.get()
        if picks is None:
            raise SourceError("The picks are not in the project: there is nothing to show.")
        maker = producer_of(picks, project)
        inner = CandidateSource(maker) if isinstance(maker, ApbcProtPick) else SetSource([picks])
        return ReferenceSource(obj, inner)
    if isinstance(obj, ApbcProtScreen):
        sets = [items for _, items in obj.iterOutputAttributes(SetOfParticles)]
        if not sets:
            raise SourceError("The particles are not screened yet: there is nothing to show.")
        if not sets[0].getFirstItem().hasCoordinate():
            raise SourceError(
                "The particles have no coordinates, so there is nothing to draw on micrographs."
            )
        source = SetSource(sets, obj._getMicrographs(), obj.inputModel.get().getDiameter())
        source.threshold, source.suggested = (
            obj.getThreshold(),
            obj.inputModel.get().getNamedThreshold(),
        )
        return source
    if isinstance(obj, (SetOfCoordinates, SetOfParticles)):
        maker = producer_of(obj, project)
        if isinstance(maker, (ApbcProtPick, ApbcProtScreen)):
            return source_of(maker, project)
        source = SetSource([obj])
        if maker is not None and not obj.getObjLabel():
            source.title = maker.getObjLabel() or maker.getClassLabel()
        return source
    for _, items in obj.iterOutputAttributes(SetOfCoordinates):
        return source_of(items, project)
    raise SourceError("The run has no coordinates yet: there is nothing to show.")


def above(scores, threshold):
    """Tell which scores are not below a threshold; those that are unknown are not.

    Parameters
    ----------
    scores : ndarray, shape (n,)
    threshold : float or None
        None takes all.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if threshold is None:
        return np.ones(len(scores), bool)
    return np.isnan(scores) | (scores >= threshold)


def erased_mask(picks, erased):
    """Tell which picks were erased.

    Parameters
    ----------
    picks : ndarray, shape (n, 3)
    erased : list of (float, float)
        Their positions.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    mask = np.zeros(len(picks), bool)
    for x, y in erased:
        mask |= (np.abs(picks[:, 0] - x) < 1e-3) & (np.abs(picks[:, 1] - y) < 1e-3)
    return mask
