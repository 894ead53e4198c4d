"""Where the training viewer finds a model, its run and the micrographs of its labels."""

import os

from pyworkflow.protocol import Protocol

from apbc_scipion.constants import MODEL_FOLDER
from apbc_scipion.pick_sources import producer_of
from apbc_scipion.viewers.training_record import read_record, signature

MICROGRAPH_LIST = os.path.join("input", "micrographs.txt")


class PlaceError(ValueError):
    """The micrograph of a crop cannot be shown; the message says why."""


class TrainingSource:
    """A training: the run that does it, its files, and the micrographs it learned from.

    Parameters
    ----------
    obj : ApbcProtTrain, ApbcProtImportModel or ApbcModel
    project : pyworkflow.project.Project
    """

    def __init__(self, obj, project):
        self._project = project
        if isinstance(obj, Protocol):
            self.protocol, self.folder = obj, obj._getExtraPath(MODEL_FOLDER)
        else:
            self.protocol, self.folder = producer_of(obj, project), obj.getPath()
        self.title = (
            self.protocol.getObjLabel() if self.protocol is not None else ""
        ) or os.path.basename(self.folder)
        self._seen = self._record = None

    def getRecord(self):
        """Read what the training has left.

        Returns
        -------
        TrainingRecord
            The same one as before while nothing has changed.
        """
        now = signature(self.folder)
        if now != self._seen:
            self._seen, self._record = now, read_record(self.folder)
        return self._record

    def getState(self):
        """Tell what the run does.

        Returns
        -------
        text : str
        failed : bool
        active : bool
            Whether there is more to come.
        """
        record, protocol = self.getRecord(), self.protocol
        if protocol is not None and protocol.isActive():
            self._project._updateProtocol(protocol)
        if protocol is not None and protocol.isFailed():
            return "The run failed: %s" % protocol.getErrorMessage(), True, False
        if protocol is not None and protocol.isAborted():
            reached = record.progress.getText() if record.progress else ""
            text = "The run was stopped; Continue goes on from the last epoch. " + reached
            return text, True, False
        if record.isComplete():
            return record.getTitle(), False, False
        if protocol is None or protocol.isFinished():
            gone = "The folder of the model has gone: %s. Train it or import it again."
            return record.notes.get("card", gone % self.folder), True, False
        if protocol.isScheduled():
            return "The run is scheduled: it waits for its input.", False, True
        if not protocol.isActive():
            return "The run has not been started: there is nothing to show yet.", False, True
        if record.progress is None:
            return "The run starts: its input is read.", False, True
        return record.progress.getText(), False, True

    # ---------------------------- micrographs -------------------------------------
    def getMicrograph(self, label):
        """Find the file of a micrograph.

        Parameters
        ----------
        label : str or None
            As the training set names it.

        Returns
        -------
        str

        Raises
        ------
        PlaceError
            If it is not known or not there.
        """
        if label is None:
            raise PlaceError(
                "This particle was read from a stack, so that its micrograph is not known."
            )
        path = os.path.join(os.path.dirname(self._getDataset().getPath()), MICROGRAPH_LIST)
        path = self._project.getPath(path)
        if not os.path.exists(path):
            raise PlaceError("The list of the training set's micrographs has gone: %s." % path)
        with open(path) as handle:
            links = [line.strip() for line in handle if line.strip()]
        for link in links:
            if os.path.splitext(os.path.basename(link))[0] == label:
                return self._checked(self._project.getPath(link), label)
        raise PlaceError(
            "The training set of this project has no micrograph '%s': the model was trained on "
            "another one." % label
        )

    def getMicrographPixelSize(self):
        """Å per pixel of the micrographs."""
        return self._getDataset().getPixelSize()

    def _checked(self, link, label):
        """Give the path of a link whose file is there."""
        if os.path.exists(link):
            return link
        target = os.readlink(link) if os.path.islink(link) else link
        raise PlaceError(
            "The file of micrograph '%s' is no longer there: %s. Bring it back, or import the "
            "micrographs again." % (label, target)
        )

    def _getDataset(self):
        pointer = getattr(self.protocol, "inputDataset", None)
        if pointer is None:
            raise PlaceError(
                "The model was imported: its micrographs are not known in this project."
            )
        dataset = pointer.get()
        if dataset is None:
            raise PlaceError(
                "The training set is no longer in this project, so its micrographs are not known."
            )
        return dataset
