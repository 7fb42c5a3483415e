"""The local image mirror: Debian's docker-registry on the host's end of the link, with a storage folder of the
cluster's own.
"""

from __future__ import annotations

import secrets

from .config import ClusterConfig, write_file


def configuration(config: ClusterConfig, secret: str) -> str:
    """The text of the registry's `config.yml` (distribution docs/configuration.md). Access logs and health checks
    are off: at rest it should cost nothing."""
    return f"""\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {config.state}/registry
  cache:
    blobdescriptor: inmemory
  delete:
    enabled: true
  maintenance:
    uploadpurging:
      enabled: false
http:
  addr: {config.mirror}
  secret: {secret}
health:
  storagedriver:
    enabled: false
"""


def write(config: ClusterConfig) -> None:
    """Write what the registry reads. Raises OSError."""
    (config.state / "registry").mkdir(parents=True, exist_ok=True)
    write_file(config.run / "registry.yml", configuration(config, secrets.token_hex(16)), 0o600)
