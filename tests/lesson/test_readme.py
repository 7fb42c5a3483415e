"""The README's tour: every command is executed, every output compared in shape."""

from __future__ import annotations

import os

import pytest

from switchboard.testing.cluster import ROOT, PrivateCluster
from switchboard.testing.console import difference, steps

pytestmark = pytest.mark.machine
STEPS = list(steps((ROOT / "README.md").read_text()))


def test_the_tour(cluster: PrivateCluster) -> None:
    assert len(STEPS) > 10
    wrong = []
    for step in STEPS:
        shell = ["sh", "-c", f"{{ {step.command}; }} 2>&1"]
        done = cluster.host.run(*shell, check=False, cwd=ROOT, env={**cluster.env, "PATH": os.environ["PATH"]})
        why = difference(step.output, done.stdout)
        if why is not None:
            wrong.append(f"README.md:{step.line}: {step.command}\n  {why}\n{done.stdout}")
    assert not wrong, "\n".join(wrong)
