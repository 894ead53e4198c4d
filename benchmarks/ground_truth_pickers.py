"""Compare Relion's LoG picking with apbc on simulated micrographs, in a Scipion project.

    . scripts/env.sh
    python benchmarks/ground_truth_pickers.py [--out bench/ground_truth_pickers] [--micrographs N]

All by protocols, and with no label given: micrographs are simulated, those of the first part are
picked by LoG, extracted and classified in 2D by Relion; the written rule chooses classes, and apbc
learns from them and picks all micrographs. LoG picks all of them as well. *compare pickers* tells
what either found on the micrographs that trained nothing. Prints the summary; the report is in the
project. Needs Relion.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import time

logger = logging.getLogger("ground_truth_pickers")

MOLECULES, SHARES = "barrel tetramer", "3 1"
DIAMETER = 175.0  # Å, of the larger of the two
PIXEL_SIZE = 1.5
SEED = 3
TRAINING_SHARE = 0.6
# Standard deviations above which a LoG peak is a pick: Relion's default, and a stricter one.
LOG_THRESHOLDS = (0.0, 0.5)


def pick_by_log(workflow, protMics, threshold):
    """Pick micrographs by Relion's Laplacian of Gaussian."""
    from relion.protocols import ProtRelionAutopickLoG

    protocol = workflow.newProtocol(
        ProtRelionAutopickLoG,
        f"Relion LoG, threshold {threshold:g}",
        boxSize=workflow.box(),
        minDiameter=int(0.8 * DIAMETER),
        maxDiameter=int(1.2 * DIAMETER),
        threshold=threshold,
        streamingBatchSize=0,
        numberOfMpi=1,
        numberOfThreads=1,
    )
    protocol.inputMicrographs.set(protMics)
    protocol.inputMicrographs.setExtended("outputMicrographs")
    return workflow.launch(protocol)


def main():
    """Run it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="bench/ground_truth_pickers", metavar="DIR")
    parser.add_argument("--micrographs", type=int, default=10, metavar="N")
    args = parser.parse_args()
    if "SCIPION_HOME" not in os.environ:
        sys.exit("Source scripts/env.sh first.")
    out = os.path.abspath(args.out)
    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("apbc_scipion").setLevel(logging.INFO)
    import pyworkflow

    pyworkflow.Config.setDomain("pwem")
    from pyworkflow.object import Pointer

    from apbc_scipion.demo import make_project
    from apbc_scipion.protocols import ApbcProtComparePickers, ApbcProtSimulateMicrographs
    from apbc_scipion.protocols.protocol_simulate_base import NAMES
    from apbc_scipion.workflow import Settings, Workflow, stem_of

    start = time.monotonic()
    project = make_project(out)
    run = Workflow(project, Settings([], PIXEL_SIZE, DIAMETER), os.path.join(out, "imports"))
    simulated = run.newProtocol(
        ApbcProtSimulateMicrographs,
        "simulated micrographs",
        builtin=NAMES,
        builtinNames=MOLECULES,
        weights=SHARES,
        numberOfMicrographs=args.micrographs,
        pixelSize=PIXEL_SIZE,
        seed=SEED,
    )
    run.launch(simulated)
    files = [os.path.abspath(m.getFileName()) for m in simulated.outputMicrographs.iterItems()]
    training = [stem_of(path) for path in files[: max(1, round(TRAINING_SHARE * len(files)))]]
    run.settings.micrographs = files
    protTraining = run.importMicrographs("training micrographs", training)
    classes = run.classify(protTraining)["classes"]
    model = run.train(run.datasetFromClasses(classes))
    picks = run.pick(simulated, model)
    # The report calls a picker by the label of its run.
    picks.setObjLabel("apbc")
    project.mapper.store(picks)
    project.mapper.commit()
    compare = run.newProtocol(ApbcProtComparePickers, "LoG and apbc", particleDiameter=DIAMETER)
    for protocol in (picks, *(pick_by_log(run, simulated, t) for t in LOG_THRESHOLDS)):
        compare.inputCoordinates.append(Pointer(protocol, extended="outputCoordinates"))
    compare.edge.set(DIAMETER / 2)
    for name, protocol, output in (
        ("referenceCoordinates", simulated, "outputCoordinates"),
        ("excludeModel", model, "outputModel"),
    ):
        getattr(compare, name).set(protocol)
        getattr(compare, name).setExtended(output)
    run.launch(compare)
    with open(compare.getReportPath()) as handle:
        found = json.load(handle)
    lines = [f"{name:<28} {json.dumps(row)}" for name, row in found["pickers"].items()]
    lines += found["told"]
    lines += [f"{name:<28} {seconds:.0f} s" for name, seconds in run.seconds.items()]
    lines.append(f"all of it took {time.monotonic() - start:.0f} s")
    lines.append(f"report: {os.path.abspath(os.path.dirname(compare.getReportPath()))}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
