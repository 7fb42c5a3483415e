"""Everything of ours taken out of this network namespace, wherever the proxy left off: `switchboard proxy --cleanup`.

Sysctls stay: others may have come to rely on them, and nobody knows what they were.
"""

from __future__ import annotations

from switchboard.proxy import netlink, nft


def clean_up(table: str = "switchboard") -> None:
    """Remove rules and routes; OSError without the right to."""
    nft.cleanup(table)
    netlink.remove_routes()
