"""Coordinates to files that other programs find."""

import json
import os

import pyworkflow.utils as pwutils
from pwem.protocols import EMProtocol
from pyworkflow.protocol import params
from pyworkflow.protocol.constants import STEPS_SERIAL

from apbc_scipion import convert
from apbc_scipion.protocols.protocol_base import ApbcProtBase, read_json_or_none, set_problem
from apbc_scipion.validators import at_least

SUFFIX = "apbc"
# Parameter, the engine's word, and what the summary says of it.
FORMATS = (
    ("exportRelion", "relion", "Relion 3.1: choose coords_suffix_%s.star" % SUFFIX),
    ("exportEman", "eman", "EMAN: .box files in the folders of the micrographs"),
    ("exportStar", "star", "One star file of all: coordinates.star"),
    ("exportCsv", "csv", "CSV files (x, y, score) in the folders of the micrographs"),
)


class ApbcProtExport(EMProtocol, ApbcProtBase):
    """Write coordinates of any picker as files for Relion, EMAN and other programs.

    *What it is for.* To go on outside Scipion. Relion looks for coordinates by the folders and
    names of its micrographs, and shows nothing where they differ. This protocol writes the files
    under the names that Relion looks for, with the folders of the micrographs kept, also when
    two folders hold micrographs of one name. Scores of _apbc - pick particles_ go along.

    *Input.* Coordinates, and best the star file of the micrographs in the Relion project: the
    files are laid out for it, and micrographs are matched by their file names. Without it the
    micrographs have the names of this Scipion project, and micrographs.star lists them: run
    Relion in the folder of the project.

    *Output.* The files, in extra/export; the summary says where. There is no new set in the
    project. In Relion's Particle extraction choose as input coordinates, with the file browser:
    _coords_suffix_apbc.star_ in Relion 3.1, _autopick.star_ in Relion 4 and 5. Relion's Import is
    not needed. (To use it all the same, copy the micrograph folders from the export into the
    folder of the Relion project first, since Import keeps the path of every file as it is.)

    *If the result is poor.* If Relion extracts no particles, the names differ: give the star file
    of the micrographs of that very Relion project. The summary tells which micrographs were not
    found in it. If picks seem to sit beside the particles, check that the pixel size of the
    micrographs is right in both programs; nothing needs to be flipped.
    """

    _label = "export coordinates"
    _possibleOutputs = {}
    stepsExecutionMode = STEPS_SERIAL

    # -------------------------- parameters -----------------------------------
    def _defineParams(self, form):
        form.addSection(label="Input")
        form.addParam(
            "inputCoordinates",
            params.PointerParam,
            pointerClass="SetOfCoordinates",
            important=True,
            label="Coordinates",
            help="Coordinates of any picker; scores of apbc go along.",
        )
        form.addParam(
            "relionMicrographs",
            params.FileParam,
            default="",
            label="Relion's micrographs (optional)",
            help="The star file of the micrographs in the Relion project that shall use the "
            "coordinates, such as CtfFind/job003/micrographs_ctf.star. Micrographs are matched "
            "by file name without folder and extension. Coordinates are scaled where the star "
            "file tells another pixel size. Leave it empty to use the names that the "
            "micrographs have in this Scipion project.",
        )
        form.addParam(
            "exportRelion",
            params.BooleanParam,
            default=True,
            label="Relion",
            help="NAME_apbc.star for every micrograph, coords_suffix_apbc.star (Relion 3.1) and "
            "autopick.star (Relion 4 and 5).",
        )
        form.addParam(
            "exportEman",
            params.BooleanParam,
            default=True,
            label="EMAN boxes",
            help="NAME.box for every micrograph: lower left corner, width and height in pixels. "
            "EMAN and many other programs read them.",
        )
        form.addParam(
            "boxSize",
            params.IntParam,
            default=0,
            validators=[at_least(0)],
            condition="exportEman",
            label="Box size (px)",
            help="Side of the boxes in pixels of the exported micrographs, about 1.5 particle "
            "diameters. 0 takes the box size of the coordinates.",
        )
        form.addParam(
            "exportStar",
            params.BooleanParam,
            default=False,
            label="One star file",
            help="coordinates.star, with rlnMicrographName, rlnCoordinateX and rlnCoordinateY of "
            "all picks: for cryoSPARC's Import Particle Stack and for scripts.",
        )
        form.addParam(
            "exportCsv",
            params.BooleanParam,
            default=False,
            label="CSV",
            help="NAME.csv for every micrograph, with the columns x, y and, where the "
            "coordinates have scores, score.",
        )
        form.addParallelSection(threads=0, mpi=0)

    # -------------------------- steps -----------------------------------------
    def _insertAllSteps(self):
        self._insertFunctionStep(self.writeInputStep, needsGPU=False)
        self._insertFunctionStep(self.exportStep, needsGPU=False)

    def writeInputStep(self):
        """Write the coordinates, and the names of the micrographs, for the engine."""
        coordinates = self.inputCoordinates.get()
        index = convert.MicrographIndex(coordinates.getMicrographs())
        points, lost = convert.collect_points(coordinates.iterItems(), 1.0, index, score=True)
        if lost:
            self.warning(
                "%d coordinates are on micrographs that are not in the set of micrographs; they "
                "are left out." % lost
            )
        pwutils.cleanPath(self._getTmpPath("picks"))
        convert.write_coordinates(points, self._getTmpPath("picks"))
        with convert.new_file(self._getTmpPath("picks", "run.json")) as handle:
            json.dump({"pixel_size": index.pixelSize, "box_size": coordinates.getBoxSize()}, handle)
        pwutils.cleanPath(self.getExportPath())
        pwutils.makePath(self.getExportPath())
        if not self.relionMicrographs.get():
            convert.write_micrographs_star(index, self.getExportPath("micrographs.star"))

    def exportStep(self):
        """Let the engine write the files."""
        micrographs, out = self.getExportPath("micrographs.star"), self.getExportPath()
        if self.relionMicrographs.get():  # Relion works in another folder than Scipion
            micrographs, out = map(os.path.abspath, (self.relionMicrographs.get(), out))
        arguments = [
            self._getTmpPath("picks"),
            "--micrographs",
            micrographs,
            "--out",
            out,
            "--format",
            ",".join(self._getFormats()),
            "--suffix",
            SUFFIX,
            "--json",
            self._getExtraPath("export.json"),
        ]
        if self.boxSize.get():
            arguments += ["--box-size", self.boxSize.get()]
        self._runEngine("export", arguments)

    # -------------------------- information ------------------------------------
    def _validate(self):
        errors = []
        coordinates = self.inputCoordinates.get()
        problem = set_problem("coordinates", coordinates)
        if problem:
            errors.append(problem)
        if coordinates is not None and coordinates.getMicrographs() is None:
            errors.append("The micrographs of the coordinates are not known.")
        if not self._getFormats():
            errors.append("Choose at least one format.")
        star = self.relionMicrographs.get()
        if star and not os.path.isfile(star):
            errors.append("There is no file %s." % star)
        elif star and not star.endswith(".star"):
            errors.append("Relion's micrographs must be a star file, not %s." % star)
        boxSize = self.boxSize.get() or (coordinates is not None and coordinates.getBoxSize())
        if not errors and self.exportEman and not boxSize:
            errors.append("The coordinates have no box size: give one for the EMAN boxes.")
        return errors

    def _warnings(self):
        warnings = []
        coordinates = self.inputCoordinates.get()
        if coordinates is not None and not coordinates.isStreamClosed():
            warnings.append(
                "The coordinates are still being made: those that come later are not exported."
            )
        boxSize = self.boxSize.get() or (coordinates is not None and coordinates.getBoxSize())
        if self.exportEman and boxSize and boxSize % 2:
            warnings.append(
                "The box size of %d px is odd: corners of EMAN boxes are whole pixels, so that "
                "centres move by half a pixel." % boxSize
            )
        return warnings

    def _summary(self):
        told = read_json_or_none(self._getExtraPath("export.json"))
        if told is None:
            return ["The coordinates are not exported yet."]
        lines = [
            "*%d* coordinates on *%d* micrographs are in" % (told["picks"], told["micrographs"]),
            os.path.abspath(self.getExportPath()),
        ]
        lines += [text for _, word, text in FORMATS if word in told["formats"]]
        if "relion" in told["formats"]:
            lines.append("Relion 4 and 5: choose autopick.star")
        if told["left_out"]:
            lines.append(
                "*%d micrographs are left out*, such as %s: they are not in %s."
                % (len(told["left_out"]), told["left_out"][0], self.relionMicrographs.get())
            )
        if told["scale"] != 1:
            lines.append("Coordinates were scaled by %0.4g." % told["scale"])
        return lines

    def _methods(self):
        return []

    def _citations(self):
        programs = {"exportRelion": "Zivanov2018", "exportEman": "Tang2007"}
        return [key for name, key in programs.items() if getattr(self, name)]

    # -------------------------- utilities ----------------------------------------
    def getExportPath(self, *names):
        """Path within the folder of the exported files."""
        return self._getExtraPath("export", *names)

    def _getFormats(self):
        return [word for name, word, _ in FORMATS if getattr(self, name)]
