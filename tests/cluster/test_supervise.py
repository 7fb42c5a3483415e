"""The supervisor with real processes: it starts, restarts with growing pauses, stops in order, and can be replaced."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from switchboard.cluster import supervise

T = TypeVar("T")
PROGRAM = supervise.__file__


def wait_for(condition: Callable[[], T], seconds: float = 10.0) -> T:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
    return value


class Stage:
    """A run folder with a plan, and the supervisor that reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.supervisor: subprocess.Popen[bytes] | None = None

    def plan(self, **processes: dict[str, Any]) -> None:
        specs = [
            {"name": name, "argv": ["sleep", "1000"], "env": {}, "wave": 0, "grace": 5.0} | spec
            for name, spec in processes.items()
        ]
        report = ["sh", "-c", f'echo "$0: $1" >>{self.folder}/reports']
        plan = {"cluster": "test", "cgroup": None, "logs": str(self.folder), "report": report, "processes": specs}
        (self.folder / "plan.json").write_text(json.dumps(plan))

    def start(self) -> None:
        with open(self.folder / "supervisor.log", "ab") as log:
            self.supervisor = subprocess.Popen([sys.executable, "-I", "-S", PROGRAM, str(self.folder)], stderr=log)

    def pid(self, name: str, *, other_than: int = 0) -> int:
        def find() -> int:
            try:
                record = json.loads((self.folder / "processes.json").read_text())["processes"][name]
            except (OSError, KeyError):
                return 0
            pid = int(record["pid"])
            return pid if pid != other_than and supervise.start_time(pid) == record["start"] else 0

        return wait_for(find)

    def stop(self) -> None:
        assert self.supervisor
        self.supervisor.send_signal(signal.SIGTERM)
        assert self.supervisor.wait(20) == 0

    def log(self) -> str:
        return (self.folder / "supervisor.log").read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    if made.supervisor and made.supervisor.poll() is None:
        made.stop()


def gone(pid: int) -> bool:
    return supervise.start_time(pid) == 0


def test_everything_starts_and_a_stop_ends_it_highest_wave_first(stage: Stage) -> None:
    order = stage.folder / "order"
    trap = f"trap 'echo $0 >>{order}; exit' TERM; while :; do sleep 0.02; done"
    stage.plan(
        base={"argv": ["sh", "-c", trap, "base"]},
        middle={"argv": ["sh", "-c", trap, "middle"], "wave": 1},
        top={"argv": ["sh", "-c", trap, "top"], "wave": 2},
    )
    stage.start()
    pids = [stage.pid(name) for name in ("base", "middle", "top")]
    wait_for(lambda: all(Path(f"/proc/{pid}/cmdline").read_text().startswith("sh") for pid in pids))
    time.sleep(0.1)  # the shells need a moment to set their trap, and nothing outside shows it
    stage.stop()
    assert order.read_text().split() == ["top", "middle", "base"]
    assert all(gone(pid) for pid in pids)
    assert not (stage.folder / "processes.json").exists()


def test_what_dies_is_started_again_and_said_so(stage: Stage) -> None:
    stage.plan(one={}, two={})
    stage.start()
    one, two = stage.pid("one"), stage.pid("two")
    os.kill(one, signal.SIGKILL)
    assert stage.pid("one", other_than=one) != one
    assert stage.pid("two") == two
    assert f"one (pid {one}) was killed by signal 9 (SIGKILL)" in stage.log()
    report = wait_for(lambda: (stage.folder / "reports").exists() and (stage.folder / "reports").read_text())
    assert report.startswith(f"one: one (pid {one}) was killed")


def test_a_program_that_cannot_run_is_tried_again_with_growing_pauses(stage: Stage) -> None:
    stage.plan(bad={"argv": ["/nonexistent/program"]}, good={})
    stage.start()
    wait_for(lambda: stage.log().count("starting it again") >= 3)
    pauses = [line.rsplit("in ", 1)[1] for line in stage.log().splitlines() if "starting it again" in line]
    assert pauses[:3] == ["0.1 s", "0.2 s", "0.4 s"]
    assert "could not run /nonexistent/program" in (stage.folder / "bad.log").read_text()
    stage.pid("good")


def test_what_ignores_the_request_to_end_is_killed(stage: Stage) -> None:
    argv = ["sh", "-c", "trap '' TERM; touch ready; while :; do sleep 0.02; done"]
    stage.plan(stubborn={"argv": [*argv[:2], argv[2].replace("ready", f"{stage.folder}/ready")], "grace": 0.1})
    stage.start()
    pid = stage.pid("stubborn")
    wait_for((stage.folder / "ready").exists)
    stage.stop()
    assert gone(pid)
    assert "stubborn did not end in time" in stage.log()


def test_a_new_supervisor_adopts_what_runs(stage: Stage) -> None:
    stage.plan(one={}, two={})
    stage.start()
    one, two = stage.pid("one"), stage.pid("two")
    assert stage.supervisor
    stage.supervisor.kill()
    stage.supervisor.wait()
    os.kill(two, signal.SIGKILL)
    stage.start()
    assert stage.pid("two", other_than=two)
    assert stage.pid("one") == one
    os.kill(one, signal.SIGKILL)  # not its child, watched all the same
    assert stage.pid("one", other_than=one)


def test_of_two_supervisors_one_waits_for_the_others_end(stage: Stage) -> None:
    stage.plan(one={})
    stage.start()
    one, first = stage.pid("one"), stage.supervisor
    assert first
    stage.start()
    second = stage.supervisor
    assert second
    wait_for(lambda: str(stage.folder / "supervisor.lock") in opened(second.pid))
    record = json.loads((stage.folder / "processes.json").read_text())
    assert record["supervisor"]["pid"] == first.pid
    first.kill()
    first.wait()
    wait_for(lambda: f"one runs already (pid {one})" in stage.log())
    assert stage.pid("one") == one
    wait_for(lambda: json.loads((stage.folder / "processes.json").read_text())["supervisor"]["pid"] == second.pid)


def opened(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    return [os.readlink(f"{folder}/{number}") for number in os.listdir(folder)]


def test_a_changed_plan_changes_only_what_differs(stage: Stage) -> None:
    stage.plan(same={}, changed={}, removed={})
    stage.start()
    same, changed, removed = stage.pid("same"), stage.pid("changed"), stage.pid("removed")
    stage.plan(same={}, changed={"argv": ["sleep", "2000"]}, added={})
    assert stage.supervisor
    stage.supervisor.send_signal(signal.SIGHUP)
    stage.pid("added")
    assert stage.pid("changed", other_than=changed)
    wait_for(lambda: gone(removed))
    assert stage.pid("same") == same


def test_an_unreadable_plan_keeps_the_old_one(stage: Stage) -> None:
    stage.plan(one={})
    stage.start()
    one = stage.pid("one")
    (stage.folder / "plan.json").write_text("{")
    assert stage.supervisor
    stage.supervisor.send_signal(signal.SIGHUP)
    wait_for(lambda: "the old plan stays" in stage.log())
    assert stage.pid("one") == one


def test_a_long_log_is_put_aside(stage: Stage) -> None:
    log = stage.folder / "one.log"
    with open(log, "wb") as file:
        file.truncate(supervise.LOG_LIMIT + 1)
    stage.plan(one={"argv": ["sh", "-c", "echo hello; exec sleep 1000"]})
    stage.start()
    wait_for(lambda: log.exists() and log.read_text() == "hello\n")
    assert (stage.folder / "one.log.1").stat().st_size == supervise.LOG_LIMIT + 1


@pytest.mark.parametrize(
    ("lived", "last", "wait"),
    [(0.0, 0.0, 0.1), (1.0, 0.1, 0.2), (1.0, 8.0, 10.0), (1.0, 10.0, 10.0), (31.0, 10.0, 0.1)],
)
def test_pauses_double_up_to_ten_seconds_and_a_long_life_forgives(lived: float, last: float, wait: float) -> None:
    assert supervise.next_delay(lived, last) == wait


def test_the_supervisor_loads_nothing_heavy() -> None:
    code = f"exec(compile(open({PROGRAM!r}).read(), 'supervise', 'exec'), {{'__name__': 'supervise'}})"
    argv = [sys.executable, "-I", "-S", "-X", "importtime", "-c", code]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stderr.splitlines()
    loaded = {line.rsplit("|", 1)[-1].strip() for line in lines}
    assert "json" in loaded
    assert not {"asyncio", "ssl", "socket", "subprocess", "typing", "logging", "dataclasses"} & loaded
