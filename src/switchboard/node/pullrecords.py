"""Which pods may use which image that is here: files that say with what each was pulled (KEP-2535).

An image that was pulled with a secret is there for those pods alone that have it, or one that says the same; others
pull it themselves, if they can. What was pulled without a secret, and what nobody here pulled, is everybody's. As
upstream, a file in `pulling` is there for as long as an image is pulled, and one in `pulled` for as long as the image
is here; what is still in `pulling` at the next start may have come without a record, and then is nobody's.
Nothing of them is kept in memory. Source: pkg/kubelet/images/pullmanager.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import msgspec

from switchboard.node.imagenames import repository
from switchboard.node.observed import rfc3339
from switchboard.node.pullsecrets import Credential, credentials

log = logging.getLogger(__name__)
Object = dict[str, Any]
_VERSION: Final = "kubelet.config.k8s.io/v1alpha1"


class Secret(msgspec.Struct):
    """A secret that opened an image."""

    uid: str
    namespace: str
    name: str
    hash: str = msgspec.field(name="credentialHash")


class Access(msgspec.Struct, omit_defaults=True):
    """Who may use what was pulled from one repository."""

    everybody: bool = msgspec.field(name="nodePodsAccessible", default=False)
    secrets: list[Secret] = msgspec.field(name="kubernetesSecrets", default_factory=list)


class Pulled(msgspec.Struct):
    """An image that was pulled; by repository, who may use it."""

    ref: str = msgspec.field(name="imageRef", default="")
    access: dict[str, Access] = msgspec.field(name="credentialMapping", default_factory=dict)
    updated: str = msgspec.field(name="lastUpdatedTime", default="")
    kind: str = "ImagePulledRecord"
    version: str = msgspec.field(name="apiVersion", default=_VERSION)


class Intent(msgspec.Struct):
    """An image that is being pulled."""

    image: str = ""
    kind: str = "ImagePullIntent"
    version: str = msgspec.field(name="apiVersion", default=_VERSION)


_UNREADABLE: Final = Pulled()


class PullRecords:
    """The files of one node. What cannot be read counts as pulled by nobody, what cannot be written is logged."""

    def __init__(self, folder: Path) -> None:
        self._pulling, self._pulled = folder / "pulling", folder / "pulled"
        self._under_way: Counter[str] = Counter()
        self.left_over = {image for path in _files(self._pulling) if (image := _image(path))}

    def begin(self, image: str) -> None:
        """An image is about to be pulled."""
        self._under_way[image] += 1
        self._write(self._pulling, image, Intent(image))

    def end(self, image: str) -> None:
        """That pull is over, however."""
        self._under_way[image] -= 1
        if self._under_way[image] <= 0:
            del self._under_way[image]
            if image not in self.left_over:
                _path(self._pulling, image).unlink(missing_ok=True)

    def add(self, image: str, reference: str, credential: Credential | None) -> None:
        """`image` was pulled, is here as `reference`, and took this secret or none. If that cannot be written, the
        image stays among those of which nobody knows."""
        access = dict((self._read(reference) or _UNREADABLE).access)
        mine = access.get(repository(image)) or Access()
        if credential is None:
            mine = Access(everybody=True)
        elif not mine.everybody:
            others = [one for one in mine.secrets if one.uid != credential.secret]
            new = Secret(credential.secret, credential.namespace, credential.name, credential.digest)
            mine = Access(secrets=[*others, new])
        if self._put(reference, {**access, repository(image): mine}):
            self.left_over.discard(image)
        else:
            self.left_over.add(image)

    def settle(self, image: str, reference: str | None) -> None:
        """What became of a pull that a former process had begun: it is here as `reference`, or not at all."""
        if reference is not None and self._read(reference) in (None, _UNREADABLE) and not self._put(reference, {}):
            return
        self.left_over.discard(image)
        if not self._under_way[image]:
            _path(self._pulling, image).unlink(missing_ok=True)

    def opens(self, reference: str, image: str, secrets: list[Object]) -> bool:
        """Whether a pod with these secrets may use the image that is here."""
        record = self._read(reference)
        if record is None:
            return image not in self.left_over
        mine = record.access.get(repository(image)) or Access()
        if mine.everybody:
            return True
        uids, hashes = {one.uid for one in mine.secrets} - {""}, {one.hash for one in mine.secrets}
        return any(one.secret in uids or one.digest in hashes for one in credentials(image, secrets))

    def prune(self, here: Collection[str], before: float) -> None:
        """Forget images that are no longer here; what was written since `before` may be newer than that list."""
        known = {_path(self._pulled, reference).name for reference in here}
        for path in _files(self._pulled):
            try:
                if path.name not in known and path.stat().st_mtime < before:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _put(self, reference: str, access: dict[str, Access]) -> bool:
        return self._write(self._pulled, reference, Pulled(reference, access, rfc3339(time.time())))

    def _read(self, reference: str) -> Pulled | None:
        """The record of an image; `_UNREADABLE`, which opens it to nobody, when there is no making sense of it."""
        path = _path(self._pulled, reference)
        try:
            return msgspec.json.decode(path.read_bytes(), type=Pulled)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as why:
            log.warning("%s cannot be read: %s", path, why)
            return _UNREADABLE

    def _write(self, folder: Path, key: str, record: Pulled | Intent) -> bool:
        path = _path(folder, key)
        fresh = path.with_suffix(".tmp")
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh.write_bytes(msgspec.json.encode(record))
            os.replace(fresh, path)
        except OSError as why:
            log.error("what %s was pulled with cannot be kept: %s", key, why)
            return False
        return True


def _path(folder: Path, key: str) -> Path:
    return folder / f"sha256-{hashlib.sha256(key.encode()).hexdigest()}"


def _files(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _image(path: Path) -> str:
    """The image of an intent; "" when that cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Intent).image
    except (OSError, msgspec.DecodeError) as why:
        log.warning("%s cannot be read: %s", path, why)
        return ""
