"""What every test needs of its process."""

import gc
import os
import signal

from hypothesis import HealthCheck, settings

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run two at a time. Threads of torch for every core in each of them, and in the servers that they start, would
# wait for each other: the check of the bundled weights takes 107 s then, and 13 s where it has the machine for itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says nothing here: the machine may be busy.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# Modules are imported while tests are collected, and stay: looking through them for garbage takes a quarter of a second
# each time.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
