"""What the protocols share that go over micrographs in batches, as they arrive."""

import os

import pyworkflow.utils as pwutils
from pwem.protocols import ProtParticlePickingAuto
from pyworkflow.object import Integer
from pyworkflow.protocol import params

from apbc_scipion import convert
from apbc_scipion.protocols.protocol_base import ApbcProtBase
from apbc_scipion.validators import POSITIVE, within


class ApbcProtStreamBase(ProtParticlePickingAuto, ApbcProtBase):
    """Goes over micrographs in batches; marks each as done or as failed, never as both."""

    def __init__(self, **kwargs):
        ProtParticlePickingAuto.__init__(self, **kwargs)
        self._attempt = Integer(1)

    # -------------------------- parameters -----------------------------------
    def _defineMaxFailed(self, form):
        """Add the field of the share of failures that the run tolerates."""
        form.addParam(
            "maxFailed",
            params.FloatParam,
            default=0.0,
            expertLevel=params.LEVEL_ADVANCED,
            validators=[within(0, 1)],
            label="Tolerated share of failed micrographs (0 to 1)",
            help="The run fails at its end if a larger share of the micrographs failed. 0: any "
            "failure makes it fail; 0.05 lets one in twenty pass.",
        )

    def _defineWorkers(self, form, helps):
        """Add the field of the engine's processes."""
        form.addParam(
            "workers",
            params.IntParam,
            default=1,
            validators=[POSITIVE],
            expertLevel=params.LEVEL_ADVANCED,
            label="Processes of the engine",
            help=helps,
        )

    def _defineBatches(self, form, size, helps):
        """Add Scipion's fields of streaming, with our help.

        Parameters
        ----------
        form : pyworkflow.protocol.params.Form
        size : int
            Micrographs in a batch.
        helps : dict of str to str
            Help by the name of a field.
        """
        self._defineStreamingParams(form)
        form.getParam("streamingBatchSize").setDefault(size)
        for name, text in helps.items():
            form.getParam(name).help.set(text)

    # -------------------------- steps -----------------------------------------
    def _insertInitialSteps(self):
        if self.isContinued() and self._readFailed():
            # Steps with another argument run again; what is done is skipped in them.
            self._attempt.increment()
            self._store(self._attempt)
            for path in self._iterFailedFiles():
                os.remove(path)
        return []

    def _getPickArgs(self):
        return [self._attempt.get()]

    def _insertPickMicrographStep(self, mic, prerequisites, *args):
        return self._insertPickMicrographListStep([mic], prerequisites, *args)

    def _insertPickMicrographListStep(self, micList, prerequisites, *args):
        return self._insertFunctionStep(
            self.pickMicrographListStep,
            [mic.getMicName() for mic in micList],
            [mic.getObjId() for mic in micList],
            *args,
            prerequisites=prerequisites,
            needsGPU=self.usesGpu(),
        )

    def pickMicrographListStep(self, micNames, micIds, attempt):
        """Go over a batch; mark each micrograph as done or as failed."""
        mics = [
            mic
            for mic in (self.micDict[name] for name in micNames)
            if not os.path.exists(self._getMicDone(mic))
        ]
        if not mics:
            self.info("Nothing is left to do in this batch.")
            return
        labels = self._getLabels()
        folder = self._getExtraPath("batches", "mic_%06d" % micIds[0])
        os.makedirs(folder, exist_ok=True)
        failed, present = {}, []
        for mic in mics:
            if os.path.exists(mic.getFileName()):
                present.append(mic)
            else:
                failed[labels[mic.getObjId()]] = "its file is missing: %s" % mic.getFileName()
        failed.update(self._doBatch(present, labels, folder))
        for mic in mics:
            label = labels[mic.getObjId()]
            if label in failed:
                self._markFailed(mic, failed[label])
            else:
                self._markDone(mic)

    def _doBatch(self, mics, labels, folder):
        """Run the engine on the micrographs of a batch whose files are there.

        Parameters
        ----------
        mics : list of Micrograph
            May be empty.
        labels : dict of int to str
            Of all micrographs.
        folder : str
            Of the batch.

        Returns
        -------
        dict of str to str
            Reason of failure by label; the output of the others has its final place.
        """
        raise NotImplementedError

    def _tellFailures(self):
        """Fail at the end if more micrographs failed than the user tolerates."""
        failed = self._readFailed()
        total = len(self.micDict)
        if failed and len(failed) > self.maxFailed.get() * total:
            raise RuntimeError(
                "%d of %d micrographs failed, for example %s: %s. The coordinates of the others "
                "are in the output; mend the cause and choose Continue."
                % ((len(failed), total) + failed[0])
            )

    # -------------------------- streaming ----------------------------------------
    def _isMicDone(self, mic):
        """Tell whether nothing more will happen to a micrograph in this run."""
        return os.path.exists(self._getMicDone(mic)) or os.path.exists(self._getMicFailed(mic))

    def _micIsReady(self, mic):
        """Tell whether a micrograph has coordinates to read: a failed one has none."""
        return os.path.exists(self._getMicDone(mic))

    # -------------------------- information ------------------------------------
    def _failureLines(self):
        """Tell the micrographs that failed."""
        failed = self._readFailed()
        lines = ["*%d micrographs failed:*" % len(failed)] if failed else []
        lines += ["%s: %s" % item for item in failed[:10]]
        if len(failed) > 10:
            lines.append("... and %d more, see extra/FAILED" % (len(failed) - 10))
        return lines

    # -------------------------- utilities ----------------------------------------
    def _ifClosed(self, items):
        """Return a set, or None while it is still growing."""
        return items if items is not None and items.isStreamClosed() else None

    def _getLabels(self):
        return convert.labels_of(list(self.micDict.values()))

    def _moveIn(self, path, folder):
        """Move a file of a batch to its final place, if it is there."""
        if os.path.exists(path):
            target = self._getExtraPath(folder)
            os.makedirs(target, exist_ok=True)
            os.replace(path, os.path.join(target, os.path.basename(path)))

    def _getMicFailed(self, mic):
        return self._getExtraPath("FAILED", "mic_%06d.TXT" % mic.getObjId())

    def _markDone(self, mic):
        with open(self._getMicDone(mic), "w"):
            pass

    def _markFailed(self, mic, reason):
        self.error("Micrograph %s failed: %s" % (mic.getMicName(), reason))
        path = self._getMicFailed(mic)
        pwutils.makeFilePath(path)
        with convert.new_file(path) as handle:
            handle.write("%s\t%s\n" % (mic.getMicName(), reason.replace("\n", " ")))

    def _iterFailedFiles(self):
        folder = self._getExtraPath("FAILED")
        if os.path.isdir(folder):
            for name in sorted(os.listdir(folder)):
                if name.endswith(".TXT"):
                    yield os.path.join(folder, name)

    def _readFailed(self):
        """Names of failed micrographs with the reasons."""
        failed = []
        for path in self._iterFailedFiles():
            with open(path) as handle:
                name, _, reason = handle.readline().rstrip("\n").partition("\t")
            failed.append((name, reason))
        return failed
