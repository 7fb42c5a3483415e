"""The file of the audit log: written at its end, put aside when it is full, old ones removed, as kube-apiserver does.

A full `audit.log` becomes `audit-2026-11-27T20-41-07.123.log` (UTC) beside it. The file is opened anew for each write,
so somebody else may move it away as well. Source: apiserver/pkg/server/options/audit.go, gopkg.in/natefinch/lumberjack.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)
_MEGABYTE: Final = 1 << 20
_MOMENT: Final = "%Y-%m-%dT%H-%M-%S.%f"
STANDARD_OUTPUT: Final = "-"


@dataclass(frozen=True, slots=True)
class Rotation:
    """`max_size` (megabytes) of the file, 100 when 0; of those put aside, `max_backups` are kept, for `max_age` days,
    or all and for ever when 0."""

    max_size: int = 0
    max_backups: int = 0
    max_age: int = 0

    @property
    def bytes(self) -> int:
        """How long the file may be."""
        return (self.max_size or 100) * _MEGABYTE


class AuditLog:
    """One file, or standard output. Raises OSError when it cannot be written."""

    def __init__(self, path: str, rotation: Rotation, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path, self._rotation, self._now = Path(path), rotation, now
        self._standard = path == STANDARD_OUTPUT
        self.write(b"")  # whether it can be written shows now
        if not self._standard:
            self._remove_old()

    def write(self, data: bytes) -> None:
        """Whole lines."""
        if self._standard:
            _all(1, data)
            return
        size = self._size()
        if size and size + len(data) > self._rotation.bytes:
            self._put_aside()
            self._remove_old()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _all(descriptor, data)
        finally:
            os.close(descriptor)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _put_aside(self) -> None:
        moment = self._now()
        while (aside := self._aside(moment)).exists():
            moment += timedelta(milliseconds=1)
        os.rename(self._path, aside)

    def _aside(self, moment: datetime) -> Path:
        return self._path.with_name(f"{self._path.stem}-{moment.strftime(_MOMENT)[:-3]}{self._path.suffix}")

    def _moment(self, name: str) -> datetime | None:
        """When a file was put aside; None for other files."""
        start, end = f"{self._path.stem}-", self._path.suffix
        if not name.startswith(start) or not name.endswith(end):
            return None
        try:
            found = datetime.strptime(name[len(start) : len(name) - len(end)], _MOMENT).replace(tzinfo=UTC)
        except ValueError:
            return None
        return found if self._aside(found).name == name else None

    def _remove_old(self) -> None:
        rotation = self._rotation
        if not rotation.max_backups and not rotation.max_age:
            return
        try:
            dated = [(moment, p) for p in self._path.parent.iterdir() if (moment := self._moment(p.name)) is not None]
            dated.sort(reverse=True)
            oldest = self._now() - timedelta(days=rotation.max_age)
            for number, (moment, path) in enumerate(dated):
                many = rotation.max_backups and number >= rotation.max_backups
                if many or (rotation.max_age and moment < oldest):
                    path.unlink(missing_ok=True)
        except OSError as why:
            _log.warning("old audit logs cannot be removed: %s", why)


def _all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
