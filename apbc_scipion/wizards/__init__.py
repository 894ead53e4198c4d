"""Wizards of the forms; the windows behind them are imported when they open."""

from apbc_scipion.wizards.wizard_box_size import ApbcBoxSizeWizard
from apbc_scipion.wizards.wizard_classes import ApbcClassesWizard
from apbc_scipion.wizards.wizard_diameter import ApbcDiameterWizard
from apbc_scipion.wizards.wizard_gpu import ApbcGpuWizard
from apbc_scipion.wizards.wizard_threshold import ApbcThresholdWizard

__all__ = [
    "ApbcBoxSizeWizard",
    "ApbcClassesWizard",
    "ApbcDiameterWizard",
    "ApbcGpuWizard",
    "ApbcThresholdWizard",
]
