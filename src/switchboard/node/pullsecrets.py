"""Image pull secrets: what they say to a registry. Who may use what was pulled with them is in `pullrecords.py`.

Source: pkg/credentialprovider.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NamedTuple

import msgspec

Object = dict[str, Any]


class Credential(NamedTuple):
    """One entry of a secret: the AuthConfig, and whose it is."""

    auth: Object
    secret: str  # the secret's UID
    namespace: str = ""
    name: str = ""

    @property
    def digest(self) -> str:
        """The same for all secrets that say the same."""
        return hashlib.sha256(msgspec.json.encode(self.auth, order="sorted")).hexdigest()


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
        meta = secret.get("metadata") or {}
        owner = [meta.get(key, "") for key in ("uid", "namespace", "name")]
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
                found.append(Credential(auth, *owner))
    return found
