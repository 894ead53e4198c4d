"""Viewer of picks: the window on a screen, or a picture without one."""

import os
import sqlite3
import uuid

from pwem.objects import SetOfCoordinates
from pyworkflow.object import Pointer
from pyworkflow.project.project import ModificationNotAllowedException
from pyworkflow.protocol import Protocol, getProtocolFromDb, isProtocolUpToDate
from pyworkflow.utils import isProcessAlive

from apbc_scipion import convert
from apbc_scipion.constants import SCORE
from apbc_scipion.pick_sources import producer_of, source_of
from apbc_scipion.protocols import (
    ApbcProtCreateCoordinates,
    ApbcProtEvaluate,
    ApbcProtPick,
    ApbcProtScreen,
    ApbcProtSimulateMicrographs,
)
from apbc_scipion.viewers.viewer_base import ApbcViewer, CreationError

THUMBNAILS, EDITS = "apbc_thumbnails", "apbc_edits"
TAKE_OWN = -1.0  # what the form of *create coordinates* takes for the threshold of the run


class ApbcPicksViewer(ApbcViewer):
    """Shows picks with their scores, and makes coordinates of them."""

    _name = "apbc picks viewer"
    _targets = [
        ApbcProtPick,
        ApbcProtScreen,
        ApbcProtEvaluate,
        ApbcProtCreateCoordinates,
        ApbcProtSimulateMicrographs,
        SetOfCoordinates,
    ]

    @classmethod
    def can_handle_this_instance(cls, instance):
        """Tell whether this viewer should be the first choice: for sets with scores of apbc."""
        if isinstance(instance, SetOfCoordinates):
            first = instance.getFirstItem()
            return first is not None and hasattr(first, SCORE)
        return True

    def makeReview(self, obj):
        """Collect what the viewer shows.

        Returns
        -------
        PicksReview
        """
        from apbc_scipion.viewers.picks_review import PicksReview

        return PicksReview(source_of(obj, self._project), self._project.getTmpPath(THUMBNAILS))

    def makeWindow(self, obj):
        """Make the window.

        Returns
        -------
        PicksWindow
        """
        from apbc_scipion.viewers.picks_window import PicksWindow

        return PicksWindow(
            self.makeReview(obj),
            self.formWindow,
            create=lambda *told: self._create(self._getOutput(obj), *told),
            progress=self._getProgress,
        )

    def writePicture(self, obj, path, micrograph=None, threshold=None, view="both"):
        """Write a micrograph with its picks and the histogram of the scores as a PNG.

        Parameters
        ----------
        obj : Protocol or SetOfCoordinates
        path : str
        micrograph : str, optional
            Its name; default: the first.
        threshold : float, optional
            Default: that of the run.
        view : str
            ``accepted``, ``rejected`` or ``both``.
        """
        from apbc_scipion.viewers.picks_picture import write_picks_picture

        write_picks_picture(self.makeReview(obj), path, micrograph, threshold, view)

    # ------------------------- new coordinates -----------------------------------
    def _getOutput(self, obj):
        """Pointer to the set that new coordinates are made of, or None while there is none."""
        if isinstance(obj, ApbcProtEvaluate):
            return obj.inputCoordinates
        if isinstance(obj, Protocol):
            for name, _ in obj.iterOutputAttributes():
                if name.startswith(("outputCoordinates", "outputParticles")):
                    return Pointer(obj, extended=name)
            return None
        maker = producer_of(obj, self._project)
        for name, output in maker.iterOutputAttributes():
            if output.getObjId() == obj.getObjId():
                return Pointer(maker, extended=name)
        return None

    def _create(self, pointer, threshold, edits):
        """Launch the protocol that makes the coordinates.

        Returns
        -------
        ApbcProtCreateCoordinates

        Raises
        ------
        CreationError
            If it cannot be launched now.
        """
        if pointer is None:
            raise CreationError(
                "The run has no output yet: wait until its first micrographs are done."
            )
        if self._project.openedAsReadOnly():
            raise CreationError("The project is open for reading only: nothing can be created.")
        protocol = self._project.newProtocol(ApbcProtCreateCoordinates)
        protocol.inputPicks.copy(pointer)
        if threshold == TAKE_OWN:  # a score of another picker, which the form would misread
            threshold *= 1 + 1e-9
        protocol.threshold.set(TAKE_OWN if threshold is None else threshold)
        if any(edits.values()):
            folder = self._project.getPath("Uploads", EDITS)
            os.makedirs(folder, exist_ok=True)
            path = os.path.join(folder, "%s.json" % uuid.uuid4().hex)
            convert.write_json(path, edits)
            protocol.editsFile.set(os.path.relpath(path, self._project.getPath()))
        label = "coordinates of %s" % (pointer.getObjValue().getObjLabel() or "picks")
        protocol.setObjLabel(label if threshold is None else "%s at %0.2f" % (label, threshold))
        try:
            self._project.launchProtocol(protocol)
        except (sqlite3.Error, OSError, ModificationNotAllowedException) as error:
            raise CreationError("The run could not be launched: %s." % error) from error
        return protocol

    def _getProgress(self, protocol):
        """Tell how far a creation is: a sentence, whether it has ended, whether it went well."""
        name = protocol.getObjLabel()
        if not os.path.exists(protocol.getDbPath()):
            return "'%s' was deleted." % name, True, False
        # Read first: the project takes a run that ends while it looks for a run that has died.
        there = getProtocolFromDb(self._project.path, protocol.getDbPath(), protocol.getObjId())
        if there.isActive() and (not there.getPid() or isProcessAlive(there.getPid())):
            return "Creating '%s' ..." % name, False, False
        self._project._updateProtocol(protocol)
        if protocol.isFailed() and not isProtocolUpToDate(protocol):
            self._project._updateProtocol(protocol)
        if protocol.isFinished():
            coordinates = protocol.outputCoordinates
            told = "Created %d coordinates: '%s'" % (coordinates.getSize(), name)
            return told + ", on all micrographs of the picks", True, True
        return "'%s' failed: %s" % (name, protocol.getErrorMessage()), True, False


class ApbcCoordinatesViewer(ApbcPicksViewer):
    """The same for coordinates of other programs: offered after their own viewers."""

    _name = "apbc picks viewer (any coordinates)"
    _targets = [SetOfCoordinates]

    @classmethod
    def can_handle_this_instance(cls, instance):
        """Tell whether the other viewer does not show it already."""
        return not ApbcPicksViewer.can_handle_this_instance(instance)
