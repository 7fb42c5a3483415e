"""`switchboard version`."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

from switchboard.compiled import load

from .options import parser

_PROGRAMS = {
    "containerd": ["containerd", "--version"],
    "runc": ["runc", "--version"],
    "kubectl": ["kubectl", "version", "--client"],
    "docker-registry": ["docker-registry", "--version"],
}


def run(verb: str, words: list[str], name: str | None) -> int:
    """Print our version, and those of what we start."""
    parser(verb, "Print versions.", "  switchboard version", name).parse_args(words)
    print(f"switchboard {metadata.version('switchboard')}")
    print(f"python {sys.version.split()[0]}, {load.state()}")
    for program, argv in _PROGRAMS.items():
        try:
            said = subprocess.run(argv, capture_output=True, text=True, timeout=10).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired) as error:
            said = [f"not there ({error})"]
        print(f"{program}: {said[0] if said else 'says nothing'}")
    return 0
