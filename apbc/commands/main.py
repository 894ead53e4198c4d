"""Learn from good and bad particles of cryo-EM micrographs, and pick every micrograph again."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
import time
from collections.abc import Sequence

from apbc import __version__
from apbc.commands.verbs import add_verbs
from apbc.errors import ApbcError

VERBS = {
    "bootstrap": "find particles without any label, and make a data set of them",
    "dataset": "turn good and bad particles into a data set",
    "train": "train a model on a data set",
    "search": "try a few training settings, and train with the best",
    "pick": "pick particles on micrographs with a model",
    "export": "hand picks to Relion, EMAN and other programs",
    "screen": "sort the particles of a stack into true and false ones",
    "show": "draw picks over a micrograph",
    "evaluate": "score picks against known particles",
    "compare": "score several pickers against known particles, side by side",
    "doctor": "check the installation and the devices",
    "simulate": "make simulated micrographs with known particles",
    "downsample": "bring volumes and particle stacks to a smaller box",
    "metrics": "measure volumes, latent spaces and poses against the ground truth",
}

INTERRUPTED = 130
OLDEST_PYTHON = (3, 10)


def called_verb(arguments: Sequence[str]) -> str | None:
    """Verb of a command line: its first word that is not an option, if it names one."""
    word = next((a for a in arguments if not a.startswith("-")), None)
    return word if word in VERBS else None


def build_parser(verb: str | None) -> argparse.ArgumentParser:
    """Parser of the command line, with the options of one verb.

    Only the module of the verb that is called is imported, so that
    ``apbc --help`` is quick.

    Parameters
    ----------
    verb : str or None
        The verb whose options are needed.

    Returns
    -------
    argparse.ArgumentParser
        Its result holds ``run``, the function of the verb.
    """
    parser = argparse.ArgumentParser(prog="apbc", description=__doc__)
    parser.add_argument("--version", action="version", version=f"apbc {__version__}")
    add_verbs(parser, "verb", VERBS, "apbc.commands.", [verb])
    return parser


def start_logging() -> None:
    """Send reports to stderr as plain lines that begin with the time."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
    )
    logging.getLogger("apbc").setLevel(logging.INFO)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after ``apbc``; those of the process when left out.

    Returns
    -------
    int
        Exit status: 0 for success, 1 for an error that was told in one
        sentence, 130 after an interruption, else what the verb returns. A wrong
        command line exits with 2.
    """
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(str(n) for n in sys.version_info[:3])
        sys.stderr.write(f"apbc: error: apbc needs Python 3.10 or newer, but this is {found}\n")
        return 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    start_logging()
    start = time.monotonic()
    try:
        args = build_parser(called_verb(words)).parse_args(words)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except ApbcError as error:
        sys.stderr.write(f"apbc: error: {error}\n")
    except PermissionError as error:
        sys.stderr.write(
            f"apbc: error: no permission for {error.filename}; change its rights or choose "
            "another place\n"
        )
    except BrokenPipeError:
        # The reader of stdout has gone (apbc ... | head): nothing is left to tell it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        seconds = time.monotonic() - start
        sys.stderr.write(f"apbc: interrupted after {seconds:.0f} s; finished files are kept\n")
        return INTERRUPTED
    return 1


if __name__ == "__main__":
    sys.exit(main())
