"""Memory that can be given back: free blocks of our heap, and pages of programs and libraries that are files on disk
and were run through once. What is used again comes back from the page cache in microseconds.

Nothing that holds anything is touched: only mappings of files without one page of their own (smaps' `Anonymous` is
0), so that every byte is still in the file. Imports next to nothing: the supervisor uses it by its bare name.
Sources: proc_pid_smaps(5), madvise(2), process_madvise(2), posix_fadvise(2), malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import os

_MADV_DONTNEED, _MADV_PAGEOUT = 4, 21
_SYS_PROCESS_MADVISE = 440  # the same number on every architecture


def give_back() -> None:
    """Free blocks go back to the kernel, and so do pages of files that are mapped and never written to."""
    libc = ctypes.CDLL(None)
    if trim := getattr(libc, "malloc_trim", None):  # glibc only
        trim(0)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, size, _ in of_files("self"):
        libc.madvise(start, size, _MADV_DONTNEED)


def page_out(pid: int) -> None:
    """The same for the files of another process of ours: the kernel drops them from its memory, and reads them into
    the page cache again, where they are at hand and nobody's. What other processes use too stays as it is.

    OSError when it is gone; nothing happens on a kernel that cannot (before 5.10).
    """
    mappings = of_files(pid)
    parts = (ctypes.c_size_t * (2 * len(mappings)))(*(number for mapping in mappings for number in mapping[:2]))
    fd = os.pidfd_open(pid)
    try:
        libc = ctypes.CDLL(None)
        libc.syscall.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, *[ctypes.c_long] * 3)
        libc.syscall(_SYS_PROCESS_MADVISE, fd, parts, len(mappings), _MADV_PAGEOUT, 0)
    finally:
        os.close(fd)
    for path in {path for _, _, path in mappings}:
        _cache(path)


def of_files(pid: int | str) -> list[tuple[int, int, str]]:
    """(start, size, path) of the mappings of a process that are wholly what a file holds: never written to, no page
    of their own. OSError when there is no such process.
    """
    found = []
    start = end = 0
    path = ""
    with open(f"/proc/{pid}/smaps") as maps:
        for line in maps.readlines():
            words = line.split(None, 5)
            if not words[0].endswith(":"):
                start, end = (int(word, 16) for word in words[0].split("-"))
                path = words[5].strip() if len(words) > 5 and words[1] in ("r--p", "r-xp") else ""
            elif words[0] == "Anonymous:" and words[1] == "0" and path.startswith("/"):
                found.append((start, end - start, path))
    return found


def _cache(path: str) -> None:
    """Have a file read into the page cache; what cannot be opened (any more) is left alone."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)
    except OSError:
        pass  # not a file that is cached
    finally:
        os.close(fd)
