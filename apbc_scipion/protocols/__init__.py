"""Protocols of the plugin."""

from apbc_scipion.protocols.protocol_compare_pickers import ApbcProtComparePickers
from apbc_scipion.protocols.protocol_create_coordinates import ApbcProtCreateCoordinates
from apbc_scipion.protocols.protocol_create_training_set import ApbcProtCreateTrainingSet
from apbc_scipion.protocols.protocol_evaluate import ApbcProtEvaluate
from apbc_scipion.protocols.protocol_export import ApbcProtExport
from apbc_scipion.protocols.protocol_import_model import ApbcProtImportModel
from apbc_scipion.protocols.protocol_pick import ApbcProtPick
from apbc_scipion.protocols.protocol_screen import ApbcProtScreen
from apbc_scipion.protocols.protocol_train import ApbcProtTrain

__all__ = [
    "ApbcProtComparePickers",
    "ApbcProtCreateCoordinates",
    "ApbcProtCreateTrainingSet",
    "ApbcProtEvaluate",
    "ApbcProtExport",
    "ApbcProtImportModel",
    "ApbcProtPick",
    "ApbcProtScreen",
    "ApbcProtTrain",
]
