"""Compiles the modules of `modules.py` for this Python environment: `python -m switchboard.compiled.build`.

mypyc makes C of them, the C compiler objects (all processors at once; those whose C is what it was are kept), the
linker one library and a small extension module for each. The manifest comes last: until then, what was there is used.
A build that failed is not tried again before a source or the tools change.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from switchboard.compiled import load
from switchboard.compiled.modules import MODULES

_PACKAGE = Path(load.PACKAGE)
_ROOT = _PACKAGE.parent.parent  # of the checkout
_BUILDS = Path(load.BUILDS)
_OBJECTS = _BUILDS / "objects"
_GROUP = "switchboard"  # the library with all the code; its module's name
_LEVEL = "1"  # of optimization


class Failed(Exception):
    """The modules cannot be compiled here; the text says why."""


def sources() -> list[str]:
    """Every source that the compiled modules may depend on, by its name below the package."""
    found = [path for layer in load.LAYERS for path in (_PACKAGE / layer).rglob("*.py")]
    return sorted(str(path.relative_to(_PACKAGE)) for path in found)


def fingerprint(names: list[str]) -> str:
    """What a build depends on, as one short word."""
    digest = hashlib.sha256(f"{sys.version}\n{_LEVEL}\n{MODULES}\n{_tools()}\n".encode())
    for name in [*names, "compiled/build.py"]:
        content = (_PACKAGE / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    if (_ROOT / "pyproject.toml").exists():
        digest.update((_ROOT / "pyproject.toml").read_bytes())  # mypy's settings, and which tools are installed
    return digest.hexdigest()[:16]


def _tools() -> str:
    """The tools that there are: a build that failed for the want of one is tried again when it is there."""
    found = [shutil.which(_compiler()[0]), _header().exists()]
    try:
        found.append(metadata.version("mypy"))
    except metadata.PackageNotFoundError:
        found.append(None)
    return str(found)


def ensure(say: Callable[[str], None]) -> str:
    """Make the build that fits the sources, if it is not there. Returns why it cannot be had, "" where it is there."""
    if not Path(load.ENVIRONMENT, "pyvenv.cfg").exists():
        return "this Python is not of an environment of its own"
    try:
        _BUILDS.mkdir(exist_ok=True)
        with (_BUILDS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _ensured(say)
    except OSError as error:
        return str(error)


def _ensured(say: Callable[[str], None]) -> str:
    names = sources()
    lines = load.describe(names)  # before they are read: who changes one meanwhile makes the build an old one
    wanted = fingerprint(names)
    directory, failed = _BUILDS / wanted, _BUILDS / "failed"
    if not directory.is_dir():
        before, _, why = failed.read_text().partition("\n") if failed.exists() else ("", "", "")
        if before == wanted:
            return why
        for left in _BUILDS.glob("new-*"):  # of one that was killed
            shutil.rmtree(left, ignore_errors=True)
        say("compiling the server, for a minute or so (once for each change of its sources)")
        began = time.monotonic()
        try:
            _build(directory)
        except Failed as error:
            failed.write_text(f"{wanted}\n{error}")
            say(f"the server runs interpreted, which takes it more time: {error}")
            return str(error)
        say(f"compiled in {time.monotonic() - began:.0f} s")
    _publish(directory, lines)
    return ""


def _publish(directory: Path, lines: list[str]) -> None:
    """Let the build be found; of older ones the last stays, for processes that still import from it."""
    modules = " ".join([f"{_GROUP}__mypyc", *(f"switchboard.{name}" for name in MODULES)])
    text = "\n".join([directory.name, modules, *lines]) + "\n"
    manifest = _BUILDS / load.MANIFEST
    if manifest.exists() and manifest.read_text() == text:
        return
    new = manifest.with_suffix(".new")
    new.write_text(text)
    new.replace(manifest)
    os.utime(directory)
    builds = [path for path in _BUILDS.iterdir() if len(path.name) == len(directory.name)]
    for path in sorted(builds, key=lambda path: path.stat().st_mtime)[:-2]:
        shutil.rmtree(path, ignore_errors=True)


def _build(directory: Path) -> None:
    with tempfile.TemporaryDirectory(dir=_BUILDS, prefix="new-") as work:
        made = Path(work) / "made"
        made.mkdir()
        _OBJECTS.mkdir(exist_ok=True)
        extensions = _to_c(Path(work))
        headers = b"".join(header.read_bytes() for header in sorted(Path(work).rglob("*.h")))
        jobs = [(source, e, _object_of(source, e, headers)) for e in extensions for source in e.sources]
        objects = {source: compiled for source, _, compiled in jobs}
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(lambda job: _compile(*job), jobs))
            list(pool.map(lambda e: _link(e, [objects[s] for s in e.sources], made), extensions))
        for old in set(_OBJECTS.iterdir()) - set(objects.values()):
            old.unlink()
        made.replace(directory)


def _to_c(work: Path) -> list[Any]:
    """C sources of all modules, as extensions in the terms of setuptools."""
    if not (_ROOT / "pyproject.toml").exists():
        raise Failed("this is not a checkout")
    if shutil.which(_compiler()[0]) is None:
        raise Failed(f"there is no C compiler ({_compiler()[0]})")
    if not _header().exists():
        raise Failed("Python's header files are not installed (python3-dev)")
    try:
        from mypyc.build import mypycify
    except ImportError as error:
        raise Failed(f"mypyc is not installed ({error})") from None
    os.chdir(_ROOT)
    os.environ["MYPY_CACHE_DIR"] = str(_BUILDS / "cache")
    paths = [os.path.join("src", "switchboard", *name.split(".")) + ".py" for name in MODULES]
    try:
        return mypycify(
            ["--config-file", "pyproject.toml", *paths],
            opt_level=_LEVEL,
            debug_level="0",
            multi_file=True,
            target_dir=str(work),
            group_name=_GROUP,
        )
    except SystemExit:
        raise Failed("mypyc refuses the sources") from None


def _compiler() -> list[str]:
    return str(sysconfig.get_config_var("CC")).split()


def _header() -> Path:
    return Path(sysconfig.get_path("include"), "Python.h")


def _object_of(source: str, extension: Any, headers: bytes) -> Path:
    """Where the object of a C source is kept: its name says all that it depends on."""
    digest = hashlib.sha256(repr(extension.extra_compile_args).encode() + headers)
    digest.update(Path(source).read_bytes())
    return _OBJECTS / f"{Path(source).stem}-{digest.hexdigest()[:16]}.o"


def _compile(source: str, extension: Any, made: Path) -> None:
    if made.exists():
        return
    flags = " ".join(str(sysconfig.get_config_var(name)) for name in ("CFLAGS", "CCSHARED")).split()
    include = [f"-I{path}" for path in [*extension.include_dirs, sysconfig.get_path("include")]]
    own = [flag for flag in extension.extra_compile_args if flag != "-Werror"]  # other compilers, other warnings
    new = made.with_suffix(".new")
    _run([*_compiler(), *flags, *own, "-w", *include, "-c", source, "-o", str(new)])
    new.replace(made)


def _link(extension: Any, objects: list[Path], made: Path) -> None:
    linker = str(sysconfig.get_config_var("LDSHARED")).split()
    _run([*linker, *map(str, objects), "-o", str(made / f"{extension.name}.so")])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:1])} failed: {done.stderr.strip()[-500:]}")


def main() -> int:
    """What is new goes to standard error, why there is no build to standard output, each time."""
    why = ensure(lambda text: print(f"switchboard: {text}", file=sys.stderr, flush=True))
    if why:
        print(f"switchboard: the server runs interpreted: {why}")
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
