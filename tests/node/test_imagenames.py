"""Image names: which are refused, and in which words."""

from __future__ import annotations

import pytest

from switchboard.node.imagenames import fault

DIGEST = "sha256:" + "a1" * 32
BAD = "invalid reference format"


@pytest.mark.parametrize(
    "image",
    [
        "nginx",
        "nginx:alpine",
        "library/nginx",
        "Host/path",
        "localhost/a",
        "localhost:5000/a/b__c/d--e:T_1.2-3",
        "registry.k8s.io/pause@" + DIGEST,
        "registry.k8s.io/pause:3.10@" + DIGEST,
        "[fd00::1]:5000/a",
        "a" * 63,
    ],
)
def test_names(image: str) -> None:
    assert fault(image) == ""


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ("", BAD),
        (" nginx", BAD),
        ("nginx ", BAD),
        ("nginx:", BAD),
        ("nginx:a:b", BAD),
        ("nginx:" + "t" * 129, BAD),
        ("nginx@sha256:12", BAD),
        ("a//b", BAD),
        ("a/-b", BAD),
        ("-host.x/b", BAD),
        ("https://host.x/b", BAD),
        ("Nginx", f"{BAD}: repository name (Nginx) must be lowercase"),
        ("host.x/A/b:T", f"{BAD}: repository name (A/b) must be lowercase"),
        ("ab" * 32, f"invalid repository name ({'ab' * 32}), cannot specify 64-byte hexadecimal strings"),
        ("a" * 300, "repository name must not be more than 255 characters"),
    ],
)
def test_what_is_no_name(image: str, why: str) -> None:
    assert fault(image) == why
