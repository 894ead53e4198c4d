"""The GPUs of this machine, as the NVIDIA driver tells them."""

import csv
import shutil
import subprocess
from dataclasses import dataclass
from typing import Optional

PROGRAM = "nvidia-smi"
QUERY = "index,name,memory.used,memory.total,utilization.gpu"
SECONDS = 20


@dataclass
class Gpu:
    """One GPU.

    Attributes
    ----------
    index : int
        In PCI order, as Scipion counts.
    name : str
    used, total : int or None
        Memory in MiB.
    load : int or None
        Per cent.
    """

    index: int
    name: str
    used: Optional[int]
    total: Optional[int]
    load: Optional[int]


def list_gpus():
    """List the GPUs of this machine.

    Returns
    -------
    gpus : list of Gpu
    problem : str
        A sentence where there is none.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        return [], "This machine has no NVIDIA driver (there is no %s): no GPU to use." % PROGRAM
    try:
        done = subprocess.run(
            [program, "--query-gpu=" + QUERY, "--format=csv,noheader,nounits"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], "%s did not answer (%s): no GPU to use." % (PROGRAM, error)
    if done.returncode:
        told = " ".join(done.stdout.split()) or "exit status %d" % done.returncode
        return [], "%s found no GPU: %s" % (PROGRAM, told)
    rows = [row for row in csv.reader(done.stdout.splitlines(), skipinitialspace=True) if row]
    gpus = [
        Gpu(int(row[0]), row[1], _number(row[2]), _number(row[3]), _number(row[4])) for row in rows
    ]
    return gpus, "" if gpus else "%s lists no GPU." % PROGRAM


def _number(text):
    """Whole number, or None for what the driver does not know ("[N/A]")."""
    try:
        return int(float(text))
    except ValueError:
        return None


def read_ids(text):
    """Ids of a list such as "0,1" or "0 1"; what is no number is left out.

    Parameters
    ----------
    text : str

    Returns
    -------
    set of int
    """
    return {int(part) for part in (text or "").replace(",", " ").split() if part.isdigit()}
