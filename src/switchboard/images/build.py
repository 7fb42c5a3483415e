"""Builds the stand-in images into a layout that all clusters of the machine share, and puts them into a cluster's
mirror.

The layout remembers the recipe it was built from; when the table or the code that reads it changes, everything is
built anew beside the old blobs. One build runs at a time on a machine (a lock file), a second one waits and finds the
work done.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from . import debian, names, oci
from .errors import ImageError
from .layer import Layer
from .oci import Descriptor, Layout
from .publish import publish
from .standins import LAYERS, STAMP, STAND_INS, Recipe, StandIn, are_published, fingerprint

Say = Callable[[str], None]
Built = tuple[Descriptor, set[str]]  # a layer, and the names in it


def built(images: Path) -> dict[str, Descriptor] | None:
    """Name -> manifest of every stand-in, or None when they were not built from today's table."""
    try:
        record = json.loads(_record(images).read_bytes())
        return {name: Descriptor.of(raw) for name, raw in record["images"].items()}
    except (OSError, ValueError, KeyError, ImageError):
        return None


def _record(images: Path) -> Path:
    """One per recipe: versions of the program side by side need not build in turns."""
    return images / f"stand-ins-{fingerprint()}.json"


def build(images: Path, say: Say) -> dict[str, Descriptor]:
    """Build every stand-in unless it is there; `say` hears of each step. Raises ImageError, OSError."""
    images.mkdir(parents=True, exist_ok=True)
    with open(images / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (ready := built(images)) is not None:
            return ready
        layout = Layout(images)
        packages = debian.Packages(images / "packages")
        say("downloading Debian packages for the stand-in images")
        packages.download(sorted({name for recipe in LAYERS.values() for name in recipe.packages}))
        layers = _build_layers(layout, packages, say)
        done: dict[str, Descriptor] = {}
        for stand_in in STAND_INS:
            manifest = layout.add_image(stand_in.image, [layers[name] for name in stand_in.layers], architecture())
            done |= {f"{stand_in.repository}:{tag}": manifest for tag in stand_in.tags}
        record = {"images": {name: each.json() for name, each in done.items()}}
        temporary = images / "record.new"
        temporary.write_text(json.dumps(record, indent=1))
        os.replace(temporary, _record(images))
        shutil.rmtree(images / "packages", ignore_errors=True)
        return done


def publish_all(images: Path, storage: Path, say: Say) -> bool:
    """Build what is missing, and put every stand-in into a mirror's storage; False when they were there. Raises as
    `build`.
    """
    if are_published(storage):
        return False
    done = build(images, say)
    layout = Layout(images)
    for name, manifest in done.items():
        publish(layout, manifest, names.parse(name), storage)
    (storage / STAMP).write_text(fingerprint())
    return True


def architecture() -> str:
    """This machine's architecture in the words of images."""
    return oci.ARCHITECTURES.get(os.uname().machine, os.uname().machine)


def _build_layers(layout: Layout, packages: debian.Packages, say: Say) -> dict[str, Descriptor]:
    """Every layer, two at a time: most of the work is done by programs we wait for. A layer waits for those below it,
    which stand before it in the table and so have begun.
    """
    with ThreadPoolExecutor(2) as pool:
        futures: dict[str, Future[Built]] = {}
        for name, recipe in LAYERS.items():
            below = [futures[each] for each in _below(name)]
            futures[name] = pool.submit(_build_layer, layout, packages, name, recipe, below, say)
        return {name: future.result()[0] for name, future in futures.items()}


def _below(name: str) -> list[str]:
    """The layers under one, in the first image that has it: their content need not be in it again."""
    users: list[StandIn] = [stand_in for stand_in in STAND_INS if name in stand_in.layers]
    stack = users[0].layers
    return list(stack[: stack.index(name)])


def _build_layer(
    layout: Layout, packages: debian.Packages, name: str, recipe: Recipe, below: list[Future[Built]], say: Say
) -> Built:
    there = frozenset(entry for layer in below for entry in layer.result()[1])
    say(f"building image layer {name}")
    files = packages.closure(recipe.packages) if recipe.packages else []
    if name == "pause":  # one static program; a sandbox needs no library
        files = [file for file in files if debian.package_name(file) in recipe.packages]
    with layout.writer() as blob:
        layer = Layer(blob, there)
        _literal(layer, recipe)
        layer.packages(files, recipe.packages)
        if recipe.applets:
            for applet in sorted(_applets(files) - set(recipe.no_applets)):
                layer.link(f"usr/bin/{applet}", "usr/bin/busybox")
        if recipe.pypi:
            _pypi(layer, recipe.pypi)
        layer.close()
    return Descriptor(oci.LAYER, blob.digest, blob.size), layer.names


def _literal(layer: Layer, recipe: Recipe) -> None:
    """Ours first, because the first entry of a name counts."""
    for path, mode in recipe.folders.items():
        layer.directory(path, mode)
    for path, target in recipe.links.items():
        layer.symlink(path, target)
    for path, (mode, text) in recipe.files.items():
        layer.file(path, text.encode(), mode)


def _applets(files: list[Path]) -> set[str]:
    """What busybox can be called: asked of the very program that goes into the image."""
    package = next(file for file in files if debian.package_name(file) == "busybox")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "busybox")
        for entry, content in debian.contents(package):
            if content and entry.name.endswith("bin/busybox"):
                program.write_bytes(content.read())
        program.chmod(0o755)
        listed = subprocess.run([str(program), "--list"], capture_output=True, text=True, check=True).stdout.split()
    return set(listed) - {"busybox"}


def _pypi(layer: Layer, packages: tuple[str, ...]) -> None:
    """PyPI packages for Debian 12's Python, under /opt/packages. Raises ImageError."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        argv += ["--only-binary=:all:", "--python-version", "3.11", "--target", folder, *packages]
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise ImageError(
                f"pip could not download {' '.join(packages)}: {said[-1] if said else 'no reason given'}",
                "see that this machine reaches a Python package index, then run this again",
            )
        layer.folder(Path(folder), "opt/packages")


def main(arguments: list[str]) -> int:
    """`build <images> <registry storage>`: for `up`, which lets this run beside everything else."""
    try:
        publish_all(Path(arguments[0]), Path(arguments[1]), lambda text: print(text, flush=True))
    except (ImageError, OSError, subprocess.SubprocessError) as error:
        advice = getattr(error, "advice", "")
        print(f"error: {error}" + (f"; {advice}" if advice else ""), flush=True)
        return 1
    return 0
