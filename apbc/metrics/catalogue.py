"""What every figure of a metric means: the words of reports and of the command line."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass

from apbc.io.files import plain
from apbc.metrics.record import Record

METRIC_TITLES = {
    "fsc": "Fourier shell correlation with the ground truth",
    "pose": "Pose error",
    "neighbours": "Neighbourhood similarity",
    "imbalance": "Information imbalance",
    "embedding": "Embedding and clusters",
    "align": "Volume alignment",
}
METRIC_SENTENCES = {
    "fsc": "Volumes that a method reconstructed, held against the volumes that were simulated.",
    "pose": "What is left between predicted and true poses after the best common rotation, hand "
    "and offset.",
    "neighbours": "Share of an image's neighbours in the latent space that are its neighbours in "
    "the truth, too.",
    "imbalance": "How well one space tells the order of neighbours in another: 0 tells all, 1 "
    "nothing. What matters is that the latent space tells the truth, and neither the pose nor the "
    "CTF.",
    "embedding": "How well clusters, of the latent space or given ones, are the true classes.",
    "align": "How well one volume was brought onto another.",
}


@dataclass(frozen=True)
class Meaning:
    """Meaning of one figure.

    Attributes
    ----------
    label : str
        What a table calls it.
    unit : str
    better : str
        ``"higher"``, ``"lower"``, or "" where neither is.
    sentence : str
        What it says, with its ceiling and what guessing gives.
    headline : bool
        Whether leaderboards show it.
    """

    label: str
    unit: str = ""
    better: str = ""
    sentence: str = ""
    headline: bool = False


_IMBALANCE = {
    "truth": (
        "latent tells truth",
        "lower",
        "1 is a random latent space, and a perfect one has 0, or the figure below where images "
        "share a structure",
    ),
    "pose": ("latent tells pose", "higher", "1 is right: the conformation does not hang on it"),
    "ctf": ("latent tells CTF", "higher", "1 is right: the conformation does not hang on it"),
}
_POSE = {
    "angle": (
        "rotation error",
        "Angle of the rotation that is left; 0 is perfect, random poses have 126.5° without "
        "symmetry.",
    ),
    "direction": (
        "viewing direction error",
        "Angle between viewing directions, without the rotation in the plane; 0 is perfect, 90° is "
        "random.",
    ),
    "frobenius": (
        "squared Frobenius norm",
        "Squared difference of the rotation matrices, CryoBench's figure: 8 sin² of half the "
        "angle; 0 is perfect, 8 the worst, 6 random.",
    ),
    "shift": (
        "translation error",
        "What is left of the translation after the one offset between the maps; 0 is perfect.",
    ),
}
_STATISTIC = {
    "mean": "mean of images",
    "median": "median of images",
    "class_mean": "mean of class means",
    "class_median": "mean of class medians",
}

MEANINGS: dict[str, dict[str, Meaning]] = {
    "pose": {
        **{
            f"{name}{unit}_{statistic}": Meaning(
                f"{label}, {of}",
                {"_deg": "°", "_angstrom": "Å", "": ""}[unit],
                "lower",
                sentence,
                statistic == "median" and name in ("angle", "shift"),
            )
            for name, unit in (
                ("angle", "_deg"),
                ("direction", "_deg"),
                ("frobenius", ""),
                ("shift", "_angstrom"),
            )
            for label, sentence in [_POSE[name]]
            for statistic, of in _STATISTIC.items()
        },
        "within_5_deg": Meaning(
            "share within 5°", "", "higher", "Images whose rotation error is at most 5°; 1 is all."
        ),
        "within_10_deg": Meaning(
            "share within 10°", "", "higher", "Images whose rotation error is at most 10°."
        ),
        "angle_deg_random": Meaning(
            "rotation error of random poses", "°", "", "What guessing gives, with this symmetry."
        ),
        "mirrored_classes": Meaning(
            "classes of the other hand", "", "", "Classes whose map is the mirrored one."
        ),
    },
    "neighbours": {
        "score": Meaning(
            "similarity score",
            "",
            "higher",
            "Way from a random (0) to a perfect (1) latent space, mean over neighbourhoods.",
            True,
        ),
    },
    "imbalance": {},
    "embedding": {
        "kmeans_ami": Meaning(
            "k-means, AMI",
            "",
            "higher",
            "Adjusted mutual information of k-means clusters of the latent space, as many as there "
            "are classes, and the classes; 1 is perfect, 0 is chance.",
            True,
        ),
        "kmeans_ari": Meaning(
            "k-means, ARI", "", "higher", "Adjusted Rand index of the same; 1 perfect, 0 chance."
        ),
        "kmeans_accuracy": Meaning(
            "k-means, accuracy",
            "",
            "higher",
            "Images in the right cluster, clusters and classes paired one to one as well as can "
            "be (Hungarian method); 1 is perfect, the share of the largest class is easy.",
        ),
        "kmeans_purity": Meaning(
            "k-means, purity",
            "",
            "higher",
            "Images in a cluster whose most frequent class is "
            "theirs; 1 is perfect, and many clusters make it easy.",
        ),
        "clusters_ami": Meaning(
            "given clusters, AMI",
            "",
            "higher",
            "Adjusted mutual information of the given clusters and the classes; 1 is perfect, 0 "
            "is chance.",
            True,
        ),
        "clusters_ari": Meaning(
            "given clusters, ARI",
            "",
            "higher",
            "Adjusted Rand index of the same; 1 is perfect, 0 chance.",
            True,
        ),
        "clusters_accuracy": Meaning(
            "given clusters, accuracy",
            "",
            "higher",
            "Images in the right cluster, paired one to one (Hungarian method); 1 is perfect.",
            True,
        ),
        "clusters_purity": Meaning(
            "given clusters, purity",
            "",
            "higher",
            "Images in a cluster whose most frequent class "
            "is theirs; 1 is perfect, and many clusters make it easy.",
        ),
        "neighbour_purity": Meaning(
            "class of the 15 neighbours",
            "",
            "higher",
            "Share of the 15 nearest neighbours in the latent space that are of the image's class; "
            "1 is perfect.",
        ),
        "neighbour_purity_random": Meaning(
            "class of random images", "", "", "What the line above would be by chance."
        ),
        "trustworthiness": Meaning(
            "trustworthiness of the picture",
            "",
            "higher",
            "Whether neighbours in the picture are neighbours in the latent space; 1 is perfect. "
            "It is of the picture and not of the method.",
        ),
        "clusters_found": Meaning("given clusters", "", "", "Number of given clusters."),
    },
    "fsc": {
        "pairs": Meaning("pairs", "", "", "Volumes held against a reference."),
        "auc_ceiling": Meaning(
            "largest area there can be", "1/px", "", "Of a curve that is 1 up to the Nyquist limit."
        ),
        "perhaps_not_aligned": Meaning(
            "pairs perhaps not aligned",
            "",
            "lower",
            "Volumes that have nothing in common with their reference, as when they lie in another "
            "frame.",
        ),
        "mirrored": Meaning("volumes of the other hand", "", "", "Mirrored when aligned."),
    },
    "align": {},
}
_AREAS = {
    "auc": ("area under the FSC", "1/px", "Area in cycles per pixel; the ceiling stands above."),
    "auc_over_ceiling": (
        "area under the FSC, share of the largest",
        "",
        "1 is a curve that is 1 everywhere; noise gives about 0.",
    ),
    "auc_per_angstrom": ("area under the FSC, frequency in 1/Å", "1/Å", ""),
    "auc_cryobench": (
        "area under the FSC as CryoBench has it",
        "1/px",
        "To compare with published figures only: 0.492 is the most at a box of 128.",
    ),
    "auc_unaligned": ("area under the FSC before alignment", "1/px", ""),
    "auc_local": (
        "area under the FSC where the references differ",
        "1/px",
        "Of the part that moves, which the whole map outweighs.",
    ),
    "auc_local_over_ceiling": (
        "area where the references differ, share of the largest",
        "",
        "Of the part that moves, which the whole map outweighs; 1 is perfect.",
    ),
}
for _key, (_label, _unit, _sentence) in _AREAS.items():
    for _ending, _of in (
        ("mean", "mean"),
        ("median", "median"),
        ("image_weighted", "mean of images"),
        ("class_balanced", "mean of class means"),
    ):
        MEANINGS["fsc"][f"{_key}_{_ending}"] = Meaning(
            f"{_label}, {_of}",
            _unit,
            "" if _key == "auc_unaligned" else "higher",
            _sentence,
            (_key, _ending) == ("auc_over_ceiling", "mean"),
        )
    MEANINGS["fsc"][f"{_key}_sd"] = Meaning(f"{_label}, standard deviation", _unit)
for _threshold in ("0.5", "0.143"):
    for _of in ("mean", "median"):
        MEANINGS["fsc"][f"resolution_{_threshold}_{_of}"] = Meaning(
            f"resolution at {_threshold}, {_of}",
            "Å",
            "lower",
            "Where the curve falls below it; not defined where it does not. The truth has no "
            "noise, so 0.5 is the level with a meaning.",
            (_threshold, _of) == ("0.5", "median"),
        )
    MEANINGS["fsc"][f"resolution_{_threshold}_beyond_nyquist"] = Meaning(
        f"curves above {_threshold} up to the Nyquist limit", "", "higher"
    )
for _share in (1, 5, 10):
    MEANINGS["neighbours"] |= {
        f"similarity_{_share}pct": Meaning(
            f"similarity, nearest {_share} %",
            "%",
            "higher",
            f"Shared neighbours among the nearest {_share} % of the images; the ceiling and what a "
            "random latent space gives stand below.",
        ),
        f"ceiling_{_share}pct": Meaning(
            f"ceiling, nearest {_share} %", "%", "", "What a perfect latent space would reach."
        ),
        f"random_{_share}pct": Meaning(
            f"random, nearest {_share} %", "%", "", "What a random latent space would reach."
        ),
    }
for _space, (_label, _better, _words) in _IMBALANCE.items():
    MEANINGS["imbalance"] |= {
        f"latent_to_{_space}": Meaning(
            _label,
            "",
            _better,
            f"Imbalance from the latent space to the {_space}, floor taken out, neighbourhoods up "
            f"to 30; {_words}.",
            _space == "truth",
        ),
        f"latent_to_{_space}_raw": Meaning(f"{_label}, raw", "", _better, "With the floor."),
        f"{_space}_to_latent": Meaning(
            _label.replace("latent tells ", "") + " tells latent",
            "",
            "lower" if _space == "truth" else "",
            f"Imbalance from the {_space} to the latent space: 0 says that nothing else is in it.",
        ),
        f"{_space}_to_latent_raw": Meaning(
            _label.replace("latent tells ", "") + " tells latent, raw", "", "", "With the floor."
        ),
        f"{_space}_images_retained": Meaning(
            f"images retained, {_space}", "", "", "Images with rows of their own."
        ),
        f"{_space}_subsets": Meaning(f"subsets, {_space}", "", "", ""),
    }
MEANINGS["imbalance"]["latent_to_truth_perfect"] = Meaning(
    "latent tells truth, of a perfect latent space",
    "",
    "",
    "What a latent space that holds the truth and nothing else would have: images of one "
    "structure have no order for it to tell.",
)
COMMON = {
    "images": Meaning("images", "", "", "Images that were measured."),
    "classes": Meaning("classes", "", "", "True classes among them."),
    "junk_left_out": Meaning("junk images left out", "", "", "Images of class 0."),
    "subsets": Meaning("subsets", "", "", ""),
}


def meaning_of(metric: str, key: str) -> Meaning:
    """Meaning of a figure.

    Parameters
    ----------
    metric : str
        The verb.
    key : str
        Name of the figure in its record.

    Returns
    -------
    Meaning
        Of a figure that is not known the name in plain words and no more.
    """
    known = MEANINGS.get(metric, {})
    if key in known:
        return known[key]
    if key in COMMON:
        return COMMON[key]
    for ending, word in (("_sd", "standard deviation"), ("_se", "standard error")):
        base = key.removesuffix(ending)
        if base != key and (base in known or metric == "fsc"):
            found = meaning_of(metric, base)
            return Meaning(f"{found.label}, {word}", found.unit)
    return Meaning(re.sub("_+", " ", key))


def figure_text(value: float | None) -> str:
    """Text of a figure for a table: four digits, whole numbers in full."""
    if value is None or value != value:
        return "not defined"
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:.4g}"


def tell_record(record: Record) -> None:
    """Write the figures of a record to stdout: a table, and one line of JSON.

    Parameters
    ----------
    record : Record
    """
    meanings = {key: meaning_of(record.metric, key) for key in record.figures}
    width = max((len(meaning.label) for meaning in meanings.values()), default=0)
    lines = [
        f"{meanings[key].label:{width}}  {figure_text(value)} {meanings[key].unit}".rstrip()
        for key, value in record.figures.items()
    ]
    text = json.dumps(plain(asdict(record)), ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n".join([*lines, text]) + "\n")
