"""The command line without a cluster: help with examples for every verb, and failures that say what to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchboard.cli.main import VERBS, main
from switchboard.cluster import config as configs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWITCHBOARD_STATE_DIR", str(tmp_path / "lib"))
    monkeypatch.setenv("SWITCHBOARD_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SWITCHBOARD_CLUSTER", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert main([verb, "--help"]) == 0
    except SystemExit as end:
        assert end.code == 0
    said = capsys.readouterr().out
    assert "usage: switchboard" in said
    assert "switchboard" in said.partition("examples:\n  ")[2]
    assert verb in said


def test_the_top_page_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb} " in said for verb in VERBS)


def test_a_verb_there_is_not_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statsu"]) == 2
    assert "did you mean 'status'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "advice"), [(configs.DEFAULT_NAME, "switchboard up\n"), ("two", "switchboard up --name two\n")]
)
def test_kubectl_on_a_stopped_cluster_says_how_to_start_it(
    name: str, advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs.new(name).save()
    monkeypatch.setenv("SWITCHBOARD_CLUSTER", name)  # perhaps for this command only: the advice names it all the same
    assert main(["kubectl", "get", "pods"]) == 1
    assert capsys.readouterr().err == f"switchboard kubectl: cluster {name} is down\nwhat to do: start it: {advice}"
    assert main(["status"]) == 1
    assert capsys.readouterr().out == f"cluster {name} is down (start it: {advice[:-1]})\n"


@pytest.mark.parametrize("words", [["version", "--client"], ["config", "view"], ["get", "--help"], []])
def test_kubectl_does_alone_what_it_can(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    config = configs.new(configs.DEFAULT_NAME)
    config.save()
    (config.state / "kubeconfig").write_text("{}")
    became: list[list[str]] = []
    monkeypatch.setattr("os.execvp", lambda _, argv: became.append(argv))
    assert not main(["kubectl", *words])
    assert [argv[2:] for argv in became] == [words]


@pytest.mark.parametrize(
    "words", [["ip"], ["status"], ["kubeconfig"], ["kubectl", "get", "pods"], ["logs"], ["image", "list"]]
)
def test_without_a_cluster_every_verb_says_how_to_get_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"switchboard {words[0]}: there is no cluster 'switchboard' here\n")
    assert said.endswith("what to do: start it: switchboard up\n")


@pytest.mark.parametrize(
    "words", [["--name", "two", "ip"], ["--name=two", "ip"], ["ip", "--name", "two"], ["ip", "--name=two"]]
)
def test_the_name_may_stand_before_or_after_the_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    assert "switchboard up --name two" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name"], "--name needs the name of a cluster"),
        (["status", "-o", "yaml"], "invalid choice: 'yaml'"),
        (["image", "load"], "required: FILE"),
        (["down", "--grace", "-1"], "-1 is not a number of seconds"),
        (["down", "--grace", "nan"], "nan is not a number of seconds"),
        (["down", "--grace", "x"], "invalid seconds value: 'x'"),
        (["up", "--api-port", "x"], "invalid int value: 'x'"),
        (["up", "--audit-log-maxage", "x"], "invalid count value: 'x'"),
        (["up", "--audit-log-maxage", "-1"], "-1 can't be a negative number"),
    ],
)
def test_who_calls_a_verb_wrongly_is_told_where_it_is_written(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        assert main(words) == 2
    except SystemExit as end:
        assert end.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert re.search(r"^what to do: switchboard .*--help", error, re.M)


@pytest.mark.parametrize(
    ("as_typed", "shown"),
    [("./switchboard", "./switchboard"), ("/my clusters/switchboard", "'/my clusters/switchboard'")],
)
def test_what_we_say_to_type_can_be_typed(
    as_typed: str, shown: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_CALLED", as_typed)
    assert main(["ip"]) == 1
    assert capsys.readouterr().err.endswith(f"what to do: start it: {shown} up\n")
    with pytest.raises(SystemExit):
        main(["help", "image"])
    examples = capsys.readouterr().out.partition("examples:\n")[2]
    assert f"docker save myapp:1 | {shown} image load -\n  {shown} image list" in examples
    assert main(["kubectl", "--help"]) == 0
    assert f"\n  {shown} kubectl get pods -A\n" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "- x", "{", "kind: Config"])
@pytest.mark.parametrize("verb", ["dns", "proxy", "node"])
def test_a_role_without_a_kubeconfig_says_so(
    base: Path, verb: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = base / "of-some-cluster"
    if content:
        path.write_text(content)
    words = {"dns": [], "proxy": ["--node-name=x"], "node": ["--node-name=x", "--node-ip=127.0.0.1"]}[verb]
    assert main([verb, "--kubeconfig", str(path), *words]) == 1
    error = capsys.readouterr().err
    assert str(path) in error.partition("\nwhat to do: ")[0] and "kubeconfig prints one" in error


@pytest.mark.parametrize("port", ["0", "-1", "65536"])
def test_a_port_there_cannot_be_is_refused_before_anything_is_made(
    base: Path, port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--no-egress", f"--api-port={port}"]) == 1
    assert f"--api-port {port} is not a port" in capsys.readouterr().err
    assert not (base / "lib").exists()


@pytest.mark.parametrize(("count", "shown"), [("0", 0), ("1", 1), ("3", 3), ("9000", 5000), ("-1", 5000)])
def test_as_many_lines_of_a_log_as_were_asked_for(count: str, shown: int, capsys: pytest.CaptureFixture[str]) -> None:
    config = configs.new(configs.DEFAULT_NAME)
    config.save()
    config.logs.mkdir()
    lines = [f"line {number} {'-' * 30}" for number in range(5000)]
    (config.logs / "server.log").write_text("\n".join(lines) + "\n")
    assert main(["logs", "server", f"--tail={count}"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[len(lines) - shown :]


@pytest.mark.parametrize("verb", ["down", "delete"])
def test_stopping_what_is_not_there_is_no_failure(verb: str, capsys: pytest.CaptureFixture[str], base: Path) -> None:
    assert main([verb]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert os.listdir(base) in ([], ["run"])


def test_a_name_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("up", "down", "ip"):
        assert main([verb, "--name", "../../etc"]) == 1
        assert "cannot be a cluster's name" in capsys.readouterr().err


def test_ranges_that_overlap_are_refused_before_anything_is_made(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--no-egress", "--pod-cidr", "10.96.0.0/12"]) == 1
    assert "overlaps" in capsys.readouterr().err
    assert not (base / "lib").exists()


def test_the_launcher_is_quick_when_there_is_nothing_to_install() -> None:
    done = subprocess.run([str(ROOT / "switchboard"), "--help"], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Switchboard:")
    assert done.stderr == ""


@pytest.mark.parametrize("trap", ["", "trap '' INT HUP; "])
def test_signals_that_are_ignored_stay_ignored(base: Path, trap: str) -> None:
    """The program that kubectl's place is given to sees what the caller of `switchboard kubectl` had."""
    folder = base / "bin"
    folder.mkdir()
    (folder / "kubectl").write_text("#!/bin/sh\ngrep SigIgn /proc/self/status\n")
    (folder / "kubectl").chmod(0o755)
    config = configs.new(configs.DEFAULT_NAME)
    config.save()
    (config.state / "kubeconfig").write_text("{}")
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    argv = ["sh", "-c", f'{trap}exec "$0" kubectl options', str(ROOT / "switchboard")]
    ignored = int(subprocess.run(argv, capture_output=True, text=True, env=env, check=True).stdout.split()[1], 16)
    for number in (signal.SIGINT, signal.SIGHUP):  # as for this very process, which may run in the background
        wanted = bool(trap) or signal.getsignal(number) is signal.SIG_IGN
        assert bool(ignored >> (number - 1) & 1) == wanted, number


@pytest.mark.parametrize("how", ["link", "relative", "path"])
def test_the_launcher_is_found_from_anywhere(base: Path, how: str) -> None:
    link = base / "sb"
    link.symlink_to(ROOT / "switchboard")
    commands = {
        "link": ([str(link), "--help"], base),
        "relative": (["./switchboard", "--help"], ROOT),
        "path": (["sh", "-c", "switchboard --help"], base),
    }
    argv, folder = commands[how]
    env = {**os.environ, "PATH": f"{ROOT}:{os.environ['PATH']}"}
    assert subprocess.run(argv, capture_output=True, cwd=folder, env=env).returncode == 0


@pytest.mark.parametrize("installed", [False, True])
def test_another_user_is_told_to_be_root(tmp_path: Path, installed: bool) -> None:
    for folder in reversed([tmp_path, *tmp_path.parents[:-2]]):  # below /tmp: others may come in, and not write
        folder.chmod(folder.stat().st_mode | 0o055)
    for name in ("switchboard", "setup.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    if installed:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "python").touch(0o600)
        (tmp_path / ".venv" / ".ready-run").touch()
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(tmp_path / "switchboard"), "up"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    reason = "cannot be run by" if installed else "may not write to"
    assert reason in done.stderr and "what to do: run this as root" in done.stderr


@pytest.mark.parametrize(
    ("words", "runs"), [("down", True), ("--name two delete", True), ("status", True), ("up", False)]
)
def test_a_cluster_can_be_ended_where_nothing_can_be_installed(tmp_path: Path, words: str, runs: bool) -> None:
    shutil.copy(ROOT / "switchboard", tmp_path)
    for name, said in (("setup.sh", "exit 1"), (".venv/bin/python", "echo it runs")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{said}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([str(tmp_path / "switchboard"), *words.split()], capture_output=True, text=True)
    assert (done.returncode == 0, done.stdout == "it runs\n") == (runs, runs)


def test_quick_verbs_load_nothing_heavy() -> None:
    code = "import sys; from switchboard.cli.main import main; main(['status']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "switchboard.cluster.running" in loaded
    assert not {"asyncio", "ssl", "uvloop", "msgspec", "yaml", "cryptography"} & loaded


def test_version_names_what_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{program}: " in said for program in ("containerd", "runc", "kubectl", "docker-registry"))
    assert "not there" not in said


def test_a_broken_description_is_named_and_delete_gets_rid_of_it(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = base / "lib" / "switchboard"
    folder.mkdir(parents=True)
    (folder / "cluster.json").write_text(json.dumps({"name": "switchboard"}))
    assert main(["ip"]) == 1
    assert "cluster.json is not a cluster's description" in capsys.readouterr().err
    assert main(["delete"]) == 0
    assert not folder.exists()


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[configs.ClusterConfig]:
    """A cluster of root's that anybody may see and only root may ask; the caller is somebody else."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("SWITCHBOARD_STATE_DIR", f"{folder}/lib")
        monkeypatch.setenv("SWITCHBOARD_RUN_DIR", f"{folder}/run")
        config = configs.new("switchboard")
        config.save()
        config.logs.mkdir(parents=True)
        log = config.logs / "server.log"
        log.write_text("secret\n")
        log.chmod(0o600)
        config.api_socket.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as api:
            api.bind(str(config.api_socket))
            config.api_socket.chmod(0o600)
            api.listen()
            os.seteuid(65534)
            try:
                yield config
            finally:
                os.seteuid(0)


@pytest.mark.parametrize("words", [["status"], ["status", "-o", "json"], ["logs"], ["logs", "server"], ["down"]])
@pytest.mark.usefixtures("private")
def test_who_is_not_root_is_told_so_and_not_that_the_cluster_is_unwell(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "ermission denied" in said.err
    assert said.err.endswith("what to do: run as root\n")
