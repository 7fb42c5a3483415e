"""What a cluster is: addresses follow from ranges, and a file brings back what was saved."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.cluster import config as configs
from switchboard.cluster import locks, processes, wishes
from switchboard.cluster.config import ClusterConfig
from switchboard.cluster.errors import ClusterError
from switchboard.cluster.progress import Progress


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWITCHBOARD_STATE_DIR", str(tmp_path / "lib"))
    monkeypatch.setenv("SWITCHBOARD_RUN_DIR", str(tmp_path / "run"))
    return tmp_path


def test_the_default_cluster_has_the_addresses_the_lesson_shows(base: Path) -> None:
    config = configs.new("switchboard")
    assert (config.gateway, config.node_ip) == ("192.168.49.1", "192.168.49.2")
    assert config.load_balancer_cidr == "192.168.49.128/25"
    assert (config.api_service_ip, config.dns_ip) == ("10.96.0.1", "10.96.0.10")
    assert config.api_url == "https://127.0.0.1:6443"
    assert (config.node_name, config.host_link) == ("switchboard", "sb-switchboard")


def test_what_was_saved_comes_back(base: Path) -> None:
    config = configs.new("other", node_subnet="10.7.0.0/20", api_port=7443, egress=False, load_balancer=False)
    config.save()
    assert configs.load("other") == config
    assert configs.load_all() == [config]
    assert configs.load("none") is None


def test_a_broken_file_is_named_and_never_taken_for_no_cluster(base: Path) -> None:
    configs.new("broken").save()
    for text in ("{", "[]", '{"name": "broken"}'):
        (base / "lib/broken/cluster.json").write_text(text)
        with pytest.raises(ClusterError, match=r"broken/cluster\.json"):
            configs.load("broken")
    assert configs.load_all() == []


def test_a_cluster_that_was_never_started_says_how_to_start_it(base: Path) -> None:
    with pytest.raises(ClusterError) as caught:
        configs.load_existing("two")
    assert caught.value.advice == "start it: switchboard up --name two"


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", "a" * 41, "../x", "a/b", "a.b"])
def test_names_that_could_not_be_a_folder_or_a_node_are_refused(name: str) -> None:
    with pytest.raises(ClusterError):
        configs.check_name(name)


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True))
def test_every_good_name_makes_a_link_name_the_kernel_takes(name: str) -> None:
    config = ClusterConfig(configs.check_name(name), Path("/s"), Path("/r"), Path("/i"))
    assert len(config.host_link.encode()) <= 15


def test_two_long_names_make_two_links() -> None:
    links = {ClusterConfig(f"a-long-name-{i}", Path("/s"), Path("/r"), Path("/i")).host_link for i in range(50)}
    assert len(links) == 50


def test_a_subnet_that_is_taken_is_stepped_over() -> None:
    assert configs.free_subnet([]) == "192.168.49.0/24"
    taken = [IPv4Network("0.0.0.0/0"), IPv4Network("192.168.49.0/25"), IPv4Network("192.168.50.8/32")]
    assert configs.free_subnet(taken) == "192.168.51.0/24"
    with pytest.raises(ClusterError, match="in use"):
        configs.free_subnet([IPv4Network("192.168.0.0/16")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"node_subnet": "10.96.0.0/24"}, "overlaps"),
        ({"pod_cidr": "10.96.0.0/12"}, "overlaps"),
        ({"service_cidr": "x"}, "--service-cidr x"),
        ({"node_subnet": "192.168.1.7/24"}, "host bits"),
        ({"node_subnet": "192.168.1.0/30"}, "usable size"),
        ({"node_pod_cidr": "10.9.0.0/24"}, "not inside"),
    ],
)
def test_ranges_that_cannot_work_are_refused(base: Path, change: dict[str, str], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        configs.check_ranges(replace(configs.new("x"), **change))
    configs.check_ranges(configs.new("x"))


@pytest.mark.parametrize(("pods", "first"), [("10.244.0.0/16", "10.244.0.0/24"), ("10.1.2.0/25", "10.1.2.0/25")])
def test_the_first_node_gets_the_first_range_of_pods(pods: str, first: str) -> None:
    assert configs.first_node_range(pods) == first


def test_first_starts_at_once_choose_what_no_other_has(base: Path) -> None:
    """Ranges and ports are kept by being written down before the next one looks, and also while their cluster rests."""
    said = StringIO()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: wishes.choose(wishes.Wish(f"c{i}"), Progress(said)), range(8)))
    assert len({config.api_port for config in made}) == len({config.node_subnet for config in made}) == 8
    assert {config.name: config for config in configs.load_all()} == {config.name: config for config in made}
    assert [path for path in (base / "run").rglob("*") if path.is_file()] == []


def test_a_lock_is_held_by_one_at_a_time(base: Path) -> None:
    """Though each takes the file away when it goes."""
    inside, most = [0], [0]

    def work(_: int) -> None:
        with locks.cluster("one"):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            for _ in range(200):
                os.sched_yield()
            inside[0] -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(120)))
    assert (inside, most) == ([0], [1])


def test_where_nothing_can_be_written_root_is_not_told_to_be_root(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base.mkdir(exist_ok=True)
    (base / "file").touch()
    monkeypatch.setenv("SWITCHBOARD_STATE_DIR", str(base / "file"))
    with pytest.raises(ClusterError, match="Not a directory") as refused:
        configs.new("one").save()
    assert "give another one in $SWITCHBOARD_STATE_DIR" in refused.value.advice


def test_who_waits_for_a_lock_says_so(base: Path) -> None:
    said, done = threading.Event(), []

    def second() -> None:
        with locks.cluster("one", said.set):
            done.append("second")

    with locks.cluster("one", lambda: done.append("never said")):
        other = threading.Thread(target=second)
        other.start()
        assert said.wait(10)
        done.append("first")
    other.join(10)
    assert done == ["first", "second"]


def test_an_audit_log_needs_a_policy_that_can_be_read(base: Path) -> None:
    policy, log = base / "policy.yaml", base / "audit.log"
    base.mkdir(exist_ok=True)

    def decided(audit_policy: str | None) -> ClusterConfig:
        wish = wishes.Wish("audited", audit_policy=audit_policy, audit_log=str(log))
        return wishes.decide(wish, Progress(StringIO()))

    with pytest.raises(ClusterError, match="needs a policy and a path"):
        decided(None)
    with pytest.raises(ClusterError, match="cannot be read"):
        decided(str(policy))
    policy.write_text("{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}")
    made = decided(str(policy))
    assert (made.audit_policy, made.audit_log) == (str(policy), str(log))
    for other in (replace(made, audit_log=""), replace(made, audit_max_age=3)):
        plans = [processes.plan(config)["processes"] for config in (made, other)]
        changed = [one["name"] for one, two in zip(*plans, strict=True) if one != two]
        assert changed == ["server"]  # which is started anew, and nothing else
    given = {"audit_policy": str(policy), "audit_log": str(log)}
    limited = wishes.Wish("audited", **given, audit_max_size=1, audit_max_backups=2)
    found = wishes.decide(limited, Progress(StringIO()))
    assert (found.audit_max_size, found.audit_max_backups, found.audit_max_age) == (1, 2, 0)
