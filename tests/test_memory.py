"""Memory kept between training steps: fewer page faults within the block, nothing kept after it."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told to keep")

FAULTS = """
import resource, sys, torch
from hg_helpers.runtime.environment import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        big = [torch.zeros(2**22) for _ in range(3)]  # 16 MiB each, 4,096 pages
        del big
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()

torch.set_num_threads(1)
with kept_memory():
    faults()  # asks the system once
    kept = faults()
    full = held()
print(kept, full - held())
"""


def run(**variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    said = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=environment
    ).stdout
    return [int(number) for number in said.split()]


def test_what_was_freed_is_used_again_and_given_back_at_the_end():
    kept, given_back = run()
    assert kept < 1000  # of 61,440 pages that were written to
    assert given_back > 40 * 2**20  # of 48 MiB


def test_a_users_own_settings_of_the_allocator_stay_in_force():
    kept, _ = run(MALLOC_MMAP_THRESHOLD_="1048576")  # each large tensor asked for anew
    assert kept > 50_000
