"""Work on many items in several processes; one that ends early fails its own items alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from apbc.errors import ApbcError
from apbc.system.cores import workers as cores

logger = logging.getLogger(__name__)

SECONDS_TO_END = 20
TERMINATED = 143


@dataclass(frozen=True)
class Part:
    """What one process does.

    Attributes
    ----------
    arguments : tuple
        Of the task; anything that can be pickled.
    names : sequence of str
        Items that the task will yield.
    """

    arguments: tuple[Any, ...]
    names: Sequence[str]


@dataclass(frozen=True)
class Failure:
    """Why an item has no result."""

    reason: str


def in_processes(
    task: Callable[..., Iterator[tuple[str, Any]]], parts: Sequence[Part], remedy: str
) -> Generator[tuple[str, Any], None, None]:
    """Do a task in a process for each part, which share the cores.

    Messages of the processes are logged here. ``Ctrl-C`` ends all of them.

    Parameters
    ----------
    task : callable
        A function of a module: ``task(*arguments)`` yields the name and the result of
        each of its items.
    parts : sequence of Part
    remedy : str
        What the user may do where a process was killed.

    Yields
    ------
    name : str
    result : object
        In the order in which they come; a `Failure` for what a process that ended early
        has left.
    """
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[BaseProcess, dict[str, None]]] = {}
    process: BaseProcess
    try:
        for part in parts:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(
                target=_work, args=(task, part.arguments, len(parts), theirs), daemon=True
            )
            with _interrupts_ignored():
                process.start()
            theirs.close()
            running[ours] = (process, dict.fromkeys(part.names))
        reasons: dict[Connection, str] = {}
        while running:
            for channel in wait(list(running)):
                assert isinstance(channel, Connection)
                process, left = running[channel]
                try:
                    kind, told = channel.recv()
                except (EOFError, OSError):  # it ended, perhaps amid a message
                    process.join()
                    del running[channel]
                    reason = reasons.get(channel) or _end_of(process, remedy)
                    if left:
                        logger.error(
                            "a process ended and left %d micrographs: %s", len(left), reason
                        )
                    for name in left:
                        yield name, Failure(reason)
                    continue
                if kind == "done":
                    del left[told[0]]
                    yield told
                elif kind == "log":
                    logger.log(*told)
                else:
                    reasons[channel] = told
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join(SECONDS_TO_END)
            if process.is_alive():
                process.kill()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Let a process that is started in here leave ``Ctrl-C`` to this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _end_of(process: BaseProcess, remedy: str) -> str:
    code = process.exitcode or 0
    if code < 0:
        return (
            f"its process was killed ({signal.Signals(-code).name}), perhaps because the memory "
            f"was full; {remedy}"
        )
    return f"its process ended with status {code}; see the messages above"


class _Told(logging.Handler):
    """Hands messages to the parent process."""

    def __init__(self, tell: Any) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one over."""
        self._tell("log", (record.levelno, "%s", record.getMessage()))


def _work(
    task: Callable[..., Iterator[tuple[str, Any]]],
    arguments: tuple[Any, ...],
    processes: int,
    channel: Connection,
) -> None:
    """Do a part in this process; ``Ctrl-C`` is the parent's to heed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    lock = threading.Lock()

    def tell(kind: str, what: Any) -> None:
        with lock:
            channel.send((kind, what))

    messages = logging.getLogger("apbc")
    messages.addHandler(_Told(tell))
    messages.setLevel(logging.INFO)
    messages.propagate = False
    threads = str(max(1, cores() // processes))
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = threads
    try:
        for done in task(*arguments):
            tell("done", done)
    except ApbcError as error:
        tell("error", str(error))
    except BrokenPipeError:  # the parent was killed: nobody waits for the rest
        sys.exit(TERMINATED)
