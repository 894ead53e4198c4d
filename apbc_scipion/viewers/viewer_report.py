"""Viewer of reports: pictures and tables that a run left, in a window or as one picture."""

from pyworkflow.protocol import Protocol

from apbc_scipion.pick_sources import producer_of
from apbc_scipion.viewers.viewer_base import ApbcViewer


class ApbcReportViewer(ApbcViewer):
    """Shows the report of a run that measures or compares.

    Every target, a protocol or an output, has a method ``getReportPath()`` that gives the JSON
    record of its report (see `report_record.ReportRecord`).
    """

    _name = "apbc report viewer"
    _targets = []

    def makeWindow(self, obj):
        """Make the window.

        Returns
        -------
        ReportWindow
        """
        from apbc_scipion.viewers.report_window import ReportWindow

        run = obj if isinstance(obj, Protocol) else producer_of(obj, self._project)
        return ReportWindow(
            title_of_run(run, obj), obj.getReportPath(), self.formWindow, lambda: self._tell(run)
        )

    def _tell(self, run):
        """Tell in a sentence why there is no report."""
        if run is None:
            return "The files of the report have gone."
        if run.isActive():
            self._project._updateProtocol(run)
        if run.isFailed():
            return "The run failed: %s" % run.getErrorMessage()
        if run.isAborted():
            return "The run was stopped before it had a report."
        if run.isFinished():
            return "The files of the report have gone; run the protocol again."
        if run.isActive():
            return "The run goes on; its report appears here."
        return "The run has not been started: there is nothing to show yet."

    def writePicture(self, obj, path):
        """Write the pictures of the report as one PNG.

        Parameters
        ----------
        obj : Protocol or EMObject
        path : str

        Raises
        ------
        ApbcError
            If there is no report.
        """
        from apbc_scipion.viewers.report_record import ReportRecord, write_report_picture

        write_report_picture(ReportRecord(obj.getReportPath()), path)


def title_of_run(run, obj):
    """Label of a run, or else what its output calls itself."""
    if run is None:
        return str(obj)
    return run.getObjLabel() or run.getClassLabel()
