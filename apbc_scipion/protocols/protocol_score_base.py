"""What the protocols that score picks against a reference share."""

import os

from pyworkflow.protocol import params

from apbc_scipion import convert
from apbc_scipion.constants import MODEL_CARD
from apbc_scipion.protocols.protocol_base import ApbcProtBase
from apbc_scipion.validators import POSITIVE, at_least


class ApbcProtScoreBase(ApbcProtBase):
    """Fields and input of *evaluate picks* and *compare pickers*."""

    def _defineScoreParams(self, form):
        """Add diameter, edge, and the model whose training micrographs are left out."""
        form.addParam(
            "particleDiameter",
            params.FloatParam,
            validators=[POSITIVE],
            allowsPointers=True,
            important=True,
            label="Particle diameter (Å)",
            help="Diameter of the particle in Å. A pick within half of it of a reference particle "
            "is a hit. The wizard draws it on a micrograph; the diameter that _apbc - bootstrap "
            "training set_ found can be linked.",
        )
        form.addParam(
            "edge",
            params.FloatParam,
            default=0.0,
            validators=[at_least(0)],
            label="Edge to leave out (Å)",
            help="Picks and reference particles nearer than this to the border of the "
            "micrograph do not count. Half a diameter is sensible, since apbc leaves out particles "
            "that are not whole; 0 counts all.",
        )
        form.addParam(
            "excludeModel",
            params.PointerParam,
            pointerClass="ApbcModel",
            allowsNull=True,
            label="Leave out training micrographs of (optional)",
            help="The micrographs on which this model was trained are left out, so that the "
            "figures tell about new ones. Empty: all count.",
        )

    def _collectReference(self, reference, scale, index):
        """Known particles of the micrographs that may be scored.

        Parameters
        ----------
        reference : SetOfCoordinates
        scale : float
            Pixels of the index' micrographs per pixel of the reference.
        index : MicrographIndex

        Returns
        -------
        reference : dict of str to list of dict
            See `convert.collect_reference`.
        left_out : int
            Number of micrographs that trained the model.
        """
        found, lost = convert.collect_reference(reference.iterItems(), scale, index)
        if lost:
            self.warning(
                "%d reference coordinates are on micrographs that were not picked; "
                "they do not count." % lost
            )
        left_out = sorted(set(found) & self._trainingLabels())
        for label in left_out:
            del found[label]
        return found, len(left_out)

    def _trainingLabels(self):
        """Names of the micrographs that trained the model."""
        model = self.excludeModel.get()
        if model is None:
            return set()
        card = convert.read_json(os.path.join(model.getPath(), MODEL_CARD))
        return {convert.stem_of(name) for name in card.get("training_micrographs") or ()}

    def _edgeArguments(self, micrographs):
        """Options of the engine for what is left out at the border."""
        if self.edge.get() <= 0:
            return []
        columns, rows = micrographs.getFirstItem().getDim()[:2]
        return ["--edge", self.edge.get(), "--shape", rows, columns]
