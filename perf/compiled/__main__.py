"""`python -m perf.compiled`: compiled forwards, measured on this machine's CPU, and one report.

Ends by itself. The exit status is 1 when a part failed or a single result was wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import transformers

from checkpoint import BUNDLED
from perf.compiled import adapters, forwards, start
from perf.environment import environment, results_folder
from perf.parts import check_names, outcome_of, with_options
from perf.report import Outcome, write_report

PARTS: dict[str, tuple[Any, Any]] = {
    "forwards": (forwards.measure, forwards.Settings()),
    "adapters": (adapters.measure, adapters.Settings()),
    "start": (start.measure, start.Settings()),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments(argv)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    about = environment("python -m perf.compiled")
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.parts or list(PARTS):
            print(f"{name} …", file=sys.stderr, flush=True)
            outcomes.append(_outcome(name, arguments, temporary))
    folder = (arguments.out or results_folder(about)).resolve()
    markdown, _ = write_report(folder, "-".join(["compiled", *arguments.parts]), about, outcomes)
    print(markdown)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _outcome(name: str, arguments: argparse.Namespace, temporary: str) -> Outcome:
    measure, settings = PARTS[name]
    given: dict[str, Any] = {key: getattr(arguments, key) for key in ("rounds", "networks", "rows", "ways", "threads")}
    given["cache"] = str((arguments.cache or Path(temporary)).resolve())
    return outcome_of(name, measure, with_options(settings, given), arguments.model.resolve())


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.compiled", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each part")
    parser.add_argument("--networks", type=_names, metavar="NAME,…", help=f"of {', '.join(forwards.TARGETS)}")
    parser.add_argument("--rows", type=_counts, metavar="N,…", help="of a forward")
    parser.add_argument("--ways", type=_names, metavar="NAME,…", help="of aot and torch")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch; default: 1")
    parser.add_argument("--cache", type=Path, help="folder of packages, which stays; default: a temporary one")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of the bundled checkpoint")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    arguments = parser.parse_args(argv)
    check_names(parser, "parts", arguments.parts, PARTS)
    return arguments


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _counts(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
