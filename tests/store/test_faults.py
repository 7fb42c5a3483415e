"""Sudden death, a full disk and a damaged file: what was acknowledged is there, or the store says that it is not."""

import asyncio
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from switchboard.store import kernelsync
from switchboard.store.errors import StoreCorrupt, StoreError
from switchboard.store.feed import Stage
from switchboard.store.store import Store

WORKERS = 8
KILLS = 200


def body(revision: int, seed: int) -> bytes:
    """A value that shows whether it is whole: it can be made again from its own first bytes."""
    return struct.pack(">QQ", revision, seed) + random.Random(seed).randbytes(seed % 3000)


def is_whole(value: bytes) -> bool:
    revision, seed = struct.unpack(">QQ", value[:16])
    return value == body(revision, seed)


async def write_for_ever(path: Path, out: int, seed: int) -> None:
    store = Store.open(path, history=200)

    async def worker(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        while True:
            key = f"/core/configmaps/w{number}/{rng.randrange(6)}"
            part = rng.randrange(1 << 32)
            if store.head(key) is not None and rng.random() < 0.2:
                record = await store.delete(key, lambda r, part=part: body(r, part))
                os.write(out, f"delete {key} {record.revision}\n".encode())
            else:
                record = await store.put(key, lambda r, part=part: body(r, part))
                os.write(out, f"put {key} {record.revision}\n".encode())

    await asyncio.gather(*[worker(number) for number in range(WORKERS)])


def run_and_kill(path: Path, seed: int) -> list[list[str]]:
    """Fork a writer, kill it a moment after its first acknowledgement; every acknowledgement that it printed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            asyncio.run(write_for_ever(path, write, seed))
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read1(1 << 16)
        waited = 0
        patience = random.Random(seed).randrange(1, 60)
        while waited < patience:  # a moment, measured in acknowledgements: some 30 of them arrive in a millisecond
            text += pipe.read1(1 << 16)
            waited += 1
        os.kill(pid, signal.SIGKILL)
        text += pipe.read()
    os.waitpid(pid, 0)
    return [line.split() for line in text.decode().split("\n")[:-1]]


def test_hundreds_of_kills_lose_nothing_acknowledged(tmp_path):
    path = tmp_path / "s.db"
    newest = 1
    acknowledged = 0
    for seed in range(KILLS):
        acks = run_and_kill(path, seed)
        numbers = [int(number) for _, _, number in acks]
        assert min(numbers) > newest, "a revision was used twice"
        acknowledged += len(acks)
        newest = asyncio.run(check_after_kill(path, acks, max(numbers)))
    assert acknowledged > KILLS * 20


async def check_after_kill(path: Path, acks: list[list[str]], newest: int) -> int:
    store = Store.open(path, history=200)
    try:
        assert store.revision >= newest, "revisions went back"
        last = {key: (verb, int(number)) for verb, key, number in acks}
        for key, (verb, number) in last.items():
            record = store.get(key)
            if record is None:
                # gone by the acknowledged deletion, or by one that the kill kept from being acknowledged
                assert verb == "delete" or store.revision > number
            else:
                assert record.revision >= number if verb == "put" else record.revision > number
        for record in store.scan("/"):
            assert is_whole(record.value)
            assert struct.unpack(">Q", record.value[:8])[0] == record.revision
        return store.revision
    finally:
        await store.close()


def in_child(work) -> None:
    """Run a coroutine in a forked process, for what would change this one (limits); fails with its traceback."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(work())
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0, "see the traceback above"


async def fill_until_refused(store: Store, acknowledged: dict[str, bytes]) -> StoreError:
    """Write until the disk is full; the error. Every write of the last round that failed is checked to be undone."""
    for round_ in range(1000):
        keys = [f"/core/configmaps/fill/{round_}-{i}" for i in range(8)]
        writes = [store.put(key, lambda r: os.urandom(20_000)) for key in keys]
        results = await asyncio.gather(*writes, return_exceptions=True)
        failed = [r for r in results if isinstance(r, BaseException)]
        acknowledged.update({r.key: r.value for r in results if not isinstance(r, BaseException)})
        if failed:
            for key, result in zip(keys, results, strict=True):
                expected = None if isinstance(result, BaseException) else result
                assert store.get(key) is store.head(key) is expected
            assert isinstance(failed[0], StoreError)
            return failed[0]
    raise AssertionError("the disk never filled")


async def refuse_then_recover(path: Path, make_room) -> str:
    store = Store.open(path)
    acknowledged: dict[str, bytes] = {}
    seen: dict[str, bytes] = {}
    store.subscribe("/", store.revision, lambda events: seen.update({e.record.key: e.record.value for e in events}))
    error = await fill_until_refused(store, acknowledged)
    before = store.revision
    for _ in range(3):  # refusing is not the end: it goes on refusing, and readers go on reading
        with pytest.raises(StoreError):
            await store.put("/core/configmaps/fill/more", lambda r: os.urandom(200_000))
        assert store.get("/core/configmaps/fill/more") is None
    assert store.revision == before
    make_room()
    record = await store.put("/core/configmaps/fill/after", lambda r: os.urandom(200_000))
    assert record.revision > before
    acknowledged[record.key] = record.value
    await store.close()
    assert seen == acknowledged
    store = Store.open(path)
    assert {r.key: r.value for r in store.scan("/")} == acknowledged
    await store.close()
    return str(error)


def test_a_file_size_limit_is_an_error_and_undone(tmp_path):
    async def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        await refuse_then_recover(tmp_path / "s.db", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, unlimited))

    in_child(work)


@pytest.mark.machine
def test_a_full_disk_is_an_error_and_undone(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", disk], check=True)
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(3 << 20))
        message = asyncio.run(refuse_then_recover(disk / "s.db", ballast.unlink))
        assert "no space left" in message
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


async def filled(path: Path, count: int = 300) -> list[tuple]:
    store = Store.open(path)
    for i in range(0, count, 10):
        await asyncio.gather(*[store.put(f"/core/configmaps/a/{i + n}", lambda r: os.urandom(700)) for n in range(10)])
    await asyncio.gather(*[store.delete(f"/core/configmaps/a/{i}", lambda r: b"x") for i in range(40)])
    state = [(r.key, r.value, r.revision, r.created) for r in store.scan("/")]
    await store.close()
    return state


async def opened_state(path: Path) -> list[tuple] | StoreCorrupt:
    try:
        store = Store.open(path)
    except StoreCorrupt as error:
        return error
    state = [(r.key, r.value, r.revision, r.created) for r in store.scan("/")]
    await store.close()
    return state


async def test_a_flipped_bit_is_found_or_harmless_but_never_a_silent_loss(tmp_path):
    good = await filled(tmp_path / "good.db")
    original = (tmp_path / "good.db").read_bytes()
    rng = random.Random(7)
    places = [rng.randrange(len(original)) for _ in range(150)]
    for page in range(len(original) // 4096):  # page headers and cell pointers, where damage hides best
        places += [page * 4096 + offset for offset in (0, 1, 3, 4, 5, 7, 8, 9)]
    found = 0
    for number, place in enumerate(places):
        damaged = bytearray(original)
        damaged[place] ^= 1 << (number % 8)
        path = tmp_path / "bad.db"
        path.write_bytes(damaged)
        try:
            state = await opened_state(path)
        except StoreError:
            continue  # a flipped version number: also said
        if isinstance(state, StoreCorrupt):
            found += 1
            assert path.read_bytes() == damaged, "a damaged file must be left as it is"
        else:
            assert state == good, f"byte {place} was damaged and nobody noticed"
    assert found > len(places) / 2


@pytest.mark.parametrize("size", [0, 1, 100, 4096, 40_000])
async def test_a_truncated_file_is_damage(tmp_path, size):
    await filled(tmp_path / "s.db")
    os.truncate(tmp_path / "s.db", size)
    with pytest.raises(StoreCorrupt, match=r"s\.db"):
        Store.open(tmp_path / "s.db")
    assert (tmp_path / "s.db").stat().st_size == size


async def test_other_files_are_not_stores(tmp_path):
    (tmp_path / "s.db").write_text("hello, this is no database" * 1000)
    with pytest.raises(StoreCorrupt):
        Store.open(tmp_path / "s.db")


def leave_with_wal(path: Path) -> None:
    """Write and die, so that the last commits are in the write-ahead log only."""

    async def work():
        store = Store.open(path)
        for i in range(40):
            await store.put(f"/core/configmaps/a/{i}", lambda r: os.urandom(2000))
        os._exit(0)

    pid = os.fork()
    if pid == 0:
        asyncio.run(work())
    os.waitpid(pid, 0)


def written(wal: bytes) -> int:
    """Length of what was written to the log, which zeros follow."""
    return len(wal.rstrip(b"\0"))


def test_a_torn_last_commit_is_dropped_and_all_before_it_kept(tmp_path):
    path = tmp_path / "s.db"
    leave_with_wal(path)
    wal = Path(f"{path}-wal")
    os.truncate(wal, written(wal.read_bytes()) - 1000)
    state = asyncio.run(opened_state(path))
    assert len(state) == 39


def test_damage_in_the_middle_of_the_write_ahead_log_is_said(tmp_path):
    path = tmp_path / "s.db"
    leave_with_wal(path)
    wal = Path(f"{path}-wal")
    original = wal.read_bytes()
    kept = tmp_path / "kept.db"
    shutil.copy(path, kept)
    for place in (40, 3000, 32 + 4120 * 5 + 10, 32 + 4120 * 7 + 3000, written(original) // 2):
        shutil.copy(kept, path)
        damaged = bytearray(original)
        damaged[place] ^= 0x10
        wal.write_bytes(damaged)
        state = asyncio.run(opened_state(path))
        assert isinstance(state, StoreCorrupt), place
        assert wal.read_bytes() == damaged


def thread_syncs(monkeypatch) -> Callable[[], None]:
    """A store whose thread waits, as where the kernel has no asynchronous I/O; call the result to break it."""
    monkeypatch.setattr(kernelsync, "binding", lambda: None)

    def failing(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    return lambda: monkeypatch.setattr(os, "fdatasync", failing)


def kernel_syncs(monkeypatch) -> Callable[[], None]:
    """A store that leaves the waiting to the kernel; call the result to have the kernel's answers be errors."""
    module = kernelsync.binding()
    assert module is not None
    broken = []

    class Failing:
        def __init__(self, real):
            self.real = real

        def set_callback(self, told):
            self.real.set_callback(lambda result: told((1 << 64) - 5 if broken else result))

    class Context:
        def __init__(self, max_requests):
            self.real = module.Context(max_requests=max_requests)
            self.fileno, self.poll, self.process_events = self.real.fileno, self.real.poll, self.real.process_events

        def submit(self, operation):
            return self.real.submit(operation.real)

    operation = SimpleNamespace(fdsync=lambda descriptor: Failing(module.Operation.fdsync(descriptor)))
    monkeypatch.setattr(kernelsync, "binding", lambda: SimpleNamespace(Context=Context, Operation=operation))
    return lambda: broken.append(True)


@pytest.mark.parametrize("syncs", [thread_syncs, kernel_syncs])
async def test_after_a_failed_sync_nothing_more_is_written_and_what_was_acknowledged_is_there(
    tmp_path, monkeypatch, syncs
):
    breaking = syncs(monkeypatch)
    store = Store.open(tmp_path / "store.db")
    for number in (b"0", b"1"):
        await store.put("/core/pods/ns/a", lambda revision, number=number: number)
    early: list[str] = []
    store.subscribe(
        "/core/pods/",
        store.revision,
        lambda events: early.extend(event.record.key for event in events),
        stage=Stage.WRITTEN,
        undone=lambda: early.append("undone"),
    )
    breaking()
    with pytest.raises(StoreError, match="Input/output error"):
        await store.put("/core/pods/ns/b", lambda revision: b"2")
    assert store.head("/core/pods/ns/b") is None  # never shown
    assert early == ["/core/pods/ns/b", "undone"]
    with pytest.raises(StoreError, match="until the store is opened again"):
        store.put("/core/pods/ns/c", lambda revision: b"3")
    await store.close()
    monkeypatch.undo()
    again = Store.open(tmp_path / "store.db")
    try:
        assert again.get("/core/pods/ns/a").value == b"1"
        await again.put("/core/pods/ns/c", lambda revision: b"3")
    finally:
        await again.close()


async def test_a_kernel_that_refuses_to_begin_a_sync_says_nothing_of_the_disk(tmp_path, monkeypatch):
    store = Store.open(tmp_path / "store.db")
    try:
        await store.put("/core/pods/ns/a", lambda revision: b"1")
        refused = []
        monkeypatch.setattr(kernelsync.KernelSync, "start", lambda self, log, done: refused.append(log) is not None)
        await store.put("/core/pods/ns/a", lambda revision: b"2")
        await store.put("/core/pods/ns/a", lambda revision: b"3")
        assert len(refused) == 1, "it is asked once; then the thread waits"
        assert store.get("/core/pods/ns/a").value == b"3"
    finally:
        await store.close()


async def test_what_has_no_sync_is_refused_by_the_kernel_at_once():
    kernel = kernelsync.KernelSync.open(asyncio.get_running_loop())
    assert kernel is not None
    reader, writer = os.pipe()
    try:
        assert not kernel.start(reader, lambda error: None)
    finally:
        kernel.close()
        os.close(reader)
        os.close(writer)


async def test_the_write_ahead_log_stays_small(tmp_path):
    store = Store.open(tmp_path / "store.db")
    try:
        for _ in range(60):
            await asyncio.gather(*(store.put(f"/core/pods/ns/{n}", lambda revision: b"x" * 4000) for n in range(20)))
        assert (tmp_path / "store.db-wal").stat().st_size < 12 << 20  # 4 MB, and what was written meanwhile
    finally:
        await store.close()
