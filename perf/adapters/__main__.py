"""`python -m perf.adapters`: LoRA adapters by request, measured on this machine's CPU, and one report.

Ends by itself. The exit status is 1 when a part failed, a single result was wrong or a target was missed.
"""

from __future__ import annotations

import argparse
import sys

from perf.adapters import cost, loads, soak
from perf.parts import Part, run_parts

PARTS = {
    "cost": Part(cost.measure, cost.Settings(), cost.QUICK),
    "loads": Part(loads.measure, loads.Settings(), loads.QUICK),
    "soak": Part(soak.measure, soak.Settings(), soak.QUICK),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    return run_parts("adapters", __doc__, PARTS, _add_options, argv)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, metavar="N", help="of cost and loads")
    parser.add_argument("--guidance", action="store_true", default=None, help="in cost, two rows an image")
    parser.add_argument("--requests", type=int, metavar="N", help="of soak")
    parser.add_argument("--seed", type=int, metavar="N", help="of soak")


if __name__ == "__main__":
    sys.exit(main())
