"""Several processes, each with its own share of the micrographs and its own device."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from apbc.errors import ApbcError
from apbc.models.folder import Model
from apbc.models.inference import load_for_inference
from apbc.picking.pipeline import Done, Share, pick_share
from apbc.picking.score_map import TILE, fitting_tile
from apbc.preprocess.binning import workers as cores
from apbc.system.devices import Device, parse_gpu_list, select_for_inference
from apbc.system.memory import memory_of

logger = logging.getLogger(__name__)

GPU_TILE = 2048
SECONDS_TO_END = 20
TERMINATED = 143


@dataclass(frozen=True)
class Crowd:
    """How many processes share the cores, and how many of them a device."""

    processes: int = 1
    on_device: int = 1


def plan_workers(count: int, gpu_list: str | None) -> list[str | None]:
    """GPU list of each process.

    Parameters
    ----------
    count : int
        Processes asked for.
    gpu_list : str or None
        As of ``--gpu``.

    Returns
    -------
    list of str or None
        One process a GPU, or more if asked for; GPUs are dealt out in turn. Without
        GPU numbers each gets `gpu_list`.
    """
    gpus = parse_gpu_list(gpu_list) if gpu_list else []
    if not gpus:
        return [gpu_list] * count
    return [str(gpus[i % len(gpus)]) for i in range(max(count, len(gpus)))]


def tile_for(model: Model, device: Device, wanted: int | None, on_device: int = 1) -> int:
    """Side of the tiles: as wanted, or what fits into the memory of the device.

    Parameters
    ----------
    model : Model
    device : Device
    wanted : int or None
    on_device : int, optional
        Processes that share the memory.

    Returns
    -------
    int
    """
    if wanted is not None:
        return wanted
    largest = TILE if device.kind == "cpu" else GPU_TILE
    return fitting_tile(memory_of(device) // on_device, int(model.card["members"]), largest)


def pick_here(
    folder: Path, gpu_list: str | None, share: Share, on_device: int = 1
) -> Generator[Done, None, None]:
    """Pick micrographs in this process.

    Parameters
    ----------
    folder : Path
        Of the model.
    gpu_list : str or None
        As of ``--gpu``.
    share : Share
    on_device : int, optional
        Processes that share the memory of the device.

    Yields
    ------
    Done
        For each micrograph.
    """
    device = select_for_inference(gpu_list)
    model = load_for_inference(folder, device)
    tile = tile_for(model, device, share.options.tile, on_device)
    yield from pick_share(model, device.name, share, tile)


def pick_in_processes(
    folder: Path, gpu_lists: Sequence[str | None], share: Share
) -> Generator[Done, None, None]:
    """Pick micrographs in several processes.

    A process that ends early fails the micrographs that it had left; the others go on.

    Parameters
    ----------
    folder : Path
        Of the model.
    gpu_lists : sequence of str or None
        GPUs of each process, see `plan_workers`.
    share : Share
        All micrographs.

    Yields
    ------
    Done
        For each micrograph, as they come.
    """
    count = min(len(gpu_lists), len(share.infos))
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[BaseProcess, dict[str, None]]] = {}
    process: BaseProcess
    try:
        for i, gpus in enumerate(gpu_lists[:count]):
            part = replace(share, infos=list(share.infos)[i::count])
            ours, theirs = context.Pipe(duplex=False)
            crowd = Crowd(count, sum(gpus == others for others in gpu_lists[:count]))
            process = context.Process(
                target=_work, args=(folder, gpus, crowd, part, theirs), daemon=True
            )
            with _interrupts_ignored():
                process.start()
            theirs.close()
            running[ours] = (process, dict.fromkeys(info.name for info in part.infos))
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
                    reason = reasons.get(channel) or _end_of(process)
                    if left:
                        logger.error(
                            "a process ended and left %d micrographs: %s", len(left), reason
                        )
                    for name in left:
                        yield Done(name, "", failure=reason)
                    continue
                if kind == "done":
                    del left[told.name]
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


def _end_of(process: BaseProcess) -> str:
    code = process.exitcode or 0
    if code < 0:
        return (
            f"its process was killed ({signal.Signals(-code).name}), perhaps because the memory "
            "was full; pick again with --resume and fewer --workers"
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
    folder: Path, gpu_list: str | None, crowd: Crowd, share: Share, channel: Connection
) -> None:
    """Pick a share in this process; ``Ctrl-C`` is the parent's to heed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    lock = threading.Lock()

    def tell(kind: str, what: Any) -> None:
        with lock:
            channel.send((kind, what))

    messages = logging.getLogger("apbc")
    messages.addHandler(_Told(tell))
    messages.setLevel(logging.INFO)
    messages.propagate = False
    threads = str(max(1, cores() // crowd.processes))
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ[name] = threads
    try:
        for done in pick_here(folder, gpu_list, share, crowd.on_device):
            tell("done", done)
    except ApbcError as error:
        tell("error", str(error))
    except BrokenPipeError:  # the parent was killed: nobody waits for the rest
        sys.exit(TERMINATED)
