"""A process that does nothing until it is ended."""

import time

time.sleep(600)
