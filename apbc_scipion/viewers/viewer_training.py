"""Viewer of a training: the window on a screen, or a picture without one."""

from apbc_scipion.objects import ApbcModel
from apbc_scipion.protocols import ApbcProtImportModel, ApbcProtTrain
from apbc_scipion.viewers.viewer_base import ApbcViewer
from apbc_scipion.viewers.viewer_picks import THUMBNAILS


class ApbcTrainingViewer(ApbcViewer):
    """Shows curves, figures and crops of a training, and follows one that runs."""

    _name = "apbc training viewer"
    _targets = [ApbcProtTrain, ApbcProtImportModel, ApbcModel]

    def makeSource(self, obj):
        """Find the training behind a run or a model.

        Returns
        -------
        TrainingSource
        """
        from apbc_scipion.viewers.training_source import TrainingSource

        return TrainingSource(obj, self._project)

    def makeWindow(self, obj):
        """Make the window.

        Returns
        -------
        TrainingWindow
        """
        from apbc_scipion.viewers.training_window import TrainingWindow

        cache = self._project.getTmpPath(THUMBNAILS)
        return TrainingWindow(self.makeSource(obj), self.formWindow, cache)

    def writePicture(self, obj, path):
        """Write curves, figures and crops as a PNG.

        Parameters
        ----------
        obj : ApbcProtTrain, ApbcProtImportModel or ApbcModel
        path : str
        """
        from apbc_scipion.viewers.training_figure import write_training_picture

        source = self.makeSource(obj)
        write_training_picture(source.getRecord(), source.getState()[0], source.title, path)
