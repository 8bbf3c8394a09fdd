"""What every test needs of its process."""

import signal

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
