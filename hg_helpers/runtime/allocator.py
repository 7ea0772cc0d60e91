"""The C library's memory allocator: what a training step frees stays with the process, for the next step to use.

>>> with kept_memory():
...     sum(range(4))
6
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

#: glibc's numbers for mallopt, from malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4


@contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, freed memory is not given back to the system; at its end it is.

    glibc asks the system for each large tensor anew and gives it back at once; that the system clears it, page by page,
    takes a quarter of a training step at the published size. Where another allocator is at work (macOS, Windows, Alpine
    Linux), or the user has set glibc's by ``MALLOC_...`` variables, nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:  # to where glibc's own adjustment leads in a process that has freed large tensors
        libc.mallopt(MMAP_MAX, 65536)
        libc.mallopt(MMAP_THRESHOLD, 2**25)
        libc.mallopt(TRIM_THRESHOLD, 2**26)
        libc.malloc_trim(0)
