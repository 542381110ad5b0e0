"""Test that processes with a limit on threads do not all compute on the same core."""

from __future__ import annotations

import os

import pytest
from forking import told

CODE = """
import os, sys, threading
from semsearch import Encoder

own, elsewhere, stop = os.sched_getaffinity(0), set(), threading.Event()

def look():
    while not stop.wait(0.001):
        for thread in map(int, os.listdir("/proc/self/task")):
            try:
                cores = os.sched_getaffinity(thread)
            except ProcessLookupError:
                continue
            if cores != own:
                elsewhere.add((thread, *cores))

encoder = Encoder.load(sys.argv[1], "mean", runtime="openvino")
watcher = threading.Thread(target=look)
watcher.start()
encoder.encode_documents([f"{number} " + "herons wait in the reeds " * 20 for number in range(2000)])
stop.set()
watcher.join()
print(len(elsewhere))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not tell the cores of a thread")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a single core is all there is")
def test_a_process_with_fewer_threads_than_cores_leaves_the_choice_of_cores_to_the_system(checkpoint):
    assert told(CODE, checkpoint(), OMP_NUM_THREADS="1") == ["0"]
