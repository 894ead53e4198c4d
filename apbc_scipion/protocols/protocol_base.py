"""What the protocols of the plugin share."""

import os

from pyworkflow.constants import BETA
from pyworkflow.object import Pointer, PointerList
from pyworkflow.protocol import params

from apbc_scipion import convert, engine
from apbc_scipion.constants import MODEL_CARD
from apbc_scipion.validators import PRECISION

# Scipion draws the fields of GPUs itself, with no place for a wizard; this line has one.
GPU_WIZARD = "gpuWizard"
# Fields that do not change what a run makes.
OF_THE_RUN = ("runName", "runMode", "hostName")


class ApbcProtBase:
    """GPU fields, citations and plain words about devices, for every protocol of the plugin."""

    _devStatus = BETA

    def _defineGpuParams(self, form):
        """Add Scipion's GPU fields."""
        form.addHidden(
            params.USE_GPU,
            params.BooleanParam,
            default=True,
            label="Use GPU for execution?",
            help="Yes: the GPUs of the list below; without a GPU that works the engine runs on the "
            "CPU, and the log and the summary say so. No: the CPU.",
        )
        form.addHidden(
            params.GPU_LIST,
            params.StringParam,
            default="0",
            expertLevel=params.LEVEL_ADVANCED,
            label="GPU IDs",
            help="Ids of the GPUs, in PCI order (that of nvidia-smi), separated by blanks or "
            "commas, for example 0 or 0,1. One process computes on one GPU. Picking uses several: "
            "with one Scipion thread each batch of micrographs is shared out among all of them; "
            "with one thread more than GPUs each batch takes one.",
        )

    def _definePrecision(self, form, text, condition=None):
        """Add the field of the precision that a threshold is to promise, with its help."""
        form.addParam(
            "precision",
            params.FloatParam,
            default=-1.0,
            condition=condition,
            validators=[PRECISION],
            label="Precision that the threshold promises",
            help=text,
        )

    def _defineGpuWizard(self, form):
        """Add a line whose wizard lists the GPUs."""
        form.addParam(
            GPU_WIZARD,
            params.LabelParam,
            label="GPUs of this machine: see the wizard",
            help="The wizard lists the GPUs of the machine, with their memory and load, and "
            "fills in _GPU IDs_ above.",
        )

    def _formValues(self):
        """Tell what the form says, but for what is of the run alone.

        Continue runs a finished step again only if its arguments are others; a step that has these
        among them follows the form.

        Returns
        -------
        list of str
        """
        told = []
        for name, value in self.iterDefinitionAttributes():
            if name not in OF_THE_RUN:
                values = value if isinstance(value, PointerList) else [value]
                told += ["%s=%s" % (name, _value_told(one)) for one in values]
        return told

    def _runEngine(self, verb, arguments, gpus=None):
        """Run one verb of the engine; `gpus` is None for a verb that computes on the CPU only."""
        engine.run(self, verb, arguments, gpus=gpus)

    def _deviceLines(self, device):
        """Say loudly that a GPU was asked for and the CPU did the work."""
        if not device:
            return []
        if self.usesGpu() and device.lower() == "cpu":
            return [
                "*WARNING: a GPU was asked for, but the work was done on the CPU.* Run "
                "_apbc doctor_ in the engine's environment to see why."
            ]
        return ["Device: %s" % device]

    def _citations(self):
        return ["AutopickBC", "Keras2015", "TensorFlow2016"]


def _value_told(value):
    """Value of a field; of a pointer what it points to."""
    if isinstance(value, Pointer):
        return value.getUniqueId() if value.hasValue() else None
    return value.get()


def model_problem(model):
    """Tell in one sentence why a model cannot be used, or return None.

    Parameters
    ----------
    model : ApbcModel

    Returns
    -------
    str or None
    """
    card = os.path.join(model.getPath() or "", MODEL_CARD)
    if not os.path.exists(card):
        return (
            "The folder of the model has gone: %s. Train it or import it again." % model.getPath()
        )
    return None


def set_problem(name, items):
    """Tell in one sentence that a set is empty, or return None."""
    if items is not None and items.getSize() == 0:
        return "The set of %s is empty." % name
    return None


def diameter_problem(diameter, pixelSize):
    """Tell in one sentence that a diameter cannot be, or return None.

    Parameters
    ----------
    diameter : float
        Å.
    pixelSize : float
        Å per pixel.
    """
    if not diameter or diameter <= 0:
        return "The particle diameter must be above 0 Å."
    if pixelSize and diameter < 4 * pixelSize:
        return (
            "A particle of %g Å is smaller than 4 pixels of %g Å: is the diameter given in "
            "pixels?" % (diameter, pixelSize)
        )
    return None


def read_json_or_none(path):
    """Contents of a JSON file, or None where there is no such file (yet)."""
    return convert.read_json(path) if os.path.exists(path) else None
