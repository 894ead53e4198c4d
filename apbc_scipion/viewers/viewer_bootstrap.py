"""Viewer of a bootstrap: how its examples were found, stage by stage."""

import os

from apbc_scipion.pick_sources import SourceError
from apbc_scipion.protocols import ApbcProtBootstrap
from apbc_scipion.viewers.viewer_base import ApbcViewer, WindowView, tell_failure, tell_state
from apbc_scipion.viewers.viewer_picks import ApbcPicksViewer


class ApbcBootstrapViewer(ApbcViewer):
    """Shows stages, masks, shapes, and good and bad examples of a run without labels."""

    _name = "apbc bootstrap viewer"
    _targets = [ApbcProtBootstrap]

    def makeWindow(self, obj):
        """Make the window.

        Returns
        -------
        BootstrapWindow
        """
        from apbc_scipion.viewers.bootstrap_window import BootstrapWindow

        return BootstrapWindow(
            obj.getObjLabel() or obj.getClassLabel(),
            obj.getStagesFolder(),
            self.formWindow,
            lambda: tell_state(self._project, obj, "stages"),
            lambda: tell_failure(self._project, obj),
            lambda: self._openExamples(obj),
        )

    def _openExamples(self, run):
        """Open the picks viewer with the examples of all micrographs."""
        viewer = ApbcPicksViewer(project=self._project, protocol=run, parent=self.formWindow)
        WindowView(viewer.makeWindow(run)).show()

    def writePicture(self, obj, path, micrograph=None):
        """Write all stages of a micrograph as a PNG.

        Parameters
        ----------
        obj : ApbcProtBootstrap
        path : str
        micrograph : str, optional
            Its name; default: the first.

        Raises
        ------
        SourceError
            If its stages are not kept.
        """
        from apbc.display.bootstrap import read_stages
        from apbc_scipion.viewers.bootstrap_window import (
            EXTENSION,
            stage_names,
            write_stages_picture,
        )

        folder = obj.getStagesFolder()
        names = stage_names(folder)
        if not names:
            raise SourceError(tell_state(self._project, obj, "stages"))
        if (micrograph or names[0]) not in names:
            raise SourceError(
                "The stages of '%s' are not kept; there are those of %s."
                % (micrograph, ", ".join(names))
            )
        record = read_stages(os.path.join(folder, (micrograph or names[0]) + EXTENSION))
        write_stages_picture(record, path)
