"""fdatasync by the kernel alone (Linux AIO, `io_submit(2)`): no thread of ours waits, so nobody needs the interpreter.

A thread that waits for the disk must take the interpreter back from the event loop to say that it is done, and the loop
from the thread: with 16 writers over TLS on an otherwise idle machine a create cost the loop 284 us that way, and costs
178 now. Here the kernel's own worker waits, and a descriptor of the loop becomes readable. Where the kernel, or what
stands in for it, has no such call, there is no KernelSync, and the store's thread does the waiting.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, FileFinder
from typing import Any

_log = logging.getLogger(__name__)
Done = Callable[[OSError | None], None]
_NEGATIVE, _WORD = 1 << 63, 1 << 64


def binding() -> Any | None:
    """The extension module `caio.linux_aio`, or None where it or the kernel's part is missing.

    It is loaded without its package, which would bring email, zipfile and multiprocessing along: 3 MB.
    """
    package = importlib.util.find_spec("caio")
    if package is None or not package.submodule_search_locations:
        return None
    for folder in package.submodule_search_locations:
        found = FileFinder(folder, (ExtensionFileLoader, EXTENSION_SUFFIXES)).find_spec("linux_aio")
        if found is not None and found.loader is not None:
            try:
                module = importlib.util.module_from_spec(found)
                found.loader.exec_module(module)
            except ImportError as error:
                _log.info("no asynchronous fdatasync here: %s", error)
                return None
            return module
    return None


class KernelSync:
    """One fdatasync at a time, told on the event loop."""

    def __init__(self, module: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._context = module.Context(max_requests=1)
        self._operation = module.Operation.fdsync
        self._loop = loop
        self._done: Done | None = None
        self._result = 0
        loop.add_reader(self._context.fileno, self._ready)

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop) -> KernelSync | None:
        """None where the kernel has no asynchronous I/O to give."""
        module = binding()
        if module is None:
            return None
        try:
            return cls(module, loop)
        except Exception as error:  # the binding raises what it likes: no room for a context, no such call
            _log.info("no asynchronous fdatasync here: %s", error)
            return None

    def start(self, descriptor: int, done: Done) -> bool:
        """Begin; `done` is called on the loop. False if the kernel refuses to begin, which says nothing of the disk."""
        operation = self._operation(descriptor)
        operation.set_callback(self._completed)
        self._done = done
        try:
            self._context.submit(operation)
        except Exception as error:
            self._done = None
            _log.info("no asynchronous fdatasync here: %s", error)
            return False
        return True

    def _completed(self, result: int) -> None:
        self._result = result

    def _ready(self) -> None:
        try:
            self._context.poll()
        except BlockingIOError:
            pass  # told twice
        done = self._done
        if done is not None and self._context.process_events():
            self._done = None
            result = self._result
            code = _WORD - result if result >= _NEGATIVE else 0  # the binding shows a negative number as unsigned
            done(OSError(code, os.strerror(code)) if code else None)

    def close(self) -> None:
        """Nothing is under way any more."""
        self._loop.remove_reader(self._context.fileno)
