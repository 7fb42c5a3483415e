"""The log on disk: one SQLite table, one row per change, appended in revision order and never rewritten.

The state is the last row of each key. A change makes the row it replaces garbage; the row stays while the change is in
the history (it is that event's `previous`) and is deleted when the history moves past it. `floor` in table `meta` is
the revision up to which that has happened, so revisions never go back even when every row is gone.

Durability: what synchronous=FULL does, an fsync of the write-ahead log behind every commit
(https://sqlite.org/pragma.html#pragma_synchronous), in two halves. `append` writes a batch to the log, without a sync
(synchronous=NORMAL), which takes 0.1 ms and no waiting; `sync` makes it durable and may run in another thread, or be
left to the kernel (`filled_log`), as it needs nothing of SQLite. The log is filled with zeros to its usual size first:
a sync of a file that grows takes longer, since its length is written too (a put alone 0.41-0.63 ms, 0.32-0.48 without,
on ext4). A batch is one multi-row INSERT in autocommit mode. `checkpoint` folds the log into the database, in a thread
as well, instead of SQLite's own in the middle of a commit.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from switchboard.store.errors import StoreCorrupt, StoreError
from switchboard.store.inspect import commits, is_database, wal_header_intact

_APPLICATION = 0x53574244  # "SWBD"
_VERSION = 1
_SCHEMA = f"""
PRAGMA page_size = 4096;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
BEGIN;
CREATE TABLE log (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL,
                  deleted INTEGER NOT NULL, value BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('floor', 1);
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_ALL = "SELECT revision, key, created, deleted, value, sum FROM log ORDER BY revision"
_ROWS = 1000  # rows of one INSERT; SQLite takes 32,766 parameters
_PAGE = 4096
_LOG_PAGES = 1000  # of the write-ahead log, at which it is folded into the database: 4 MB
_SPARE_PAGES = 250  # what is written before a full log is noticed
_ZEROS = bytes(1 << 16)
_COMMIT_PAGES = 3  # that a commit writes besides those its values fill: the pages on the way to the last row


class Row(NamedTuple):
    """One change as it is on disk; `deleted` is 0 or 1, `sum` the CRC-32 of key and value."""

    revision: int
    key: str
    created: int
    deleted: int
    value: bytes
    sum: int


def checksum(key: str, value: bytes) -> int:
    """CRC-32 over key and value: finds flipped bits that leave SQLite's own structure intact."""
    return crc32(value, crc32(key.encode()))


class Disk:
    """One open log, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._wal = Path(f"{path}-wal")
        self._found_wal = b""  # what a crash left behind, kept until the store is open
        self._log: int | None = None  # descriptor of the write-ahead log, which exists from the first write on
        self._log_pages = 0  # estimate since the last checkpoint
        self._filled = False  # the log has its usual size
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _create(path)
            self._inspect()
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot open the store {path}: {error}") from error
        try:
            self._prepare()
        except BaseException:
            self.abandon()
            raise

    def _inspect(self) -> None:
        with self._path.open("rb") as file:
            head = file.read(512)
        if not is_database(head):
            raise StoreCorrupt(f"{self._path} is not a store of Switchboard, or damaged: its header is wrong")
        if self._wal.exists():
            self._found_wal = self._wal.read_bytes()
            if not wal_header_intact(self._found_wal):
                raise StoreCorrupt(f"{self._wal} is damaged: its header fails its checksum")

    def confirm(self, revision: int) -> None:
        """Compare what was loaded, up to `revision`, with the commits in the write-ahead log that a crash left.

        Raises StoreCorrupt if more than the last of them, which a crash may tear, did not come through.
        """
        missing = [last for last in commits(self._found_wal) if last > revision]
        if len(missing) > 1:
            raise StoreCorrupt(
                f"{self._wal} is damaged: {len(missing)} commits behind revision {revision} cannot be read"
            )
        self._found_wal = b""

    def abandon(self) -> None:
        """Close after a failed open and put the write-ahead log back, which SQLite removes when it closes."""
        self._db.close()
        self._close_log()
        if self._found_wal and not self._wal.exists():
            self._wal.write_bytes(self._found_wal)
            self._wal.chmod(0o600)

    def _prepare(self) -> None:
        execute = self._db.execute
        try:
            # Exclusive: no second server on the same file, and the WAL index lives in memory instead of a -shm file.
            execute("PRAGMA locking_mode = EXCLUSIVE")
            execute("PRAGMA busy_timeout = 0")
            mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
            execute("PRAGMA synchronous = NORMAL")  # `sync` does what FULL would add
            execute("PRAGMA cache_size = -2000")
            execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoint` does it
            execute("PRAGMA journal_size_limit = 16777216")
            application = execute("PRAGMA application_id").fetchone()[0]
            version = execute("PRAGMA user_version").fetchone()[0]
            # Structure of every page (44 ms for 80 MB); the sums of the rows say that their content is whole.
            damage = execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            raise self._translate("open", error) from error
        if damage != "ok":
            raise StoreCorrupt(f"the store {self._path} is damaged ({damage}); restore it from a copy or remove it")
        if application != _APPLICATION:
            raise StoreCorrupt(f"{self._path} is not a store of Switchboard (or its first page is damaged)")
        if version != _VERSION or mode != "wal":
            raise StoreError(f"{self._path} has format {version} ({mode}); this version reads format {_VERSION}")

    def _translate(self, doing: str, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return StoreCorrupt(f"the store {self._path} is damaged ({error}); restore it from a copy or remove it")
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return StoreError(f"the store {self._path} is in use by another process")
        if code.startswith("SQLITE_FULL"):
            return StoreError(f"cannot {doing} the store {self._path}: no space left on its disk")
        return StoreError(f"cannot {doing} the store {self._path}: {error} {code}".rstrip())

    def floor(self) -> int:
        """The revision up to which history is compacted; 1 in a new store."""
        try:
            found = self._db.execute("SELECT value FROM meta WHERE name = 'floor'").fetchone()
        except sqlite3.Error as error:
            raise self._translate("read", error) from error
        if found is None:
            raise StoreCorrupt(f"the store {self._path} is damaged: it has no floor")
        return int(found[0])

    def rows(self) -> Iterator[Row]:
        """All rows in revision order, each checked against its sum; raises StoreCorrupt at the first bad one."""
        try:
            for found in self._db.execute(
                "SELECT revision, key, created, deleted, value, sum FROM log ORDER BY revision"
            ):
                row = Row(*found)
                if crc32(row.value, crc32(row.key.encode())) != row.sum:
                    raise StoreCorrupt(f"the store {self._path} is damaged: revision {row.revision} fails its checksum")
                yield row
        except (sqlite3.DatabaseError, UnicodeDecodeError, TypeError, AttributeError) as error:
            if isinstance(error, sqlite3.DatabaseError):
                raise self._translate("read", error) from error
            raise StoreCorrupt(f"the store {self._path} is damaged: a row has a wrong type") from error

    def append(self, rows: list[Row]) -> None:
        """Add rows, all or none; StoreError says why not. They are durable after the next `sync`."""
        try:
            if len(rows) <= _ROWS:
                self._insert(rows)
            else:
                self._db.execute("BEGIN IMMEDIATE")
                for start in range(0, len(rows), _ROWS):
                    self._insert(rows[start : start + _ROWS])
                self._db.execute("COMMIT")
            if self._log is None:
                self._log = os.open(self._wal, os.O_RDWR | os.O_CLOEXEC)
        except sqlite3.Error as error:
            self._roll_back()
            raise self._translate("write to", error) from error
        except OSError as error:
            raise self.failure(error) from error
        self._log_pages += _COMMIT_PAGES + sum(len(row.value) for row in rows) // _PAGE

    def sync(self) -> None:
        """Make everything appended durable. StoreError if the disk does not: what is on it is then unknown."""
        if self._log is not None:
            if not self._filled:
                self._fill(self._log)
            try:
                os.fdatasync(self._log)
            except OSError as error:
                raise self.failure(error) from error

    def failure(self, error: OSError) -> StoreError:
        """What a failed sync is to those who wait for it."""
        return StoreError(f"cannot write to the store {self._path}: {error}")

    @property
    def filled_log(self) -> int | None:
        """Descriptor whose fdatasync is all that `sync` would do; None before the first `sync`."""
        return self._log if self._filled else None

    def _fill(self, log: int) -> None:
        """Zeros behind the log's end, which are no frames to SQLite; a disk without room for them goes on without."""
        self._filled = True
        size = os.fstat(log).st_size
        try:
            while size < (_LOG_PAGES + _SPARE_PAGES) * _PAGE:
                size += os.pwrite(log, _ZEROS, size)
        except OSError:
            pass

    @property
    def full_log(self) -> bool:
        """Whether the write-ahead log should be folded into the database."""
        return self._log_pages >= _LOG_PAGES

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the database, so that it begins anew; StoreError if that failed."""
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            raise self._translate("tidy up", error) from error
        finally:
            self._log_pages = 0  # also when it failed: it is tried again after as much more

    def _insert(self, rows: list[Row]) -> None:
        values = ",".join(["(?,?,?,?,?,?)"] * len(rows))
        self._db.execute(f"INSERT INTO log VALUES {values}", [field for row in rows for field in row])

    def compact(self, floor: int, revisions: list[int]) -> None:
        """Delete rows that are garbage and remember the new floor, in one transaction; StoreError if it failed."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            marks = ",".join("?" * len(revisions))
            self._db.execute(f"DELETE FROM log WHERE revision IN ({marks})", revisions)
            self._db.execute("UPDATE meta SET value = ? WHERE name = 'floor'", (floor,))
            self._db.execute("COMMIT")
            self._log_pages += _COMMIT_PAGES + len(revisions)
        except sqlite3.Error as error:
            self._roll_back()
            raise self._translate("compact", error) from error

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # SQLite has already rolled back by itself

    def close(self) -> None:
        """Fold the WAL into the file and close."""
        try:
            self._db.close()
        except sqlite3.Error as error:
            raise self._translate("close", error) from error
        finally:
            self._close_log()

    def _close_log(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None


def _create(path: Path) -> None:
    """Make an empty log beside `path` and move it there whole: a file that exists is a whole store or a damaged one."""
    fresh = path.with_name(path.name + ".new")
    for leftover in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        db.executescript(_SCHEMA)
    finally:
        db.close()
    os.rename(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
