"""Images from files into a running cluster: into the mirror, so that `Always` pulls them, and into the node, so that
`Never` finds them.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import IO

from switchboard.images import archive, oci
from switchboard.images.errors import ImageError
from switchboard.images.oci import Layout
from switchboard.images.publish import publish, published

from . import containerd, running
from .config import ClusterConfig, command
from .errors import ClusterError


def load(config: ClusterConfig, source: IO[bytes]) -> list[str]:
    """Load every named image of an archive. Returns their full names; raises ClusterError."""
    if not running.supervisor(config):
        raise ClusterError(f"cluster {config.name} is not up", command("up", config.name))
    storage = config.state / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    try:
        # beside the mirror's blobs, so that they are linked rather than copied
        with tempfile.TemporaryDirectory(prefix=".load-", dir=storage) as folder:
            layout = Layout(Path(folder))
            loaded = archive.read(source, layout)
            for image in loaded:
                for name in image.names:
                    publish(layout, image.manifest, name, storage)
                    containerd.write_hosts(config, name.host)
            _import(config, layout, loaded)
    except ImageError as error:
        raise ClusterError(error.message, error.advice) from error
    except PermissionError as error:
        raise ClusterError(f"could not store the image: {error}", "run as root") from error
    except OSError as error:
        raise ClusterError(f"could not store the image: {error}", "is the disk full?") from error
    return [str(name) for image in loaded for name in image.names]


def in_mirror(config: ClusterConfig) -> dict[str, str]:
    """Name -> digest of everything the mirror can be asked for."""
    return published(config.state / "registry")


def in_node(config: ClusterConfig) -> dict[str, str]:
    """Name -> size of the images containerd has, as it prints them; empty when it does not answer."""
    argv = [*_ctr(config), "images", "ls"]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    found = {}
    for line in done.stdout.splitlines()[1:]:
        words = line.split()
        if len(words) >= 5 and not words[0].startswith("sha256:") and "@" not in words[0]:
            found[words[0]] = f"{words[3]} {words[4]}"
    return found


def _import(config: ClusterConfig, layout: Layout, loaded: list[archive.Loaded]) -> None:
    named = [(str(name), image.manifest) for image in loaded for name in image.names]
    with subprocess.Popen(
        [*_ctr(config), "images", "import", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdin and process.stdout
        try:
            oci.write_archive(process.stdin, layout, named)
            process.stdin.close()
        except BrokenPipeError:
            pass
        said = process.stdout.read().decode(errors="replace").strip()
    if process.returncode:
        advice = f"see: {command('logs containerd', config.name)}"
        raise ClusterError(f"containerd did not take the image: {said}", advice)


def _ctr(config: ClusterConfig) -> list[str]:
    return ["ctr", "-a", str(config.containerd_socket), "-n", "k8s.io"]
