"""Names shared by the modules of the plugin."""

APBC_ENV_ACTIVATION = "APBC_ENV_ACTIVATION"

URL = "https://github.com/joelmeyerson/autopick-bc"

# The attribute that carries a score on coordinates and particles.
SCORE = "_apbcScore"
# On coordinates: how much the networks of an ensemble disagree about it.
DISAGREEMENT = "_apbcDisagreement"

# What is known of particles of the simulator: column of the engine's files and attribute.
TRUTH = {
    "class": "_gtClass",
    "rot": "_gtRot",
    "tilt": "_gtTilt",
    "psi": "_gtPsi",
    "visible": "_gtVisible",
}
# On micrographs: the path of their contamination mask.
MASK = "_apbcMask"

# On coordinates that were found without labels: what shape was taken for, whether it is a good or
# a bad example, and why a bad one is bad.
SHAPE = "_apbcShape"
QUALITY = "_apbcQuality"
REASON = "_apbcReason"
# Reasons of bad examples that are no particles, as the engine names them.
NO_PARTICLE = ("large", "contamination", "unlike")
GOOD, BAD = "good", "bad"

BOOTSTRAP_FOLDER = "bootstrap"
BOOTSTRAP_RECORD = "bootstrap.json"

COMPARISON_FOLDER = "comparison"
COMPARISON_RECORD = "compare.json"

MODEL_FOLDER = "model"
MODEL_CARD = "card.json"
MODEL_WEIGHTS = "model.keras"
DATASET_FILE = "data.h5"

METRICS_FOLDER = "metrics"
METRICS_RECORD = "metrics.json"
METRICS_REPORT = "report.json"

CLASSIFIER = "alexnet"  # learns from the patches of a bootstrap
ARCHITECTURES = ["dense", "autopick-bc", CLASSIFIER]
