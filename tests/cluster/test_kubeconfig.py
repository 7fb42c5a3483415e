"""The person's kubeconfig gets one context and loses it again; whatever else is in it stays as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchboard.cluster import access, kubeconfig
from switchboard.cluster.config import ClusterConfig
from switchboard.cluster.supervise import start_time
from switchboard.pki.ensure import ensure
from switchboard.pki.plan import plan

OTHER = """\
# my clusters
apiVersion: v1
kind: Config
current-context: work
clusters:
- name: work
  cluster:
    server: https://work.example:6443
    insecure-skip-tls-verify: true
    extensions:
    - name: cluster_info
      extension:
        last-update: 2024-01-01T00:00:00Z
        provider: on
        mode: 0755
        ratio: 1.5
        count: 3
        nothing: null
contexts:
- name: work
  context: {cluster: work, user: me, namespace: team}
users:
- name: me
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: get-token
      args: [--yes, "1:30"]
      env: null
preferences: {}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> ClusterConfig:
    folder = tmp_path_factory.mktemp("cluster")
    made = ClusterConfig("switchboard", folder / "state", folder / "run", folder / "images")
    ensure(made.pki, plan("switchboard", "n", server_addresses=["127.0.0.1"], node_addresses=["10.0.0.1"]))
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=kubeconfig._loader(yaml.SafeLoader))


def names(path: Path, section: str) -> list[str]:
    return [entry["name"] for entry in load(path)[section]]


def test_the_first_file_is_made_private(home: Path, cluster: ClusterConfig) -> None:
    path = kubeconfig.merge(cluster)
    assert path == home / ".kube/config"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path)["current-context"] == "switchboard"
    assert names(path, "contexts") == names(path, "clusters") == names(path, "users") == ["switchboard"]
    assert os.listdir(path.parent) == ["config"]


def test_other_entries_stay_value_for_value(home: Path, cluster: ClusterConfig) -> None:
    path = home / ".kube/config"
    path.parent.mkdir()
    path.write_text(OTHER)
    path.chmod(0o640)
    before = load(path)
    kubeconfig.merge(cluster)
    after = load(path)
    assert after["current-context"] == "switchboard"
    for section in ("clusters", "contexts", "users"):
        assert after[section][0] == before[section][0]
        assert len(after[section]) == 2
    assert path.stat().st_mode & 0o777 == 0o640
    extension = after["clusters"][0]["cluster"]["extensions"][0]["extension"]
    assert extension["last-update"] == "2024-01-01T00:00:00Z"
    assert extension["provider"] == "on"
    assert extension["mode"] == "0755"
    kubeconfig.remove(cluster)
    assert load(path) == before | {"current-context": ""}


def test_merging_twice_is_merging_once_and_a_chosen_namespace_stays(home: Path, cluster: ClusterConfig) -> None:
    path = kubeconfig.merge(cluster)
    content = load(path)
    content["contexts"][0]["context"]["namespace"] = "mine"
    path.write_text(yaml.safe_dump(content))
    kubeconfig.merge(cluster)
    assert load(path)["contexts"] == [
        {"name": "switchboard", "context": {"cluster": "switchboard", "user": "switchboard", "namespace": "mine"}}
    ]


@pytest.mark.parametrize("broken", ["{", "- a list", "clusters: 7", "contexts: [text]", "a: b: c", "\x00"])
def test_a_file_that_is_not_understood_is_left_byte_for_byte(home: Path, cluster: ClusterConfig, broken: str) -> None:
    path = home / ".kube/config"
    path.parent.mkdir()
    path.write_text(broken)
    with pytest.raises(kubeconfig.Refused, match="left as it is") as caught:
        kubeconfig.merge(cluster)
    assert "switchboard kubeconfig" in caught.value.advice
    with pytest.raises(kubeconfig.Refused):
        kubeconfig.remove(cluster)
    assert path.read_text() == broken
    assert os.listdir(path.parent) == ["config"]


def test_several_files_are_treated_as_kubectl_treats_them(
    home: Path, cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, first, second = home / "missing", home / "first", home / "second"
    first.write_text("apiVersion: v1\nkind: Config\nclusters: []\n")
    second.write_text(OTHER)
    monkeypatch.setenv("KUBECONFIG", f"{missing}::{first}:{second}")
    assert kubeconfig.merge(cluster) == first
    assert names(first, "contexts") == ["switchboard"]
    assert load(second)["current-context"] == "switchboard"  # it was the one that said
    assert not missing.exists()
    assert kubeconfig.remove(cluster) == [first, second]
    assert names(second, "contexts") == ["work"]


def test_a_symbolic_link_still_points_where_it_did(home: Path, cluster: ClusterConfig) -> None:
    real = home / "dotfiles"
    real.write_text(OTHER)
    link = home / ".kube/config"
    link.parent.mkdir()
    link.symlink_to(real)
    kubeconfig.merge(cluster)
    assert link.is_symlink()
    assert names(real, "contexts") == ["work", "switchboard"]


def test_a_lock_that_nobody_gives_back_is_named(
    home: Path, cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "_LOCK_PATIENCE", 0.05)
    path = home / ".kube/config"
    path.parent.mkdir()
    path.with_name("config.lock").touch()
    with pytest.raises(kubeconfig.Refused, match=r"config\.lock"):
        kubeconfig.merge(cluster)


def test_what_a_killed_start_left_is_no_obstacle(
    home: Path, cluster: ClusterConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "_LOCK_PATIENCE", 0.05)
    path = home / ".kube/config"
    path.parent.mkdir()
    lock, half = path.with_name("config.lock"), path.with_name(".config.switchboard-4194305")
    lock.write_text("switchboard 4194305 7")  # a process that cannot be
    half.write_text("half a file")
    kubeconfig.merge(cluster)
    assert [entry.name for entry in path.parent.iterdir()] == ["config"]
    lock.write_text(f"switchboard {os.getpid()} {start_time(os.getpid())}")
    with pytest.raises(kubeconfig.Refused, match=r"config\.lock"):
        kubeconfig.merge(cluster)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20))
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_whatever_json_an_entry_holds_comes_through(home: Path, cluster: ClusterConfig, tree: Any) -> None:
    path = home / ".kube/config"
    path.parent.mkdir(exist_ok=True)
    entry = {"name": "other", "cluster": {"server": "x", "extensions": [{"name": "e", "extension": tree}]}}
    path.write_text(yaml.safe_dump({"clusters": [entry]}, allow_unicode=True))
    before = load(path)["clusters"]
    kubeconfig.merge(cluster)
    kubeconfig.remove(cluster)
    assert load(path)["clusters"] == before


def test_the_printed_kubeconfig_is_the_written_one(cluster: ClusterConfig) -> None:
    access.write_admin_file(cluster)
    access.write_role_files(cluster)
    assert yaml.safe_load(access.admin_yaml(cluster)) == yaml.safe_load((cluster.state / "kubeconfig").read_text())
    assert (cluster.state / "node.kubeconfig").stat().st_mode & 0o777 == 0o600
