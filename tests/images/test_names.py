"""Image names as people write them become full names, as every client of registries completes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.images.errors import ImageError
from switchboard.images.names import parse

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:alpine", "docker.io/library/nginx:alpine"),
        ("library/nginx:1", "docker.io/library/nginx:1"),
        ("me/app", "docker.io/me/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/me/app:2", "docker.io/me/app:2"),
        ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:v1", "localhost:5000/app:v1"),
        ("ghcr.io/a/b/c__d-e.f:v1.2_3-4", "ghcr.io/a/b/c__d-e.f:v1.2_3-4"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"10.0.0.1:80/x:1@{DIGEST}", f"10.0.0.1:80/x@{DIGEST}"),
    ],
)
def test_names_are_completed(written: str, full: str) -> None:
    assert str(parse(written)) == full


@pytest.mark.parametrize(
    "written",
    ["", ":", "a:", "A", "a//b", "a/../b", "-a", "a:b:c", "a@sha256:1", "a@", "http://a/b", "a b", "a:" + "x" * 129],
)
def test_what_is_no_name_is_refused(written: str) -> None:
    with pytest.raises(ImageError):
        parse(written)


@given(st.text(max_size=40))
def test_nothing_that_is_accepted_leads_out_of_a_folder(text: str) -> None:
    try:
        name = parse(text)
    except ImageError:
        return
    assert ".." not in name.repository.split("/")
    assert not name.repository.startswith("/")
    assert str(parse(str(name))) == str(name)
