"""The reader of documents: what counts as equal, what does not."""

from __future__ import annotations

import pytest

from switchboard.testing.console import difference, steps

DOCUMENT = """
text
```console
$ kubectl get pods
NAME                   READY   AGE
web-5d5f4c7f5b-abc12   1/1     10s
$ kubectl apply \\
    -f a.yaml
service/web created
```
```
$ not this
```
"""


def test_commands_and_their_outputs() -> None:
    found = [(s.command, s.output) for s in steps(DOCUMENT)]
    assert found == [
        ("kubectl get pods", ["NAME                   READY   AGE", "web-5d5f4c7f5b-abc12   1/1     10s"]),
        ("kubectl apply -f a.yaml", ["service/web created"]),
    ]


@pytest.mark.parametrize(
    ("said", "printed", "same"),
    [
        ("a 10.0.0.1 5s", "a 10.244.0.7   1m3s\n", True),
        ("web-6bcd64c5d4-bj7n7 1/1", "web-7d796cf45b-kcjv8 1/1", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("a\n...\nc", "a\nb\nb\nc", True),
        ("a\n...", "a\nb\nc", True),
        ("a\n...\nd", "a\nb", False),
        ("80:31234/TCP", "80:30007/TCP", True),
        ("ready 1/1", "ready 0/1", False),
    ],
)
def test_shapes(said: str, printed: str, same: bool) -> None:
    assert (difference(said.splitlines(), printed) is None) == same
