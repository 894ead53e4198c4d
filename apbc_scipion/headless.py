"""Scipion without its installer: what a project needs to run from a plain Python.

The tests and the demo use it. Under ``scipion python`` or ``scipion tests`` Scipion is set up
already and nothing is changed. Scipion reads its configuration when it is imported, so `prepare`
comes first; this module imports nothing of it, and can be loaded by its path.
"""

import logging
import os
import shutil
import sys

logger = logging.getLogger(__name__)

# Relion 3.1 and later read and write the same files for what the workflow needs; the plugin of
# Relion tells versions by the name of the folder and knows 4.0 as its oldest.
RELION_FOLDER = "relion-4.0"
RELION_PROGRAMS = ("relion_autopick", "relion_preprocess", "relion_refine")


def prepare(home):
    """Make a folder that serves as Scipion's home, and point the environment to it.

    Parameters
    ----------
    home : str
        Made if missing. Nothing outside of it is written.

    Returns
    -------
    bool
        Whether this was needed; False where Scipion is set up already.
    """
    if "SCIPION_HOME" in os.environ:
        return False
    home = os.path.abspath(home)
    folders = {
        "SCIPION_HOME": home,
        "SCIPION_USER_DATA": os.path.join(home, "data"),
        "SCIPION_TESTS": os.path.join(home, "data", "tests"),
        "SCIPION_TESTS_OUTPUT": os.path.join(home, "data", "tests", "output"),
        "SCIPION_LOGS": os.path.join(home, "logs"),
    }
    for folder in [
        *folders.values(),
        os.path.join(home, "config"),
        os.path.join(home, "software", "log"),
        os.path.join(home, "software", "em"),
    ]:
        os.makedirs(folder, exist_ok=True)
    os.environ.update(folders)
    os.environ.update(SCIPION_DOMAIN="pwem", SCIPION_TEST_NOSYNC="1")
    programs = os.path.dirname(os.path.abspath(sys.executable))
    if programs not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = programs + os.pathsep + os.environ.get("PATH", "")
    hosts = os.path.join(home, "config", "hosts.conf")
    if not os.path.exists(hosts):
        import scipion

        shutil.copyfile(
            os.path.join(os.path.dirname(scipion.__file__), "templates", "hosts.template"), hosts
        )
    if "RELION_HOME" not in os.environ:
        folder = link_relion(os.path.join(home, "software", "em", RELION_FOLDER))
        if folder:
            os.environ["RELION_HOME"] = folder
    return True


def link_relion(folder):
    """Link the Relion programs of the PATH into a folder that Relion's plugin understands.

    Parameters
    ----------
    folder : str
        Its ``bin`` gets the links.

    Returns
    -------
    str
        The folder, or "" where there is no Relion on the PATH.
    """
    if not all(shutil.which(program) for program in RELION_PROGRAMS):
        return ""
    target = os.path.join(folder, "bin")
    os.makedirs(target, exist_ok=True)
    source = os.path.dirname(shutil.which(RELION_PROGRAMS[0]))
    for name in os.listdir(source):
        link = os.path.join(target, name)
        if name.startswith("relion_") and not os.path.lexists(link):
            os.symlink(os.path.join(source, name), link)
    return folder


def relion_problem():
    """Tell in a few words why Relion cannot be run from Scipion, or return None.

    Returns
    -------
    str or None
    """
    import pwem

    # Only a plugin that its domain has loaded knows its variables.
    plugin = pwem.Domain.getPlugins().get("relion")
    if plugin is None:
        return "the plugin scipion-em-relion is not installed"
    home = plugin.Plugin.getHome() or ""
    missing = [
        program
        for program in RELION_PROGRAMS
        if not os.path.exists(os.path.join(home, "bin", program))
    ]
    if missing:
        return "Relion's %s is not in %s" % (missing[0], os.path.join(home, "bin"))
    return None
