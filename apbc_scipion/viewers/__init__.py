"""Viewers that Scipion finds; the windows behind them are imported when they open."""

# Scipion sorts viewers by the names they have here; that for any coordinates is to come last.
from apbc_scipion.viewers.viewer_bootstrap import ApbcBootstrapViewer
from apbc_scipion.viewers.viewer_comparison import ApbcComparisonViewer
from apbc_scipion.viewers.viewer_metrics import ApbcMetricsViewer
from apbc_scipion.viewers.viewer_picks import ApbcCoordinatesViewer as ZApbcCoordinatesViewer
from apbc_scipion.viewers.viewer_picks import ApbcPicksViewer
from apbc_scipion.viewers.viewer_search import ApbcSearchViewer
from apbc_scipion.viewers.viewer_training import ApbcTrainingViewer

__all__ = [
    "ApbcBootstrapViewer",
    "ApbcComparisonViewer",
    "ApbcMetricsViewer",
    "ApbcPicksViewer",
    "ApbcSearchViewer",
    "ApbcTrainingViewer",
    "ZApbcCoordinatesViewer",
]
