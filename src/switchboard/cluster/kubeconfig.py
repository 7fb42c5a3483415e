"""The person's own kubeconfig: a context is merged in and taken out again, and nothing else in it changes.

Which file is written follows clientcmd (`tools/clientcmd/config.go`): $KUBECONFIG may name several; an entry is
changed where it is, a new one goes to the first file that exists (else the last), `current-context` to the first
file that sets one. A file that cannot be understood is left alone. Only comments and layout are lost, as with
`kubectl config`.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .access import admin_entries, document
from .config import ClusterConfig, called
from .errors import ClusterError
from .supervise import start_time

if TYPE_CHECKING:
    import yaml

_SECTIONS = ("clusters", "contexts", "users")
_LOCK_PATIENCE = 2.0
_OURS = "switchboard"


class Refused(ClusterError):
    """The person's kubeconfig was left as it is."""


def files() -> list[Path]:
    """The files kubectl would read, in its order."""
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(":") if part]
    return list(dict.fromkeys(named)) or [Path(os.environ.get("HOME", "/root")) / ".kube" / "config"]


def merge(config: ClusterConfig) -> Path:
    """Put the cluster's context in, and make it the current one. Returns the file that has it; raises Refused."""
    paths = files()
    contents = {path: read(path) for path in paths}
    cluster, user = admin_entries(config)
    wanted = document(config.name, config.name, cluster, user)
    target = _home_of(config.name, contents) or next((path for path in paths if contents[path] is not None), paths[-1])
    speaker = next((path for path in paths if (contents[path] or {}).get("current-context")), target)

    def put(content: dict[str, Any]) -> None:
        for section in _SECTIONS:
            _put(content, section, wanted[section][0])

    def select(content: dict[str, Any]) -> None:
        content["current-context"] = config.name

    _change(target, put)
    _change(speaker, select)
    return target


def remove(config: ClusterConfig) -> list[Path]:
    """Take the cluster's entries out of every file that has them. Returns the files that changed; raises Refused."""
    changed = []
    for path in files():
        content = read(path)
        if content is None:
            continue
        has = any(entry.get("name") == config.name for section in _SECTIONS for entry in _entries(content, section))
        if has or content.get("current-context") == config.name:
            _change(path, lambda content: _take_out(content, config.name))
            changed.append(path)
    return changed


def read(path: Path) -> dict[str, Any] | None:
    """The content of a kubeconfig; None when there is no such file. Raises Refused when it is not one."""
    import yaml

    try:
        content = yaml.load(path.read_text(), Loader=_loader(yaml.SafeLoader))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _refused(path, str(error).replace("\n", " ")) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise _refused(path, "it is not a mapping")
    for section in _SECTIONS:
        entries = content.get(section)
        if entries is not None and not (isinstance(entries, list) and all(isinstance(e, dict) for e in entries)):
            raise _refused(path, f"{section} is not a list of entries")
    return content


def _refused(path: Path, why: str) -> Refused:
    return Refused(
        f"{path} was left as it is: {why}", f"mend or move it, or use the cluster's own: {called()} kubeconfig"
    )


def _entries(content: dict[str, Any], section: str) -> list[dict[str, Any]]:
    return content.get(section) or []


def _home_of(name: str, contents: dict[Path, dict[str, Any] | None]) -> Path | None:
    for path, content in contents.items():
        if content and any(entry.get("name") == name for entry in _entries(content, "contexts")):
            return path
    return None


def _put(content: dict[str, Any], section: str, entry: dict[str, Any]) -> None:
    entries = content[section] = _entries(content, section)
    for index, other in enumerate(entries):
        if other.get("name") == entry["name"]:
            kept = {}
            if section == "contexts":  # a namespace the person chose stays chosen
                kept = {k: v for k, v in (other.get("context") or {}).items() if k == "namespace"}
                entry = entry | {"context": entry["context"] | kept}
            entries[index] = entry
            return
    entries.append(entry)


def _take_out(content: dict[str, Any], name: str) -> None:
    for section in _SECTIONS:
        if section in content:
            content[section] = [entry for entry in _entries(content, section) if entry.get("name") != name]
    if content.get("current-context") == name:
        content["current-context"] = ""


def _change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Read, edit, replace as a whole; mode and owner stay, and a symbolic link still points where it did."""
    import yaml

    real = Path(os.path.realpath(path))
    try:
        if not real.parent.is_dir():
            real.parent.mkdir(mode=0o750, parents=True)
        with _locked(real):
            before = read(real)
            content = before if before is not None else {"apiVersion": "v1", "kind": "Config"}
            edit(content)
            dump: Any = yaml.dump
            text = dump(content, Dumper=yaml.SafeDumper, sort_keys=False, allow_unicode=True, width=1 << 20)
            _replace(real, text)
    except OSError as error:
        raise _refused(path, str(error)) from error


def _replace(path: Path, text: str) -> None:
    old = path.stat() if path.exists() else None
    temporary = path.with_name(f".{path.name}.{_OURS}-{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            if old:
                os.fchmod(file.fileno(), old.st_mode & 0o7777)
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """kubectl's own lock, a file `<config>.lock` that is made or not made. Ours says whose it is, so that one whose
    holder was killed is found.
    """
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + _LOCK_PATIENCE
    while True:
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            os.write(descriptor, f"{_OURS} {os.getpid()} {start_time(os.getpid())}".encode())
            os.close(descriptor)
            break
        except FileExistsError:
            if _holder_is_dead(lock):
                lock.unlink(missing_ok=True)
                continue
            if time.monotonic() > deadline:
                raise OSError(f"another program holds {lock}; remove it if none does") from None
            time.sleep(0.02)
    try:
        for half in path.parent.glob(f".{glob.escape(path.name)}.{_OURS}-*"):
            half.unlink(missing_ok=True)  # of one that was killed while it wrote
        yield
    finally:
        lock.unlink(missing_ok=True)


def _holder_is_dead(lock: Path) -> bool:
    try:
        whose, pid, start = lock.read_text().split()
        return whose == _OURS and start_time(int(pid)) != int(start)
    except (OSError, ValueError):
        return False  # kubectl's, which is empty


def _loader(base: type[yaml.SafeLoader]) -> type[yaml.SafeLoader]:
    """Only what JSON has is anything but text: 2024-01-01, 1:30, `yes` and 0755 stay what the file says."""

    class Loader(base):  # type: ignore[valid-type,misc]
        """YAML with JSON's scalars."""

    Loader.yaml_implicit_resolvers = {}
    for tag, pattern, first in (
        ("bool", r"^(?:true|false)$", "tf"),
        ("null", r"^(?:null|~|)$", ["n", "~", ""]),
        ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
        ("float", r"^-?(?:0|[1-9][0-9]*)\.[0-9]+$", "-0123456789"),
    ):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
    return Loader
