"""Keeps the processes of one cluster running: starts them, restarts whichever dies, stops them in order when told to.

Imported alone, with nothing but small built-in modules, because it is there all the time and should weigh nothing. It
reads `plan.json`, writes `processes.json`, and waits on one pidfd per process:

- a process that dies is started again after 0.1 s, then 0.2 s ... up to 10 s; one that lived 30 s starts from 0.1 s
- SIGHUP: read the plan again; start, stop and restart what differs
- SIGTERM: stop everything, highest wave first, and end
- at its own start it adopts the processes that `processes.json` names and that still run: a supervisor may die and
  be replaced; a lock keeps two that were started at once from both doing so
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SETTLED = 2.0  # seconds after which starting is over
FIRST_DELAY, LONGEST_DELAY, LONG_LIFE = 0.1, 10.0, 30.0
LOG_LIMIT = 16 << 20
TURN = 5.0  # seconds that one waits for another to end


def log(text: str) -> None:
    """One line, with the time, to our own log."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    sys.stderr.write(f"{stamp}.{int(now % 1 * 1000):03d}Z {text}\n")
    sys.stderr.flush()


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), stat field 22): with the pid, its identity. 0: no
    process.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def next_delay(lived: float, last: float) -> float:
    """How long to wait before starting a process again that lived so long and was last delayed so long."""
    if lived >= LONG_LIFE or not last:
        return FIRST_DELAY
    return min(last * 2, LONGEST_DELAY)


def words(status: int | None) -> str:
    """A wait status in words; None when the process was not our child."""
    if status is None:
        return "ended"
    if os.WIFSIGNALED(status):
        return f"was killed by signal {os.WTERMSIG(status)} ({signal.Signals(os.WTERMSIG(status)).name})"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"


class Process:
    """One process of the plan: running (`pid`, `fd`), or waiting to be started again (`due`)."""

    __slots__ = ("born", "delay", "due", "fd", "pid", "restarts", "spec", "started")

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.pid = self.fd = self.started = self.restarts = 0
        self.born = self.delay = 0.0
        self.due: float | None = time.monotonic() + spec.get("delay", 0.0)


class Supervisor:
    """The processes of one cluster and the one loop that waits on them."""

    def __init__(self, run: str) -> None:
        self.run_folder = run
        self.processes: dict[str, Process] = {}
        self.by_fd: dict[int, Process] = {}
        self.reporters: set[int] = set()
        self.poll = select.poll()
        self.plan: dict[str, Any] = {}
        self.stopping = self.reread = False
        self.rest_at: float | None = time.monotonic() + SETTLED
        self.wake, self.waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def run(self) -> None:
        """Until SIGTERM. Errors of one process never end the loop."""
        signal.set_wakeup_fd(self.waker)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "reread", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not self.is_alone():
            log("another supervisor runs")
            return
        self.poll.register(self.wake, select.POLLIN)
        self.read_plan()
        join_group(self.plan, "supervisor")
        self.adopt()
        self.record()
        while not self.stopping:
            if self.reread:
                self.reread = False
                self.change_plan()
            self.start_due()
            self.wait(self.next_due())
        self.stop_all()

    def is_alone(self) -> bool:
        """Whether no other supervisor has this folder; holds a lock on it until the process ends."""
        lock = os.open(f"{self.run_folder}/supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + TURN
        while not self.stopping:
            try:
                os.lockf(lock, os.F_TLOCK, 0)  # of this process alone: those it starts do not inherit it
                return True
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        return False

    def read_plan(self) -> None:
        """Take `plan.json` for what should run."""
        with open(f"{self.run_folder}/plan.json") as file:
            self.plan = json.load(file)
        wanted = {spec["name"]: spec for spec in self.plan["processes"]}
        for name, spec in wanted.items():
            self.processes.setdefault(name, Process(spec))

    def change_plan(self) -> None:
        """Make what runs follow a plan that was written anew."""
        old = {name: process.spec for name, process in self.processes.items()}
        try:
            self.read_plan()
        except (OSError, ValueError) as error:
            log(f"plan.json cannot be read, the old plan stays: {error}")
            return
        wanted = {spec["name"]: spec for spec in self.plan["processes"]}
        for name, spec in old.items():
            if spec != wanted.get(name):
                log(f"{name} changes")
                self.stop([self.processes[name]])
                if name in wanted:
                    self.processes[name] = Process(wanted[name])
                else:
                    del self.processes[name]
        for process in self.processes.values():  # somebody looks: no need to be patient
            if process.due is not None:
                process.due = process.delay = 0.0

    def adopt(self) -> None:
        """Go on with processes a former supervisor started."""
        try:
            with open(f"{self.run_folder}/processes.json") as file:
                known = json.load(file)["processes"]
        except (OSError, ValueError, KeyError):
            return
        for name, record in known.items():
            process = self.processes.get(name)
            if process and record["start"] and start_time(record["pid"]) == record["start"]:
                log(f"{name} runs already (pid {record['pid']})")
                self.watch(process, record["pid"])
                process.restarts = record.get("restarts", 0)
                if record.get("spec") != process.spec:
                    log(f"{name} changes")
                    self.stop([process])
                    process.due = 0.0

    def watch(self, process: Process, pid: int) -> None:
        """Wait on a process from now on."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            process.due = time.monotonic()
            return
        process.pid, process.fd, process.due = pid, fd, None
        process.born, process.started = time.monotonic(), start_time(pid)
        self.by_fd[fd] = process
        self.poll.register(fd, select.POLLIN)

    def start_due(self) -> None:
        """Start every process whose time has come, and write down what runs."""
        now = time.monotonic()
        due = [process for process in self.processes.values() if process.due is not None and process.due <= now]
        for process in due:
            try:
                self.watch(process, spawn(self.plan, process.spec))
            except OSError as error:
                log(f"{process.spec['name']} could not be started: {error}")
                process.delay = next_delay(0, process.delay)
                process.due = now + process.delay
        if due:
            self.record()

    def next_due(self) -> float | None:
        """Milliseconds until something is to be done, None when nothing is."""
        due = [process.due for process in self.processes.values() if process.due is not None]
        if self.rest_at is not None:
            due.append(self.rest_at)
        return max(0.0, min(due) - time.monotonic()) * 1000 if due else None

    def wait(self, milliseconds: float | None) -> None:
        """Sleep until a process dies, a signal comes, or the time is over."""
        for fd, _ in self.poll.poll(milliseconds):
            if fd == self.wake:
                os.read(self.wake, 512)
            elif process := self.by_fd.get(fd):
                self.died(process)
        self.reporters = {pid for pid in self.reporters if not ended(pid)}
        if self.rest_at is not None and time.monotonic() >= self.rest_at:
            self.rest_at = None
            give_back()

    def forget(self, process: Process) -> int | None:
        """Reap a dead process; its wait status if it was our child."""
        self.poll.unregister(process.fd)
        del self.by_fd[process.fd]
        os.close(process.fd)
        try:
            status: int | None = os.waitpid(process.pid, 0)[1]
        except ChildProcessError:
            status = None
        process.pid = process.fd = process.started = 0
        return status

    def died(self, process: Process) -> None:
        """A process ended by itself: say so, and plan its next start."""
        lived = time.monotonic() - process.born
        pid, status = process.pid, self.forget(process)
        process.delay = next_delay(lived, process.delay)
        process.due = time.monotonic() + process.delay
        process.restarts += 1
        name = process.spec["name"]
        text = f"{name} (pid {pid}) {words(status)} after {lived:.1f} s; starting it again in {process.delay:.1f} s"
        log(text)
        self.record()
        self.tell(name, text)

    def tell(self, name: str, text: str) -> None:
        """Have a one-shot process write a Kubernetes Event; it waits for the API if need be, we do not."""
        if report := self.plan.get("report"):
            try:
                self.reporters.add(spawn(self.plan, {"name": "report", "argv": [*report, name, text], "env": {}}))
            except OSError as error:
                log(f"could not report: {error}")

    def record(self) -> None:
        """Write `processes.json`, whole."""
        own = os.getpid()
        content = {
            "supervisor": {"pid": own, "start": start_time(own)},
            "processes": {
                name: {"pid": p.pid, "start": p.started, "restarts": p.restarts, "spec": p.spec}
                for name, p in self.processes.items()
            },
        }
        path = f"{self.run_folder}/processes.json"
        with open(path + ".new", "w") as file:
            json.dump(content, file)
        os.replace(path + ".new", path)

    def stop_all(self) -> None:
        """Stop everything, highest wave first."""
        waves = sorted({process.spec["wave"] for process in self.processes.values()}, reverse=True)
        for wave in waves:
            self.stop([process for process in self.processes.values() if process.spec["wave"] == wave])
        try:
            os.unlink(f"{self.run_folder}/processes.json")
        except FileNotFoundError:
            pass  # who stops the cluster was quicker
        log("stopped")

    def stop(self, group: list[Process]) -> None:
        """SIGTERM to all of them, SIGKILL to what is left after its grace."""
        left = [process for process in group if process.pid]
        for process in group:
            process.due = None
        for process in left:
            signal_process(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + max([process.spec["grace"] for process in left], default=0.0)
        killed = False
        while left:
            remaining = deadline - time.monotonic()
            if remaining <= 0 and not killed:
                killed = True
                deadline += 5.0
                for process in left:
                    log(f"{process.spec['name']} did not end in time and is killed")
                    signal_process(process.pid, signal.SIGKILL)
            elif remaining <= 0:
                log(f"{[process.spec['name'] for process in left]} cannot be killed")
                return
            for fd, _ in self.poll.poll(max(0.0, remaining) * 1000):
                if fd == self.wake:
                    os.read(self.wake, 512)
                elif process_ended := self.by_fd.get(fd):
                    self.forget(process_ended)
            left = [process for process in left if process.pid]


def give_back() -> None:
    """Give back what only starting needed, when this was started by its bare name, beside `pages`."""
    try:
        import pages  # type: ignore[import-not-found]
    except ImportError:
        return
    pages.give_back()


def signal_process(pid: int, number: int) -> None:
    """Signal, if it is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def ended(pid: int) -> bool:
    """True when a child has ended; it is reaped."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def join_group(plan: dict[str, Any], name: str) -> None:
    """Move the calling process into its leaf of the cluster's control group, when there are control groups."""
    if not plan.get("cgroup"):
        return
    folder = f"{plan['cgroup']}/{name}"
    try:
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/cgroup.procs", "w") as file:
            file.write("0")
    except OSError as error:
        log(f"{name} stays in the caller's control group: {error}")


def open_log(plan: dict[str, Any], name: str) -> int:
    """The process's log, appended to; a long one becomes `<name>.log.1` first."""
    path = f"{plan['logs']}/{name}.log"
    try:
        if os.stat(path).st_size > LOG_LIMIT:
            os.replace(path, path + ".1")
    except OSError:
        pass
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)


def spawn(plan: dict[str, Any], spec: dict[str, Any]) -> int:
    """Start a process in a session and control group of its own, its output going to its log. Returns the pid;
    raises OSError.
    """
    output = open_log(plan, "supervisor" if spec["name"] == "report" else spec["name"])
    pid = os.fork()
    if pid:
        os.close(output)
        return pid
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nothing = os.open("/dev/null", os.O_RDONLY)
        for fd, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(fd, target)
        join_group(plan, spec["name"])
        os.execvpe(spec["argv"][0], spec["argv"], {**os.environ, **spec["env"]})
    except BaseException as error:
        os.write(2, f"could not run {spec['argv'][0]}: {error}\n".encode())
    finally:
        os._exit(127)


def main() -> None:
    """`supervise.py <run folder>`."""
    Supervisor(sys.argv[1]).run()


if __name__ == "__main__":
    main()
