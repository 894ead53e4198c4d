"""Viewer of reports: pictures and tables that a run left, in a window or as one picture."""

from pyworkflow.protocol import Protocol

from apbc_scipion.pick_sources import producer_of
from apbc_scipion.viewers.viewer_base import ApbcViewer, tell_state


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
            title_of_run(run, obj),
            obj.getReportPath(),
            self.formWindow,
            lambda: tell_state(self._project, run, "report"),
        )

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
