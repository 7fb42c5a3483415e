"""One start or stop at a time, across processes: lock files that are gone when nobody uses them.

A lock file goes with its last user, and its folder may go with it. So who waited for a lock may hold a file that is no
longer the one at its path, and begins anew.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from . import config as configs
from .errors import ClusterError

WAITING = "waiting for another `up` or `down` of this cluster to end"


@contextmanager
def cluster(name: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """One start or stop of a cluster at a time; a second one waits, and calls `waiting` before. Raises ClusterError."""
    path = configs.run_base() / f".{configs.check_name(name)}.lock"
    try:
        with _held(path, waiting):
            yield
    except PermissionError as error:
        raise ClusterError(f"could not lock {path}: {error}", "run as root") from error
    try:
        path.parent.rmdir()
    except OSError:
        pass  # others are in it


@contextmanager
def choice() -> Iterator[None]:
    """One choice of ranges and ports at a time, whatever the cluster; for who has its cluster's lock."""
    with _held(configs.run_base() / ".choice_.lock"):  # no cluster's name has a `_`
        yield


@contextmanager
def _held(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    said = False
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "w")  # noqa: SIM115  # closed below
        except FileNotFoundError:
            continue
        except FileExistsError:  # also said of a folder that was there, and went before it was looked at
            if path.parent.exists() and not path.parent.is_dir():
                raise
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not said:
                    waiting()
                said = True
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(path, file):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
