"""Verbs below a command, each in a module of its own."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable, Mapping


def add_verbs(
    parser: argparse.ArgumentParser,
    kind: str,
    summaries: Mapping[str, str],
    prefix: str,
    loaded: Iterable[str | None] | None = None,
    function: str = "run",
) -> None:
    """Add verbs to a parser.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    kind : str
        What a verb is called: the name of the one that is given, in the result of the parser.
    summaries : mapping of str to str
        A line of help for each verb.
    prefix : str
        The module of a verb is this and its name; it has ``add_arguments`` and ``run``.
    loaded : iterable of str, optional
        Verbs whose options are needed; the modules of others are not imported. Default: all.
    function : str, optional
        Name of the verb's ``run`` in the result of the parser.
    """
    verbs = parser.add_subparsers(dest=kind, metavar=kind.upper(), required=True)
    needed = set(summaries if loaded is None else loaded)
    for name, summary in summaries.items():
        if name not in needed:
            verbs.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"{prefix}{name}")
        sub = verbs.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(**{function: module.run})
