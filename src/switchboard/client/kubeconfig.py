"""Where an API is and who we are: kubeconfig files, and the files a pod's service account finds.

Format: client-go/tools/clientcmd/api/v1. Not supported, and said so: exec plugins and auth providers.
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # heavy, and not every API is asked over TLS
    import ssl

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_TOKEN_AGE = 10.0  # seconds a token file's content is believed (kubelets rotate bound tokens)


class KubeconfigError(ValueError):
    """The configuration cannot be used; the message says which file and why."""


@dataclass(slots=True)
class Access:
    """One API server and an identity: `server` URL, TLS context (None for http), a function that gives the
    Authorization value of the moment ("" for none), the server name to verify, and the namespace by default."""

    server: str
    tls: ssl.SSLContext | None
    authorization: Callable[[], str]
    server_name: str | None = None
    namespace: str = "default"


def load(path: str | Path, context: str | None = None) -> Access:
    """Read a kubeconfig file; its current context unless another is named. Raises KubeconfigError."""
    import yaml  # late: 4 ms and 2 MB that an in-process client does not need

    path = Path(path)
    try:
        config = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"kubeconfig {path}: not YAML: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"kubeconfig {path}: not a mapping")
    chosen = context or config.get("current-context") or ""
    if not chosen:
        raise KubeconfigError(f"kubeconfig {path}: no current-context")
    where = _named(path, config, "contexts", "context", chosen)
    cluster = _named(path, config, "clusters", "cluster", where.get("cluster", ""))
    user = _named(path, config, "users", "user", where["user"]) if where.get("user") else {}
    return _access(path, cluster, user, where.get("namespace") or "default")


def in_cluster() -> Access:
    """The identity that a pod is given: environment and mounted files. Raises KubeconfigError outside of a pod."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise KubeconfigError("not in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
    import ssl

    space = _SERVICE_ACCOUNT / "namespace"
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        tls=ssl.create_default_context(cafile=str(_SERVICE_ACCOUNT / "ca.crt")),
        authorization=_token_file(_SERVICE_ACCOUNT / "token"),
        namespace=space.read_text().strip() if space.exists() else "default",
    )


def _named(path: Path, config: dict[str, Any], plural: str, singular: str, name: str) -> dict[str, Any]:
    for entry in config.get(plural) or ():
        if entry.get("name") == name:
            return entry.get(singular) or {}
    raise KubeconfigError(f'kubeconfig {path}: no {singular} named "{name}"')


def _access(path: Path, cluster: dict[str, Any], user: dict[str, Any], namespace: str) -> Access:
    server = (cluster.get("server") or "").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise KubeconfigError(f"kubeconfig {path}: server {server!r} is not an http(s) URL")
    if user.get("exec") or user.get("auth-provider"):
        raise KubeconfigError(f"kubeconfig {path}: exec and auth-provider plugins are not supported")
    tls = _tls(path, cluster, user) if server.startswith("https://") else None
    return Access(server, tls, _authorization(path, user), cluster.get("tls-server-name"), namespace)


def _tls(path: Path, cluster: dict[str, Any], user: dict[str, Any]) -> ssl.SSLContext:
    import ssl

    authority = _blob(path, cluster, "certificate-authority")
    try:
        context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = _blob(path, user, "client-certificate"), _blob(path, user, "client-key")
        if certificate:
            _load_pair(context, certificate, key or certificate)
    except (ssl.SSLError, ValueError) as error:
        raise KubeconfigError(f"kubeconfig {path}: certificates: {error}") from error
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """`load_cert_chain` takes only file names: an anonymous file in memory has one and leaves no key on a disk."""
    handle = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(handle, certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _blob(path: Path, part: dict[str, Any], name: str) -> bytes:
    """The bytes of `<name>-data` (base64), or of the file `<name>` (relative to the kubeconfig); b"" for neither."""
    if data := part.get(f"{name}-data"):
        try:
            return base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, AttributeError) as error:
            raise KubeconfigError(f"kubeconfig {path}: {name}-data: {error}") from error
    if file := part.get(name):
        try:
            return Path(path.parent, str(file)).read_bytes()
        except OSError as error:
            raise KubeconfigError(f"kubeconfig {path}: {name}: {error}") from error
    return b""


def _authorization(path: Path, user: dict[str, Any]) -> Callable[[], str]:
    if file := user.get("tokenFile"):
        return _token_file(path.parent / file)
    value = ""
    if token := user.get("token"):
        value = f"Bearer {token}"
    elif name := user.get("username"):
        value = "Basic " + base64.b64encode(f"{name}:{user.get('password', '')}".encode()).decode()
    return lambda: value


def _token_file(path: Path) -> Callable[[], str]:
    """Reads the file again when what it said is older than some seconds; a file that is gone keeps its last word."""
    value, read_at = "", -_TOKEN_AGE

    def current() -> str:
        nonlocal value, read_at
        now = time.monotonic()
        if now - read_at >= _TOKEN_AGE:
            read_at = now
            try:
                value = f"Bearer {path.read_text().strip()}"
            except OSError as error:
                if not value:
                    raise KubeconfigError(f"token file {path}: {error}") from error
        return value

    return current
