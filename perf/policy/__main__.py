"""`python -m perf.policy`: what the batching policy gives, by simulation and by the engine, and one report.

Ends by itself. The exit status is 1 when a part failed, a request failed or a target was missed.
"""

from __future__ import annotations

import argparse
import sys

from perf.parts import Part, run_parts
from perf.policy import in_process, simulated, sizes

PARTS = {
    "simulate": Part(simulated.measure, simulated.Settings(), simulated.QUICK),
    "engine": Part(in_process.measure, in_process.Settings(), in_process.QUICK),
    "sizes": Part(sizes.measure, sizes.Settings(), sizes.QUICK),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    return run_parts("policy", __doc__, PARTS, _add_options, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, metavar="N", help="of engine")
    parser.add_argument("--before", metavar="TREE", help="of engine: git reference or folder of the tree before")


if __name__ == "__main__":
    sys.exit(main())
