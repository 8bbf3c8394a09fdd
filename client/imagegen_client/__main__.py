"""`python -m imagegen_client`, the same as the command `imagegen`."""

import sys

from imagegen_client.cli import main

sys.exit(main())
