"""The one error of handling images."""

from __future__ import annotations


class ImageError(Exception):
    """An image could not be made, read or stored; `advice` says what a person can do about it."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
