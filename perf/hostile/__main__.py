"""`python -m perf.hostile`, or this folder as a program: hostile requests against a server, and what came of them.

The exit status is 1 when anything came back that is not as documented, and when memory grew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:  # called as a folder: its modules are those of the package
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from checkpoint import BUNDLED
from perf.hostile.kinds import Surroundings, kinds
from perf.hostile.run import Settings, chosen
from perf.hostile.send import Addresses
from perf.hostile.summary import measure, measure_at
from perf.hostile.targets import running_target


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments(argv)
    settings = Settings(arguments.requests, arguments.seed, only=arguments.only)
    try:
        chosen(kinds(Surroundings(bad_url=None if arguments.at else "")), settings)
    except KeyError as error:
        print(f"perf/hostile: {error.args[0]}", file=sys.stderr)
        return 2
    if arguments.at is None:
        found = measure(settings, arguments.model.resolve())
    else:
        found = measure_at(settings, running_target(Addresses(*arguments.at)))
    print(f"# {found.title}", *found.paragraphs, sep="\n\n")
    for target in found.targets:
        print(f"\n{target.meaning}: {target.reached}: {target.verdict}", end="")
    print("".join(f"\n- {fault}" for fault in found.faults))
    return 1 if found.faults or any(target.met is False for target in found.targets) else 0


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="perf/hostile", description="Send hostile requests to a server.")
    parser.add_argument("--requests", type=int, default=Settings.requests, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="of everything that chance decides")
    parser.add_argument("--only", default="", metavar="KIND[:INDEX]", help="kinds that begin so, or one case")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of a diffusers checkpoint")
    parser.add_argument(
        "--at",
        nargs=3,
        metavar=("OPENAI", "HTTP", "GRPC"),
        help="host:port of each of a server that runs; without it one is started",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
