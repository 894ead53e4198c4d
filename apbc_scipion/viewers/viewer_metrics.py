"""Viewer of metrics: pictures and tables of one run, or of the report of several."""

from apbc_scipion.objects import ApbcMetrics
from apbc_scipion.protocols import (
    ApbcProtLatentMetrics,
    ApbcProtMetricsReport,
    ApbcProtPoseError,
    ApbcProtVolumeFsc,
)
from apbc_scipion.viewers.viewer_report import ApbcReportViewer


class ApbcMetricsViewer(ApbcReportViewer):
    """Shows what was measured against the ground truth."""

    _name = "apbc metrics viewer"
    _targets = [
        ApbcProtLatentMetrics,
        ApbcProtMetricsReport,
        ApbcProtPoseError,
        ApbcProtVolumeFsc,
        ApbcMetrics,
    ]
