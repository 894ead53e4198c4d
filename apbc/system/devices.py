"""The device that TensorFlow computes on, chosen before TensorFlow is imported."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from apbc.errors import ApbcError

logger = logging.getLogger(__name__)

# What the caller (a shell, a queue) made visible, before `select` changes it.
VISIBLE_AT_START = os.environ.get("CUDA_VISIBLE_DEVICES")
NVIDIA_SMI_SECONDS = 30
MIXED_PRECISION_CAPABILITY = (7, 0)
BFLOAT16_UNITS = "avx512_bf16"  # name of the processor's flag
CPU_DESCRIPTION = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Device:
    """What the networks run on.

    Parameters
    ----------
    name : str
        ``"cpu"``, or the name of the GPU (several are joined by ``" + "``).
    kind : str
        ``"cpu"`` or ``"gpu"``.
    count : int
        How many of that kind TensorFlow may use.
    """

    name: str
    kind: str
    count: int = 1


@dataclass(frozen=True)
class DriverGpu:
    """A GPU as the NVIDIA driver reports it; memory in MiB."""

    index: int
    uuid: str
    name: str
    memory: int
    driver: str


def prepare_environment() -> None:
    """Set what TensorFlow and Keras read at import: backend, GPU order, less noise.

    Values that the user has set are kept.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def driver_gpus() -> list[DriverGpu]:
    """Ask the NVIDIA driver for its GPUs.

    Returns
    -------
    list of DriverGpu
        Empty where there is no NVIDIA driver, or it does not answer.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=index,uuid,name,memory.total,driver_version"
    try:
        answer = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=NVIDIA_SMI_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    return [parse_driver_line(line) for line in answer.stdout.splitlines() if line.count(",") == 4]


def parse_driver_line(line: str) -> DriverGpu:
    """Read one line of ``nvidia-smi --query-gpu`` (memory may be ``[N/A]``: 0)."""
    index, uuid, name, memory, driver = (field.strip() for field in line.split(","))
    return DriverGpu(int(index), uuid, name, int(memory) if memory.isdigit() else 0, driver)


def parse_gpu_list(gpu_list: str) -> list[int]:
    """Read GPU numbers from a list with commas or spaces.

    Parameters
    ----------
    gpu_list : str
        Such as ``"0,1"`` or ``"0 1"``; ``""`` for none.

    Returns
    -------
    list of int
        The numbers, each once, in the order given.

    Raises
    ------
    ApbcError
        If a word is not a number.
    """
    words = [word for word in re.split(r"[,\s]+", gpu_list) if word]
    for word in words:
        if not word.isdecimal():
            raise ApbcError(
                f"--gpu {gpu_list}: '{word}' is not a GPU number; give numbers such as 0,1, or "
                "nothing between quotes for the CPU"
            )
    return list(dict.fromkeys(int(word) for word in words))


def visible_devices(gpus: list[int], visible: str | None) -> str:
    """Value of ``CUDA_VISIBLE_DEVICES`` that leaves the GPUs asked for.

    Numbers count from 0 within what is visible already, as a queue that gives a
    job one GPU of eight expects it.

    Parameters
    ----------
    gpus : list of int
    visible : str or None
        The variable's value so far; None where it is not set.

    Returns
    -------
    str
        ``"-1"``, that is no GPU, where none of those asked for is visible.
    """
    if visible is None:
        chosen = [str(gpu) for gpu in gpus]
    else:
        known = [word.strip() for word in visible.split(",") if word.strip()]
        chosen = [known[gpu] for gpu in gpus if gpu < len(known)]
    return ",".join(chosen) if chosen else "-1"


def select_for_inference(gpu_list: str | None) -> Device:
    """Choose what networks score on; TensorFlow is imported only where there may be a GPU.

    Half precision is taken where the GPU has the units for it.

    Parameters
    ----------
    gpu_list : str or None
        As for `select`.

    Returns
    -------
    Device
    """
    prepare_environment()
    if gpu_list is not None and not parse_gpu_list(gpu_list):
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_devices([], VISIBLE_AT_START)
    elif gpu_list is not None or driver_gpus():
        return select(gpu_list, mixed_precision=True)
    logger.info("computing on the CPU")
    return Device("cpu", "cpu")


def has_bfloat16_units(description: Path = CPU_DESCRIPTION) -> bool:
    """Whether the processor multiplies bfloat16 faster than float32.

    Parameters
    ----------
    description : Path
        Linux' list of processors; where there is none the answer is no.
    """
    try:
        text = description.read_text()
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", text, flags=re.MULTILINE)
    return flags is not None and BFLOAT16_UNITS in flags[1].split()


def precision_for(
    wanted: bool, capabilities: list[tuple[int, int]], bfloat16_units: bool = False
) -> str:
    """Keras' name of the precision to compute in.

    Parameters
    ----------
    wanted : bool
        Whether half precision is welcome.
    capabilities : list of (int, int)
        CUDA compute capability of each GPU; empty for the CPU.
    bfloat16_units : bool
        Whether the CPU has units for bfloat16; without them half precision only slows
        it down.

    Returns
    -------
    str
        ``"mixed_float16"`` where every GPU has the units for it, ``"mixed_bfloat16"`` on
        a CPU that has, else ``"float32"``.
    """
    if not wanted:
        return "float32"
    if not capabilities:
        return "mixed_bfloat16" if bfloat16_units else "float32"
    capable = all(capability >= MIXED_PRECISION_CAPABILITY for capability in capabilities)
    return "mixed_float16" if capable else "float32"


def select(
    gpu_list: str | None, mixed_precision: bool = False, threads: int | None = None
) -> Device:
    """Choose what TensorFlow computes on; call it before anything imports TensorFlow.

    Falling back to the CPU is logged as a warning.

    Parameters
    ----------
    gpu_list : str or None
        None for whatever there is, ``""`` for the CPU, ``"0,1"`` for those GPUs.
    mixed_precision : bool
        Compute in float16 where the GPU has the units for it, in bfloat16 where the
        CPU has.
    threads : int, optional
        CPU threads for one operation; TensorFlow's own choice when left out.

    Returns
    -------
    Device
    """
    prepare_environment()
    if threads is not None:
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    asked = None if gpu_list is None else parse_gpu_list(gpu_list)
    if asked is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible_devices(asked, VISIBLE_AT_START)

    import keras
    import tensorflow as tf

    found = [] if asked == [] else tf.config.list_physical_devices("GPU")
    for gpu in found:
        if not tf.config.experimental.get_memory_growth(gpu):
            tf.config.experimental.set_memory_growth(gpu, True)
    details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
    capabilities = [tuple(d.get("compute_capability") or (0, 0)) for d in details]
    precision = precision_for(mixed_precision, capabilities, has_bfloat16_units())
    keras.config.set_dtype_policy(precision)

    mixed = ", in mixed precision" if precision != "float32" else ""
    complaint = fallback(asked, len(found), driver=asked is None and bool(driver_gpus()))
    if complaint:
        logger.warning(complaint)
    if not found:
        logger.info("computing on the CPU%s", mixed)
        return Device("cpu", "cpu")
    name = " + ".join(d.get("device_name", "GPU") for d in details)
    logger.info("computing on %s%s", name, mixed)
    return Device(name, "gpu", len(found))


def fallback(asked: list[int] | None, found: int, driver: bool) -> str | None:
    """Sentence that says that fewer GPUs are used than were to be expected.

    Parameters
    ----------
    asked : list of int or None
        GPUs asked for; None for whatever there is.
    found : int
        GPUs that TensorFlow sees.
    driver : bool
        Whether an NVIDIA driver reports a GPU.

    Returns
    -------
    str or None
        None where all is as it should be.
    """
    if asked is None:
        if found or not driver:
            return None
        return (
            "FALLING BACK TO THE CPU: the NVIDIA driver reports a GPU but TensorFlow sees none; "
            "run `apbc doctor` to find out why"
        )
    if found >= len(asked):
        return None
    numbers = ",".join(str(gpu) for gpu in asked)
    if found == 0:
        return (
            f"FALLING BACK TO THE CPU: GPU {numbers} asked for, but TensorFlow sees no such GPU; "
            "run `apbc doctor` to find out why"
        )
    return f"GPUs {numbers} asked for, but TensorFlow sees only {found} of them"
