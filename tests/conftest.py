"""What tests of several parts share: the stand-in images, and one cluster for all tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from switchboard.cluster.config import images_base
from switchboard.images.build import build
from switchboard.testing.cluster import PrivateCluster

# How fast examples are made says how busy the machine is, not whether a property holds.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


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
