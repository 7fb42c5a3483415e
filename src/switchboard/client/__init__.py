"""The API from the other side: verbs, local copies kept by watching, the reconcile loop, Events."""

from __future__ import annotations

from switchboard.client.cache import Cache
from switchboard.client.events import EventRecorder
from switchboard.client.informer import Informer, key_of, split_key
from switchboard.client.loop import Loop
from switchboard.client.resources import Resource
from switchboard.client.transport import Disconnected, Reply, Transport, error_of, error_of_reply
from switchboard.client.verbs import Client, Object

__all__ = [
    "Cache",
    "Client",
    "Disconnected",
    "EventRecorder",
    "Informer",
    "Loop",
    "Object",
    "Reply",
    "Resource",
    "Transport",
    "error_of",
    "error_of_reply",
    "key_of",
    "split_key",
]
