"""The one error of a cluster's life: what was tried, why it failed, and what to do."""

from __future__ import annotations


class ClusterError(Exception):
    """A step of starting, stopping or reading a cluster failed; `advice` says what a person can do about it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
