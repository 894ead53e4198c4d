"""Write what a viewer shows as a PNG, on a machine without a screen.

    scipion3 python -m apbc_scipion.picture PROJECT RUN --out FILE.png

PROJECT is the name of a Scipion project, or its folder; RUN the id or the label of a run in it.
What is drawn depends on the run: picks over a micrograph, curves, figures and crops of a training,
the report of a comparison or of metrics, the stages of a bootstrap, or class averages with the
classes that the written rule suggests.
"""

import argparse
import os
import sys


class PictureError(Exception):
    """There is nothing to draw; the message says why."""


def parse_arguments(words=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m apbc_scipion.picture",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("project", help="name of the project, or its folder")
    parser.add_argument("run", help="id or label of the run")
    parser.add_argument("--out", required=True, metavar="PNG", help="picture to write")
    parser.add_argument(
        "--output", metavar="NAME", help="one of several outputs of the run, for coordinates"
    )
    picks = parser.add_argument_group("picks, and stages of a bootstrap (which have no threshold)")
    picks.add_argument("--micrograph", metavar="NAME", help="default: the first one")
    picks.add_argument(
        "--threshold", type=float, metavar="P", help="default: that with which was picked"
    )
    picks.add_argument(
        "--view",
        choices=["accepted", "rejected", "both"],
        default="both",
        help="which candidates are drawn (default: both)",
    )
    classes = parser.add_argument_group("class averages")
    classes.add_argument(
        "--diameter", type=float, metavar="A", help="in Å; default: guessed from the averages"
    )
    return parser.parse_args(words)


def open_project(name):
    """Open a project by its name or its folder.

    Raises
    ------
    PictureError
        If there is no such project.
    """
    import pyworkflow
    from pyworkflow.project import Manager, Project

    domain = pyworkflow.Config.getDomain()
    domain.getProtocols()
    folder = name if os.path.isdir(name) else Manager().getProjectPath(name)
    if not os.path.exists(os.path.join(folder, "project.sqlite")):
        raise PictureError(
            "There is no Scipion project %s; give the name of a project or its folder." % name
        )
    project = Project(domain, os.path.abspath(folder))
    project.load()
    return project


def find_run(project, name):
    """Find a run by its id or its label.

    Raises
    ------
    PictureError
        If there is none.
    """
    runs = list(project.getRuns())
    for run in runs:
        if name in (str(run.getObjId()), run.getObjLabel()):
            return run
    raise PictureError(
        "There is no run '%s' in the project; there are %s."
        % (name, ", ".join("%d (%s)" % (run.getObjId(), run.getObjLabel()) for run in runs))
    )


def write_picture(project, run, arguments):
    """Write the picture of a run.

    Raises
    ------
    PictureError
        If there is nothing to draw.
    """
    from pwem.objects import SetOfClasses2D, SetOfCoordinates

    from apbc_scipion.viewers import ApbcBootstrapViewer, ApbcPicksViewer, ApbcTrainingViewer
    from apbc_scipion.viewers.viewer_report import ApbcReportViewer

    obj = run
    if arguments.output:
        obj = getattr(run, arguments.output, None)
        if obj is None:
            raise PictureError(
                "The run has no output %s; it has %s."
                % (arguments.output, ", ".join(name for name, _ in run.iterOutputAttributes()))
            )
    options = {"project": project, "protocol": run}
    for _, classes in [] if obj is not run else run.iterOutputAttributes(SetOfClasses2D):
        obj = classes
    if isinstance(obj, SetOfClasses2D):
        from apbc_scipion.wizards.class_chooser_figure import write_classes_picture

        write_classes_picture(obj, arguments.diameter, arguments.out)
    elif hasattr(obj, "getReportPath"):
        ApbcReportViewer(**options).writePicture(obj, arguments.out)
    elif type(obj) in ApbcBootstrapViewer._targets:
        ApbcBootstrapViewer(**options).writePicture(obj, arguments.out, arguments.micrograph)
    elif type(obj) in ApbcTrainingViewer._targets:
        ApbcTrainingViewer(**options).writePicture(obj, arguments.out)
    elif (
        type(obj) in ApbcPicksViewer._targets
        or isinstance(obj, SetOfCoordinates)
        or any(run.iterOutputAttributes(SetOfCoordinates))
    ):
        ApbcPicksViewer(**options).writePicture(
            obj, arguments.out, arguments.micrograph, arguments.threshold, arguments.view
        )
    else:
        raise PictureError(
            "There is no picture of '%s': give a run that bootstraps, picks, "
            "compares, trains or classifies." % run.getObjLabel()
        )


def main(words=None):
    """Run the command; returns its exit status."""
    arguments = parse_arguments(words)
    arguments.out = os.path.abspath(arguments.out)
    from apbc.errors import ApbcError
    from apbc_scipion.pick_sources import SourceError

    try:
        project = open_project(arguments.project)
        write_picture(project, find_run(project, arguments.run), arguments)
    except (PictureError, SourceError, ApbcError) as error:
        sys.stderr.write("picture: error: %s\n" % error)
        return 1
    sys.stdout.write("Wrote %s\n" % arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
