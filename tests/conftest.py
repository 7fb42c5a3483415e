"""What tests of several parts share: the stand-in images, and one cluster for all tests that only use it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from switchboard.cluster.config import images_base
from switchboard.compiled import load
from switchboard.images.build import build
from switchboard.testing.cluster import PrivateCluster

# How fast examples are made says how busy the machine is, not whether a property holds.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

if load.state() != load.COMPILED:  # while sources are worked on, no cluster of a test waits for the compiler
    os.environ[load.SWITCH] = "1"


def pytest_report_header() -> str:
    """Whether this is what users run (`./check` sees to it)."""
    return f"switchboard: {load.state()}"


@pytest.fixture(scope="session")
def stand_in_images() -> Path:
    """The built stand-in images; built here, because a private host reaches no package mirror."""
    build(images_base(), print)
    return images_base()


@pytest.fixture(scope="session")
def cluster(stand_in_images: Path) -> Iterator[PrivateCluster]:
    """A running cluster without a way out. Tests that stop or break a cluster make one of their own."""
    with PrivateCluster() as made:
        yield made
