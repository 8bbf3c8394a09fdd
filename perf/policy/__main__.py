"""`python -m perf.policy`: what the batching policy gives, by simulation and by the engine, and one report.

Ends by itself. The exit status is 1 when a part failed, a request failed or a target was missed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import transformers

from checkpoint import BUNDLED
from perf.environment import environment, results_folder
from perf.policy import in_process, simulated, sizes
from perf.report import Outcome, Section, write_report


@dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
        measure: from settings and the checkpoint's folder to a section of the report; its docstring's first line says
            what for.
        full, quick: settings; the quick ones only show that it runs.
    """

    measure: Callable[[Any, Path], Section]
    full: Any
    quick: Any


PARTS = {
    "simulate": Part(simulated.measure, simulated.Settings(), simulated.QUICK),
    "engine": Part(in_process.measure, in_process.Settings(), in_process.QUICK),
    "sizes": Part(sizes.measure, sizes.Settings(), sizes.QUICK),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments(argv)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    about = environment("python -m perf.policy")
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    outcomes = []
    try:
        for name in arguments.parts or list(PARTS):
            print(f"{name} …", file=sys.stderr, flush=True)
            outcomes.append(_outcome(name, arguments))
    except KeyboardInterrupt:
        return 130
    folder = (arguments.out or results_folder(about)).resolve()
    markdown, _ = write_report(folder, "-".join(["policy", *arguments.parts]), about, outcomes)
    print(markdown)
    missed = [target for one in outcomes if one.section for target in one.section.targets if target.met is False]
    return 1 if missed or any(outcome.failed for outcome in outcomes) else 0


def _outcome(name: str, arguments: argparse.Namespace) -> Outcome:
    """Measure one part; what goes wrong becomes its outcome, so that the others are not lost."""
    part = PARTS[name]
    settings = part.quick if arguments.quick else part.full
    given = {key: getattr(arguments, key) for key in ("rounds", "before")}
    known = {key: value for key, value in given.items() if value is not None and hasattr(settings, key)}
    started_s = time.monotonic()
    try:
        section = part.measure(replace(settings, **known), arguments.model.resolve())
    except Exception as error:
        return Outcome(name, time.monotonic() - started_s, None, f"{type(error).__name__}: {error}")
    return Outcome(name, time.monotonic() - started_s, section)


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.policy", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; the numbers mean nothing")
    parser.add_argument("--rounds", type=int, metavar="N", help="of engine")
    parser.add_argument("--before", metavar="TREE", help="of engine: git reference or folder of the tree before")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of a Stable Diffusion checkpoint")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
