"""Buffers as large as those of a TLS read cost no fresh pages."""

import subprocess
import sys

PROGRAM = """
import os, resource
from switchboard.transport.heap import keep_read_buffers
keep_read_buffers()
read, write = os.pipe()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def turn():
    os.write(write, b"x" * 100)
    os.read(read, 256 * 1024)  # as a TLS read does: a large buffer, shrunk to what came
for _ in range(10):
    turn()
before = faults()
for _ in range(2000):
    turn()
print(faults() - before)
"""


def test_reading_again_and_again_faults_no_pages_in():
    output = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert int(output) < 200
