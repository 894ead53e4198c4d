"""How much memory is free: of the machine, of the control group, of a GPU."""

from __future__ import annotations

from pathlib import Path

from apbc.system.devices import Device, driver_gpus

MEMORY_INFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")
MIB = 1 << 20
UNKNOWN = 4 << 30  # what machines that do not tell are taken to have


def available_memory(info: Path = MEMORY_INFO, group: Path = GROUP) -> int:
    """Bytes that a process may still take: the machine's, or less where a queue allots less.

    Parameters
    ----------
    info, group : Path, optional
        Linux' files about the memory and about the control group.

    Returns
    -------
    int
    """
    free = UNKNOWN
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    old = group / "memory"
    for most, used, cached in (
        (group / "memory.max", group / "memory.current", "inactive_file"),
        (old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if most.is_file() and used.is_file() and most.read_text().strip().isdecimal():
            taken = int(used.read_text()) - _statistic(most.with_name("memory.stat"), cached)
            free = min(free, int(most.read_text()) - taken)
    return max(free, 0)


def _statistic(path: Path, name: str) -> int:
    """Return a value of a control group's statistics; 0 where it has none of that name."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)


def memory_of(device: Device) -> int:
    """Bytes that networks may take on a device; of a GPU all that it has.

    Parameters
    ----------
    device : Device

    Returns
    -------
    int
    """
    if device.kind == "cpu":
        return available_memory()
    known = [gpu.memory * MIB for gpu in driver_gpus() if gpu.name in device.name and gpu.memory]
    return min(known, default=UNKNOWN)
