"""Check Python, TensorFlow, Keras and the GPUs, with a tiny training step and inference.

Exits with 1 and one sentence per problem if something must be mended. A machine without an NVIDIA
driver is no problem (everything runs on its CPU) unless --require-gpu is given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from apbc.system import doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the findings here, too")
    parser.add_argument(
        "--require-gpu", action="store_true", help="a machine without a usable GPU is a problem"
    )


def run(args: argparse.Namespace) -> int:
    """Examine, report, and return 1 if there are problems."""
    findings = doctor.examine()
    problems = doctor.find_problems(findings, require_gpu=args.require_gpu)
    sys.stdout.write(doctor.describe(findings) + "\n")
    if args.json:
        # Only here, so that the doctor can report that NumPy is missing.
        from apbc.io.files import write_json

        write_json(args.json, {**findings, "problems": problems})
    sys.stdout.flush()
    if not findings["gpus"]:
        sys.stderr.write("apbc: NO GPU IN USE: training and picking run on the CPU only\n")
    for problem in problems:
        sys.stderr.write(f"apbc: problem: {problem}\n")
    if not problems:
        sys.stdout.write("everything works\n")
    return 1 if problems else 0
