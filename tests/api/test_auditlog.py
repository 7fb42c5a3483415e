"""The file of the audit log: how long it gets, where it goes then, and what is removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from switchboard.api.auditlog import AuditLog, Rotation
from switchboard.api.settings import Settings
from switchboard.testing.apiserver import ApiServer

NOW = datetime(2026, 11, 27, 18, 30, 0, 123456, tzinfo=UTC)
HALF = b"x" * (600 * 1024) + b"\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hours() -> Iterator[datetime]:
    moment = NOW
    while True:
        yield moment
        moment += timedelta(hours=1)


def test_a_full_file_is_put_aside(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path / "audit.log"), Rotation(max_size=1), now=lambda: NOW)
    log.write(HALF)
    assert names(tmp_path) == ["audit.log"]
    log.write(HALF)
    assert names(tmp_path) == ["audit-2026-11-27T18-30-00.123.log", "audit.log"]
    log.write(b"more\n")
    assert (tmp_path / "audit.log").read_bytes() == HALF + b"more\n"
    log.write(HALF)  # at the same moment: nothing is written over
    assert names(tmp_path) == [
        "audit-2026-11-27T18-30-00.123.log",
        "audit-2026-11-27T18-30-00.124.log",
        "audit.log",
    ]
    assert (tmp_path / "audit.log").read_bytes() == HALF
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


def test_what_is_longer_than_a_file_may_be_is_written_whole(tmp_path: Path) -> None:
    log = AuditLog(str(tmp_path / "audit"), Rotation(max_size=1), now=lambda: NOW)
    for _ in range(2):
        log.write(HALF * 3)
    assert names(tmp_path) == ["audit", "audit-2026-11-27T18-30-00.123"]
    assert (tmp_path / "audit").read_bytes() == HALF * 3


def test_without_limits_a_file_is_a_hundred_megabytes_and_all_are_kept(tmp_path: Path) -> None:
    assert Rotation().bytes == 100 << 20
    for age in range(50):
        (tmp_path / f"audit-{(NOW - timedelta(days=age)).strftime('%Y-%m-%dT%H-%M-%S')}.000.log").touch()
    AuditLog(str(tmp_path / "audit.log"), Rotation(), now=lambda: NOW)
    assert len(names(tmp_path)) == 51


def test_the_youngest_are_kept(tmp_path: Path) -> None:
    moments = hours()
    log = AuditLog(str(tmp_path / "audit.log"), Rotation(max_size=1, max_backups=2), now=lambda: next(moments))
    for _ in range(6):
        log.write(HALF)
    left = names(tmp_path)
    assert left[-1] == "audit.log" and len(left) == 3
    assert all("2026-11-2" in name for name in left[:2])
    assert left[1] > left[0] > "audit-2026-11-27T20"


@pytest.mark.parametrize(("days", "left"), [(0, 4), (10, 3), (2, 2), (1, 1)])
def test_the_old_are_removed(tmp_path: Path, days: int, left: int) -> None:
    others = ["audit-notes.log", "audit-2026-11-20T00-00-00.log", "other-2020-01-01T00-00-00.000.log", "audit.log.1"]
    for name in others:
        (tmp_path / name).touch()
    for age in (0.5, 1.5, 9, 300):
        moment = (NOW - timedelta(days=age)).strftime("%Y-%m-%dT%H-%M-%S")
        (tmp_path / f"audit-{moment}.000.log").touch()
    AuditLog(str(tmp_path / "audit.log"), Rotation(max_age=days), now=lambda: NOW)
    assert set(others) <= set(names(tmp_path))
    assert len(names(tmp_path)) == len(others) + 1 + left


def test_a_log_that_cannot_be_written_shows_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AuditLog(str(tmp_path / "nowhere" / "audit.log"), Rotation())


async def test_no_event_is_lost_between_two_files(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text('{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "RequestResponse"}]}')
    (tmp_path / "logs").mkdir()
    settings = Settings(
        audit_policy=str(policy), audit_log=str(tmp_path / "logs" / "audit.log"), audit_rotation=Rotation(max_size=1)
    )
    async with ApiServer(settings=settings) as api:
        for number in range(12):
            body = {"metadata": {"name": f"c{number}"}, "data": {"x": "y" * 100_000}}
            assert (await api.call("POST", "/api/v1/namespaces/default/configmaps", body))[0] == 201
    assert len(names(tmp_path / "logs")) > 2
    events = [json.loads(line) for path in (tmp_path / "logs").iterdir() for line in path.read_text().splitlines()]
    created = [e["objectRef"]["name"] for e in events if e["verb"] == "create" and e["stage"] == "ResponseComplete"]
    assert sorted(name for name in created if name.startswith("c")) == sorted(f"c{number}" for number in range(12))
