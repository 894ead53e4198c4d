"""One report of several methods."""

import os

from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert, truth_tables
from apbc_scipion.constants import METRICS_RECORD, METRICS_REPORT
from apbc_scipion.protocols.protocol_base import ApbcProtBase

REPORT_FOLDER = "report"
LEADERBOARD = "leaderboard.json"
FILES = ("report.html", "report.csv", LEADERBOARD)
HEADLINES = "main_figures.csv"


class ApbcProtMetricsReport(ApbcProtBase, EMProtocol):
    """Put metrics of several methods side by side in one report.

    *What it is for.* To compare programs, or settings of one program, on the same ground truth:
    which recovers the structures best, and what by.

    *Input.* Outputs outputMetrics of runs of _apbc - FSC with ground truth_, _pose error_ and
    _latent metrics_. Runs of one method name belong together and make one row; so give each
    method a name in its runs. Metrics are compared only with the same metric.

    *Output.* Files in extra/report: _report.html_, a page that needs nothing else and can be sent
    by mail, _report.csv_ with all figures, _leaderboard.json_, and pictures. There is no new set in
    the project. _Analyze results_ shows pictures and tables, and opens the page in the browser.

    *If the result is poor.* If one method has two rows, or two methods share one, their runs have
    other names than you think: correct _Name in the report_ there and run them again. Figures can
    be compared only if they were measured with the same truth, mask and options: see the
    parameters at the end of the page.
    """

    _label = "metrics report"
    _possibleOutputs = {}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputMetrics",
            params.MultiPointerParam,
            pointerClass="ApbcMetrics",
            important=True,
            label="Metrics",
            help="Outputs _outputMetrics_ of the runs to compare, of any number of methods and "
            "metrics; at least one.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.reportStep, self._formValues(), needsGPU=False)

    def reportStep(self, form):
        """Let the engine write the report, and a table of what counts most for the viewer."""
        self._runEngine("metrics", ["report", *self._folders(), "--out", self._getReportFolder()])
        methods = convert.read_json(self._getReportFolder(LEADERBOARD))["methods"]
        truth_tables.write_table(
            self._getReportFolder(HEADLINES),
            ("figure", "unit", "better", *methods),
            (
                [one["label"], one["unit"], one["better"]]
                + ["%0.3f" % value if value is not None else "" for value in self._valuesOf(one)]
                for one in self._headlines()
            ),
        )
        record = convert.read_json(self.getReportPath())
        record["tables"].insert(0, HEADLINES)
        convert.write_json(self.getReportPath(), record)

    # -------------------------- input ------------------------------------------
    def _metrics(self):
        """Return the metrics that are compared."""
        return [pointer.get() for pointer in self.inputMetrics if pointer.get() is not None]

    def _folders(self):
        """Folders with a record each."""
        return [folder for metrics in self._metrics() for folder in metrics.getFolders()]

    def _headlines(self):
        """Figures of the report that count most, as the engine's leaderboard has them."""
        board = convert.read_json(self._getReportFolder(LEADERBOARD))
        return [
            dict(figure, methods=board["methods"])
            for metric in board["metrics"]
            for figure in metric["figures"].values()
            if figure["headline"]
        ]

    def _valuesOf(self, figure):
        """Values of a figure, None for methods that have none."""
        return [figure["values"].get(method) for method in figure["methods"]]

    def _getReportFolder(self, *names):
        return self._getExtraPath(REPORT_FOLDER, *names)

    def getReportPath(self):
        """JSON record of pictures and tables, for the viewer."""
        return self._getReportFolder(METRICS_REPORT)

    # -------------------------- information ------------------------------------
    def _validate(self):
        if not self._metrics():
            return ["There are no metrics to report; give outputs of finished runs."]
        errors, known = [], set()
        for metrics in self._metrics():
            for folder in metrics.getFolders():
                path = os.path.join(folder, METRICS_RECORD)
                if not os.path.exists(path):
                    errors.append(
                        "The record of the metrics of %s has gone: %s. Run them again."
                        % (metrics.getMethod(), folder)
                    )
                    continue
                record = convert.read_json(path)
                one = (record["metric"], record["parameters"].get("kind"), record["name"])
                if one in known:
                    errors.append(
                        "Two runs measure the same (%s) of a method called %s: change _Name in "
                        "the report_ in one of them, and run it again." % (one[0], one[2])
                    )
                known.add(one)
        return errors

    def _warnings(self):
        methods = {metrics.getMethod() for metrics in self._metrics()}
        if len(methods) == 1:
            return ["All metrics are of one method (%s): nothing is compared." % methods.pop()]
        return []

    def _summary(self):
        if not os.path.exists(self._getReportFolder(FILES[0])):
            return ["There is no report yet."]
        methods = sorted({metrics.getMethod() for metrics in self._metrics()})
        lines = ["*%d methods*: %s" % (len(methods), ", ".join(methods))]
        for one in self._headlines():
            known = [
                "%s %0.3f%s" % (method, value, one["unit"] and " " + one["unit"])
                for method, value in zip(one["methods"], self._valuesOf(one))
                if value is not None
            ]
            lines.append("%s: %s" % (one["label"], ", ".join(known) or "not defined"))
        return lines + [self.getFileTag(self._getReportFolder(name)) for name in FILES]

    def _methods(self):
        return []

    def _citations(self):
        return ["Jeon2024"]
