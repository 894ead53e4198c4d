"""Protocols of the plugin."""

from apbc_scipion.protocols.protocol_align_volume import ApbcProtAlignVolume
from apbc_scipion.protocols.protocol_bootstrap import ApbcProtBootstrap
from apbc_scipion.protocols.protocol_compare_pickers import ApbcProtComparePickers
from apbc_scipion.protocols.protocol_create_coordinates import ApbcProtCreateCoordinates
from apbc_scipion.protocols.protocol_create_training_set import ApbcProtCreateTrainingSet
from apbc_scipion.protocols.protocol_evaluate import ApbcProtEvaluate
from apbc_scipion.protocols.protocol_export import ApbcProtExport
from apbc_scipion.protocols.protocol_import_model import ApbcProtImportModel
from apbc_scipion.protocols.protocol_latent_metrics import ApbcProtLatentMetrics
from apbc_scipion.protocols.protocol_metrics_report import ApbcProtMetricsReport
from apbc_scipion.protocols.protocol_pick import ApbcProtPick
from apbc_scipion.protocols.protocol_pose_error import ApbcProtPoseError
from apbc_scipion.protocols.protocol_screen import ApbcProtScreen
from apbc_scipion.protocols.protocol_search import ApbcProtSearch
from apbc_scipion.protocols.protocol_simulate_micrographs import ApbcProtSimulateMicrographs
from apbc_scipion.protocols.protocol_simulate_particles import ApbcProtSimulateParticles
from apbc_scipion.protocols.protocol_train import ApbcProtTrain
from apbc_scipion.protocols.protocol_volume_fsc import ApbcProtVolumeFsc

__all__ = [
    "ApbcProtAlignVolume",
    "ApbcProtBootstrap",
    "ApbcProtComparePickers",
    "ApbcProtCreateCoordinates",
    "ApbcProtCreateTrainingSet",
    "ApbcProtEvaluate",
    "ApbcProtExport",
    "ApbcProtImportModel",
    "ApbcProtLatentMetrics",
    "ApbcProtMetricsReport",
    "ApbcProtPick",
    "ApbcProtPoseError",
    "ApbcProtScreen",
    "ApbcProtSearch",
    "ApbcProtSimulateMicrographs",
    "ApbcProtSimulateParticles",
    "ApbcProtTrain",
    "ApbcProtVolumeFsc",
]
