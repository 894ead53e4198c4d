"""Picture of a latent space coloured by the truth, and how well clusters are the true classes.

LATENT is as for apbc metrics neighbours. It is drawn by UMAP (seeded), and clustered by k-means
with as many clusters as there are true classes. --clusters holds given classes against the truth,
such as those of a 2D or 3D classification (CSV with id and class, or Relion's run_it025_data.star),
with or without a latent space.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from apbc.commands.metrics import add_output_arguments, add_truth_arguments
from apbc.errors import ApbcError

if TYPE_CHECKING:
    from apbc.metrics.clusters import Agreement
    from apbc.metrics.truth import Truth, TruthOptions

POINTS_TABLE, EMBEDDING_PICTURE = "embedding.csv", "embedding.png"

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``apbc metrics embedding``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "latent",
        type=Path,
        nargs="?",
        metavar="LATENT",
        help=".csv, .npy or .pkl file; may be left out with --clusters",
    )
    add_truth_arguments(parser)
    parser.add_argument(
        "--clusters", type=Path, metavar="FILE", help="given classes of the images, .csv or .star"
    )
    parser.add_argument(
        "--method", choices=("umap", "pca"), default="umap", help="of the picture, default umap"
    )
    parser.add_argument(
        "--points",
        type=int,
        default=50_000,
        metavar="N",
        help="most images in the picture, chosen at random, default 50000; figures are of all",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run ``apbc metrics embedding``.

    Parameters
    ----------
    args : argparse.Namespace

    Returns
    -------
    int
        0.
    """
    # Here, so that the help of the command needs neither scikit-learn nor Matplotlib.
    from apbc.metrics.catalogue import tell_record
    from apbc.metrics.embedding import FEWEST_POINTS
    from apbc.metrics.record import Record, write_record
    from apbc.metrics.truth import TruthOptions

    if args.latent is None and args.clusters is None:
        raise ApbcError("there is nothing to measure; give LATENT, --clusters, or both")
    if args.points < FEWEST_POINTS:
        raise ApbcError(f"--points {args.points} are too few to see; give {FEWEST_POINTS} or more")
    options = TruthOptions(tuple(args.columns), tuple(args.circular), args.subset)
    truth, clusters = _matched(args, options)
    if len(truth.ids) < FEWEST_POINTS:
        raise ApbcError(
            f"{len(truth.ids)} images are too few to tell clusters; give {FEWEST_POINTS} or more"
        )
    classes = _classes(truth)
    made = _Made({"images": len(truth.ids), "junk_left_out": truth.left_out})
    if classes is not None:
        made.figures["classes"] = len(set(classes))
    if clusters is not None:
        _measure_given(args, clusters, classes, made)
    if args.latent is not None:
        labels = None
        if classes is not None:
            labels = _measure_latent(args, truth, classes, made)
        _draw(args, truth, options, {"class": classes, "cluster": clusters, "kmeans": labels}, made)
    record = Record(
        "embedding",
        args.name,
        {
            "latent": args.latent,
            "truth": args.truth,
            "columns": args.columns,
            "circular": args.circular,
            "clusters": args.clusters,
            "method": made.method,
            "points": args.points,
            "seed": args.seed,
        },
        made.figures,
        tuple(made.tables),
        tuple(made.pictures),
    )
    write_record(args.out, record)
    tell_record(record)
    return 0


@dataclass
class _Made:
    """What a run has found and written so far."""

    figures: dict[str, float | None]
    tables: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    method: str | None = None


def _matched(args: argparse.Namespace, options: TruthOptions) -> tuple[Truth, list[str] | None]:
    """Truth of the images of the latent space or the given clusters, and these clusters."""
    import numpy as np

    from apbc.io.latents import Latents, read_labels, read_latents
    from apbc.metrics.truth import match_truth, rows_of

    if args.clusters is None:
        return match_truth(read_latents(args.latent), args.truth, options), None
    ids, labels = read_labels(args.clusters)
    if args.latent is None:
        # Row numbers stand for the latents, so that the clusters find their rows again.
        rows = np.arange(len(labels), dtype=float)[:, None]
        truth = match_truth(Latents(args.clusters, ids, rows), args.truth, options)
        return truth, [labels[int(row)] for row in truth.latents[:, 0]]
    truth = match_truth(read_latents(args.latent), args.truth, options)
    places = rows_of(truth, ids, len(labels), args.clusters)
    return truth, [labels[place] for place in places]


def _classes(truth: Truth) -> list[str] | None:
    """Classes of the images; None where there are no classes that clusters could be."""
    count = len(set(truth.labels or ()))
    if 2 <= count <= len(truth.ids) // 2:
        return truth.labels
    logger.warning(
        "%s has %s for %d images, so clusters are not measured",
        truth.table.path,
        f"{count} classes" if count else "no classes",
        len(truth.ids),
    )
    return None


def _measure_given(
    args: argparse.Namespace, clusters: list[str], classes: list[str] | None, made: _Made
) -> None:
    from apbc.metrics.clusters import agreement

    if classes is None:
        raise ApbcError(
            f"{args.truth} has no classes to hold {args.clusters} against; add a column class "
            "with at least two classes, of two images or more"
        )
    found = agreement(clusters, classes)
    made.figures["clusters_found"] = len(found.clusters)
    made.figures |= found.figures("clusters")
    _write_agreement(args.out, "clusters", found, f"{args.name}: given clusters", made)


def _measure_latent(
    args: argparse.Namespace, truth: Truth, classes: list[str], made: _Made
) -> list[str]:
    """Cluster the latent space, and return the clusters."""
    from apbc.metrics.clusters import agreement, k_means, neighbour_purity

    labels = k_means(truth.latents, len(set(classes)), args.seed)
    found = agreement(labels, classes)
    made.figures |= found.figures("kmeans")
    purity, chance = neighbour_purity(truth.latents, classes)
    made.figures |= {"neighbour_purity": purity, "neighbour_purity_random": chance}
    _write_agreement(args.out, "kmeans", found, f"{args.name}: k-means of the latent", made)
    return labels


def _write_agreement(out: Path, stem: str, found: Agreement, title: str, made: _Made) -> None:
    """Write how many images of each class each cluster holds, as table and picture."""
    from apbc.metrics.embedding import draw_agreement
    from apbc.metrics.record import write_table

    write_table(
        out / f"{stem}.csv",
        {
            "cluster": found.clusters,
            "stands_for": [found.classes[p] if p >= 0 else "" for p in found.partner],
            **{
                f"class_{name}": found.table[:, column].tolist()
                for column, name in enumerate(found.classes)
            },
        },
    )
    draw_agreement(out / f"{stem}.png", found, title)
    made.tables.append(f"{stem}.csv")
    made.pictures.append(f"{stem}.png")


def _draw(
    args: argparse.Namespace,
    truth: Truth,
    options: TruthOptions,
    labels: dict[str, list[str] | None],
    made: _Made,
) -> None:
    """Draw the latent space, and write where its images are in the picture."""
    import numpy as np

    from apbc.metrics.embedding import Colouring, draw_embedding, embed, trustworthiness_of
    from apbc.metrics.record import write_table

    n = len(truth.ids)
    chosen = np.sort(np.random.default_rng(args.seed).permutation(n)[: args.points])
    if len(chosen) < n:
        logger.info("the picture shows %d of %d images (--points)", len(chosen), n)
    latents = truth.latents[chosen]
    shown = embed(latents, args.method, args.seed)
    made.method = shown.method
    made.figures["trustworthiness"] = trustworthiness_of(latents, shown, args.seed)
    known = {
        name: [values[row] for row in chosen]
        for name, values in labels.items()
        if values is not None
    }
    write_table(
        args.out / POINTS_TABLE,
        {
            "id": [truth.ids[row] for row in chosen],
            "x": shown.points[:, 0].tolist(),
            "y": shown.points[:, 1].tolist(),
            **known,
        },
    )
    colourings = [
        Colouring(name, values=values[:, 0], circular=name in options.circular)
        for name in (*options.circular, *options.columns)
        for values in [truth.table.numbers(name, rows=truth.rows[chosen])]
    ]
    titles = {"class": "true class", "cluster": "given clusters"}
    colourings += [Colouring(titles[name], known[name]) for name in titles if name in known]
    if not colourings:
        colourings = [Colouring("not coloured", ["all"] * len(chosen))]
    draw_embedding(args.out / EMBEDDING_PICTURE, shown, colourings, args.name, args.seed)
    made.tables.insert(0, POINTS_TABLE)
    made.pictures.insert(0, EMBEDDING_PICTURE)
