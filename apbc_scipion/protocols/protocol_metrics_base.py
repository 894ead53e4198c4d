"""What the protocols that measure against the ground truth share."""

import os

import pyworkflow.utils as pwutils
from pyworkflow.protocol import params

from apbc_scipion import convert
from apbc_scipion.constants import METRICS_FOLDER, METRICS_RECORD, METRICS_REPORT
from apbc_scipion.objects import ApbcMetrics
from apbc_scipion.protocols.protocol_base import ApbcProtBase

OUTPUT_METRICS = "outputMetrics"
# Attribute of aligned volumes.
MIRRORED = "_apbcMirrored"
# Pixel sizes that differ by less than this share are the same: headers round.
SAME_PIXEL_SIZE = 1e-3
BY_ID, BY_IMAGE = range(2)  # how particles find their true ones


class ApbcProtMetricsBase(ApbcProtBase):
    """Runs metrics of the engine, each in a folder of its own, and gathers what they left."""

    # -------------------------- parameters -----------------------------------
    def _defineMethodParam(self, form):
        """Add the name of the method in reports."""
        form.addParam(
            "methodName",
            params.StringParam,
            default="",
            label="Name in the report (optional)",
            help="What reports call the method that is measured, such as _cryoDRGN_. Empty: the "
            "name of the run that made the input. A report of several methods needs different "
            "names.",
        )

    def _defineMatching(self, form):
        """Add the fields that tell how particles find their true ones, of another set."""
        form.addParam(
            "matchBy",
            params.EnumParam,
            choices=["object id", "image"],
            default=BY_ID,
            condition="truthParticles is not None",
            label="Match particles by",
            help="_object id_: as it is when one set was made of the other in Scipion. _image_: "
            "the number and the name of the stack (its folder may differ), for sets that were "
            "imported.",
        )
        form.addParam(
            "allowPart",
            params.BooleanParam,
            default=False,
            condition="truthParticles is not None",
            label="May true particles be left over?",
            help="Yes: the particles may be a part of the true ones, such as those that were kept "
            "after cleaning. No: a true particle that is missing stops the run and is named.",
        )

    def _byImage(self):
        """Whether particles are matched by their images."""
        return self.truthParticles.get() is not None and self.matchBy == BY_IMAGE

    def getMethodName(self):
        """Name of the method: that of the form, else that of the run that made the input."""
        name = self.methodName.get("").strip()
        if name:
            return name
        source = self._methodPointer().getObjValue()
        label = source.getObjLabel() if source is not None else ""
        return label or (source.getClassLabel() if hasattr(source, "getClassLabel") else "method")

    def _methodPointer(self):
        """Return the pointer to what is measured."""
        raise NotImplementedError

    # -------------------------- the engine -------------------------------------
    def getMetricsPath(self, *names):
        """Path in the folder of all metrics of the run."""
        return self._getExtraPath(METRICS_FOLDER, *names)

    def getReportPath(self):
        """JSON record of pictures and tables, for the viewer."""
        return self.getMetricsPath(METRICS_REPORT)

    def _measure(self, metric, arguments):
        """Run one metric of the engine, into a new folder."""
        folder = self.getMetricsPath(metric)
        pwutils.cleanPath(folder)
        pwutils.makePath(self.getMetricsPath())
        self._runEngine(
            "metrics", [metric, *arguments, "--name", self.getMethodName(), "--out", folder]
        )

    def getRecord(self, metric):
        """Read the record of one metric; None while there is none.

        Returns
        -------
        dict or None
        """
        path = self.getMetricsPath(metric, METRICS_RECORD)
        return convert.read_json(path) if os.path.exists(path) else None

    def getFigure(self, metric, name):
        """One figure of a metric; None where it is not defined.

        Returns
        -------
        float or None
        """
        record = self.getRecord(metric)
        return record["figures"].get(name) if record else None

    def _defineMetrics(self, metrics, instead=None):
        """Write the record for the viewer and make the output.

        Parameters
        ----------
        metrics : list of str
            What was measured.
        instead : dict of str to str, optional
            Tables of the engine that the viewer shows another table for, both below the folder
            of all metrics.

        Returns
        -------
        ApbcMetrics
        """
        report = {"told": plain_lines(self._tellFigures()), "pictures": [], "tables": []}
        for metric in metrics:
            record = self.getRecord(metric)
            for kind in ("pictures", "tables"):
                names = [os.path.join(metric, name) for name in record[kind]]
                report[kind] += [(instead or {}).get(name, name) for name in names]
        convert.write_json(self.getReportPath(), report)
        output = ApbcMetrics(self.getMetricsPath())
        output.fill(self.getMethodName(), metrics)
        return output

    def _tellFigures(self):
        """Tell in lines what was found; the summary and the viewer show them."""
        raise NotImplementedError

    # -------------------------- information ------------------------------------
    def _warnings(self):
        return []

    def _summary(self):
        if not os.path.exists(self.getReportPath()):
            return ["Nothing is measured yet."]
        return self._tellFigures() + [
            self.getFileTag(self.getMetricsPath(name))
            for metric in sorted(os.listdir(self.getMetricsPath()))
            for name in self._picturesOf(metric)
        ]

    def _picturesOf(self, metric):
        """Pictures of one metric, below the folder of all."""
        record = self.getRecord(metric)
        return [os.path.join(metric, name) for name in record["pictures"]] if record else []


def plain_lines(lines):
    """Lines without the signs that Scipion's summary draws bold or slanted."""
    return [line.replace("*", "") for line in lines]


def told(value, form="%0.3f", missing="not defined"):
    """Text of a figure.

    Parameters
    ----------
    value : float or None
    form : str, optional
    missing : str, optional
        Text where there is none.

    Returns
    -------
    str
    """
    return missing if value is None else form % value


def copies_of(items):
    """Items that stay as they are: a set gives one object again and again.

    Parameters
    ----------
    items : iterable of EMObject

    Returns
    -------
    list of EMObject
    """
    return [item.clone() for item in items]


def grid_problem(one, other, told_one, told_other):
    """Tell in a sentence that volumes do not lie on one grid, or return None.

    Parameters
    ----------
    one, other : Volume or SetOfVolumes
    told_one, told_other : str
        What they are.

    Returns
    -------
    str or None
    """
    names = (told_one, told_other)
    sizes = [item.getSamplingRate() for item in (one, other)]
    if None not in sizes and abs(sizes[0] - sizes[1]) > SAME_PIXEL_SIZE * sizes[1]:
        return "The %s and the %s differ in pixel size, %g and %g Å: bring them to one." % (
            *names,
            *sizes,
        )
    boxes = [item.getDim() for item in (one, other)]
    for name, box in zip(names, boxes):
        if box is not None and len(set(box[:3])) > 1:
            return "The box of the %s is %d x %d x %d voxels and must be cubic: pad or crop it." % (
                name,
                *box[:3],
            )
    if None not in boxes and boxes[0][0] != boxes[1][0]:
        return "The %s and the %s differ in box, %d and %d voxels: bring them to one." % (
            *names,
            boxes[0][0],
            boxes[1][0],
        )
    return None
