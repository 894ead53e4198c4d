"""Several processes, each with its own share of the micrographs and its own device."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from apbc.models.architecture import CLASSIFIERS
from apbc.models.folder import Model
from apbc.models.inference import load_for_inference
from apbc.picking.pipeline import Done, Share, pick_share
from apbc.picking.score_map import TILE, fitting_tile
from apbc.system.devices import Device, parse_gpu_list, select_for_inference
from apbc.system.memory import memory_of
from apbc.system.processes import Failure, Part, in_processes

GPU_TILE = 2048
KILLED = "pick again with --resume and fewer --workers"


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
    free, members = memory_of(device) // on_device, int(model.card["members"])
    if model.architecture.name in CLASSIFIERS:
        from apbc.picking import windows

        largest = windows.TILE if device.kind == "cpu" else windows.GPU_TILE
        smallest, taken = windows.SMALLEST_TILE, windows.BYTES_PER_PIXEL
        return fitting_tile(free, members, largest, smallest, taken)
    return fitting_tile(free, members, TILE if device.kind == "cpu" else GPU_TILE)


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
    parts = []
    for i, gpus in enumerate(gpu_lists[:count]):
        own = replace(share, infos=list(share.infos)[i::count])
        on_device = sum(gpus == others for others in gpu_lists[:count])
        parts.append(Part((folder, gpus, own, on_device), [info.name for info in own.infos]))
    with closing(in_processes(_picked, parts, KILLED)) as results:
        for name, done in results:
            yield Done(name, "", failure=done.reason) if isinstance(done, Failure) else done


def _picked(
    folder: Path, gpu_list: str | None, share: Share, on_device: int
) -> Iterator[tuple[str, Done]]:
    """Pick the share of a process."""
    for done in pick_here(folder, gpu_list, share, on_device):
        yield done.name, done
