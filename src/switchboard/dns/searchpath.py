"""The search path in a pod's resolv.conf, as its kubelet makes it. Pure; `responder.py` walks it for the pod."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from switchboard.dns import message as m
from switchboard.dns.records import PodAddress

SearchPath = tuple[bytes, ...]  # wire names, in the order in which a client appends them
SearchPathOf = Callable[[str], SearchPath | None]  # of the pod at an address


def of_namespace(namespace: str, domain: str, further: Sequence[str] = ()) -> SearchPath:
    """`<ns>.svc.<zone>`, `svc.<zone>`, `<zone>`, then `further` ones; what is no name is left out."""
    found: dict[bytes, None] = {}
    for text in (f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *further):
        try:
            found[m.encode_name(text)] = None
        except (ValueError, UnicodeEncodeError):
            continue
    return tuple(found)


def of_pod(pod: PodAddress, domain: str, node: Sequence[str] = ()) -> SearchPath | None:
    """The path by dnsPolicy and dnsConfig; `node` are the searches of the node's own resolv.conf.

    None for a pod that has its node's resolver or a path of its own making: its questions mean what they say.
    """
    if pod.spec.dnsPolicy in ("Default", "None"):
        return None
    extra = pod.spec.dnsConfig.searches if pod.spec.dnsConfig is not None else None
    return of_namespace(pod.metadata.namespace, domain, [*node, *(extra or ())])
