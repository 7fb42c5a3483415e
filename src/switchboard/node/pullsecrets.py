"""Image pull secrets: what they say to a registry, and which pods may use what was pulled with them.

An image that was pulled with a secret is there for those pods alone that have it, or one that says the same (KEP-2535);
others pull it themselves, if they can. What came without a secret, or was there before, is everybody's. Upstream keeps
this in files; here the node's process remembers it. Sources: pkg/credentialprovider, pkg/kubelet/images/pullmanager.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NamedTuple

import msgspec

Object = dict[str, Any]


class Credential(NamedTuple):
    """One entry of a secret: the AuthConfig, and the UID of the secret."""

    auth: Object
    secret: str

    @property
    def marks(self) -> set[str]:
        """By either of these it is known again: the same secret with other contents, or the same words in another."""
        words = hashlib.sha256(msgspec.json.encode(self.auth, order="sorted")).hexdigest()
        return {words, self.secret} if self.secret else {words}


class PulledWith:
    """With what each image was pulled."""

    def __init__(self) -> None:
        self._marks: dict[str, set[str]] = {}  # by reference, where it took a secret
        self._open: set[str] = set()

    def add(self, reference: str, credential: Credential | None) -> None:
        """It was pulled with this, or without any."""
        if credential is None:
            self._open.add(reference)
            self._marks.pop(reference, None)
        elif reference not in self._open:
            self._marks.setdefault(reference, set()).update(credential.marks)

    def opens(self, reference: str, image: str, secrets: list[Object]) -> bool:
        """Whether a pod with these secrets may use the image that is here."""
        known = self._marks.get(reference)
        return known is None or any(not known.isdisjoint(one.marks) for one in credentials(image, secrets))


def host_of(image: str) -> str:
    """The registry an image name leads to: `docker.io` unless its first part looks like a host."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else "docker.io"


def credentials(image: str, secrets: list[Object]) -> list[Credential]:
    """What image pull secrets (dockerconfigjson, dockercfg) have for the image's registry."""
    found: list[Credential] = []
    host = host_of(image)
    for secret in secrets:
        data = secret.get("data") or {}
        uid = (secret.get("metadata") or {}).get("uid", "")
        try:
            if ".dockerconfigjson" in data:
                entries = msgspec.json.decode(base64.b64decode(data[".dockerconfigjson"])).get("auths", {})
            elif ".dockercfg" in data:
                entries = msgspec.json.decode(base64.b64decode(data[".dockercfg"]))
            else:
                continue
        except (ValueError, msgspec.DecodeError, AttributeError):
            continue
        for server, entry in entries.items():
            name = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
            if name == host or (host == "docker.io" and name in ("index.docker.io", "registry-1.docker.io")):
                known = ("username", "password", "auth")
                auth = {k: entry[k] for k in known if entry.get(k)} | {"server_address": name}
                found.append(Credential(auth, uid))
    return found
