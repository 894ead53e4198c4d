"""Scipion plugin of apbc: recycle good and bad 2D classes into a particle picker."""

import pwem

from apbc import __version__
from apbc_scipion import engine, install
from apbc_scipion.constants import APBC_ENV_ACTIVATION, URL

_logo = "apbc_logo.png"
_references = ["AutopickBC", "DeLaRosaTrevin2016"]


class Plugin(pwem.Plugin):
    """What Scipion asks the plugin: variables, environment, installation."""

    _url = URL
    _supportedVersions = [__version__]

    def getName(self):
        """Name in front of the labels of the protocols."""
        return "apbc"

    @classmethod
    def _defineVariables(cls):
        """Define the variables a user can set in ``scipion.conf``."""
        cls._defineVar(
            APBC_ENV_ACTIVATION,
            engine.DEFAULT_ACTIVATION,
            description="Command that activates the environment in which the apbc engine is "
            "installed, such as 'conda activate apbc' or '. /path/to/venv/bin/activate'. Leave "
            "it alone for the environment that 'scipion installb apbc' made; set it to nothing "
            "for Scipion's own Python, if TensorFlow is installed there.",
        )

    @classmethod
    def getEnviron(cls):
        """Environment in which the engine's programs run."""
        return engine.environment()

    @classmethod
    def validateInstallation(cls):
        """Tell what is wrong with the installation of the engine, if anything."""
        problem = engine.version_problem()
        return [problem] if problem else []

    @classmethod
    def defineBinaries(cls, env):
        """Define what ``scipion installb apbc`` does."""
        install.define_binaries(cls, env)
