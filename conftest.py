"""Give the plugin's tests a Scipion of their own, in a folder that goes when they end."""

import atexit
import importlib.util
import shutil
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
collect_ignore_glob = []


def _load(path):
    """Import a module by its path, without the package round it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if importlib.util.find_spec("pyworkflow") is None:
    collect_ignore_glob.append("apbc_scipion/*")
else:
    home = tempfile.mkdtemp(prefix="apbc-scipion-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    _load(HERE / "apbc_scipion" / "headless.py").prepare(home)

    import pyworkflow

    pyworkflow.Config.setDomain("pwem")
