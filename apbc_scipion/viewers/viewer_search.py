"""Viewer of searches of training settings."""

from apbc_scipion.protocols import ApbcProtSearch
from apbc_scipion.viewers.viewer_report import ApbcReportViewer


class ApbcSearchViewer(ApbcReportViewer):
    """Shows the measures and curves of the settings, and their table."""

    _name = "apbc search viewer"
    _targets = [ApbcProtSearch]
