"""Viewer of comparisons of pickers."""

from apbc_scipion.objects import ApbcComparison
from apbc_scipion.protocols import ApbcProtComparePickers
from apbc_scipion.viewers.viewer_report import ApbcReportViewer


class ApbcComparisonViewer(ApbcReportViewer):
    """Shows figures, curves, views, agreement and tables of several pickers."""

    _name = "apbc comparison viewer"
    _targets = [ApbcProtComparePickers, ApbcComparison]
