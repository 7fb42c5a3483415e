"""What every verb's parser has: the name option, help with examples."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from switchboard.cluster.config import ClusterConfig, called, default_name, load_existing


class Parser(argparse.ArgumentParser):
    """One whose failures say what to do, as all of ours."""

    def error(self, message: str) -> NoReturn:
        """Say what was wrong, and where to read what is right. Ends the process with status 2."""
        self.exit(2, f"{self.prog}: {message}\nwhat to do: {self.prog} --help says how it is called\n")


def parser(verb: str, summary: str, examples: str, name: str | None) -> argparse.ArgumentParser:
    """A parser with `--name` and examples below its help."""
    made = Parser(
        prog=f"switchboard {verb}",
        description=summary,
        epilog=f"examples:\n{as_called(examples)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--name",
        default=name or default_name(),
        metavar="CLUSTER",
        help="which cluster (default: $SWITCHBOARD_CLUSTER, else switchboard)",
    )
    return made


def cluster(options: argparse.Namespace) -> ClusterConfig:
    """The named cluster; ClusterError when it was never started."""
    return load_existing(options.name)


def as_called(examples: str) -> str:
    """Examples with the command as the person called it."""
    return re.sub(r"(?m)(^ *|[|`(] *|&& )switchboard(?= )", lambda found: found[1] + called(), examples)
