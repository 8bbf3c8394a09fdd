"""`python -m perf`: every measurement, or those that are named, and one report with plots.

Ends by itself. The exit status is 1 when a part failed or a single result was wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import transformers
from rich.console import Console

from checkpoint import BUNDLED
from perf import baseline_comparison, frontend, host_path, image_inputs, png, scaling, soak, stages
from perf import baseline_section as baselines
from perf.environment import environment, results_folder
from perf.hostile import summary as hostile
from perf.hostile.run import Settings as HostileSettings
from perf.parts import check_names, outcome_of, with_options
from perf.report import Outcome, Section, write_report


@dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
        question: what it is to find out.
        measure: from settings and the checkpoint's folder to a section of the report.
        full, quick: settings; the quick ones only show that it runs.
    """

    question: str
    measure: Callable[[Any, Path], Section]
    full: Any
    quick: Any


_compare = baseline_comparison.measure
PARTS = {
    "baselines": Part("is it faster than what people use today?", _compare, baselines.Settings(), baselines.QUICK),
    "baselines-launch-bound": Part(
        "the same on a device that is not full", _compare, baselines.LAUNCH_BOUND, baselines.QUICK_LAUNCH_BOUND
    ),
    "baselines-compiled": Part(
        "the same where everybody compiles the denoiser", _compare, baselines.COMPILED, baselines.QUICK_COMPILED
    ),
    "baselines-adapters": Part(
        "the same where each request has an adapter", _compare, baselines.ADAPTERS, baselines.QUICK_ADAPTERS
    ),
    "baselines-control": Part(
        "the same where half of the requests have a control image", _compare, baselines.CONTROL, baselines.QUICK_CONTROL
    ),
    "stages": Part("where does each millisecond of one request go?", stages.measure, stages.Settings(), stages.QUICK),
    "scaling": Part(
        "how does a request's cost grow with n, size and steps?",
        scaling.measure,
        scaling.Settings(),
        scaling.QUICK,
    ),
    "host_path": Part(
        "what does a tick of the engine cost beside its forward?",
        host_path.measure,
        host_path.Settings(),
        host_path.QUICK,
    ),
    "soak": Part("do memory, threads or sockets grow while it works?", soak.measure, soak.Settings(), soak.QUICK),
    "hostile": Part(
        "does anything in thousands of hostile requests get more than a refusal?",
        hostile.measure,
        HostileSettings(),
        hostile.QUICK,
    ),
    "frontend": Part("what does the OpenAI frontend cost?", frontend.measure, frontend.Settings(), frontend.QUICK),
    "image_inputs": Part(
        "what does image_preprocess cost?", image_inputs.measure, image_inputs.Settings(), image_inputs.QUICK
    ),
    "png": Part("how fast are PNG encoders, how large their files?", png.measure, png.Settings(), png.QUICK),
}

_COUNTED = [name for name, part in PARTS.items() if hasattr(part.full, "requests")]


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments(argv)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    about = environment("python -m perf")
    console = Console(stderr=True)
    # A shell that starts this in the background has it ignore Ctrl-C.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    names = arguments.parts or list(PARTS)
    outcomes = []
    try:
        for name in names:
            console.rule(f"{name}: {PARTS[name].question}")
            outcomes.append(run_part(name, arguments.model.resolve(), arguments.quick, arguments.requests))
    except KeyboardInterrupt:
        return 130
    folder = (arguments.out or results_folder(about)).resolve()
    markdown, files = write_report(folder, "-".join(arguments.parts) or "report", about, outcomes)
    print(markdown)
    for file in files:
        print(f"written: {os.path.relpath(file)}", file=sys.stderr)
    failed = [outcome for outcome in outcomes if outcome.failed]
    for outcome in failed:
        print(f"FAILED: {outcome.part}: {outcome.error or 'wrong results'}", file=sys.stderr)
    return 1 if failed else 0


def run_part(name: str, checkpoint: Path, quick: bool = False, requests: int | None = None) -> Outcome:
    """Measure one part; what goes wrong becomes its outcome, so that the others are not lost."""
    part = PARTS[name]
    settings = with_options(part.quick if quick else part.full, {"requests": requests})
    return outcome_of(name, part.measure, settings, checkpoint)


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    questions = "\n".join(f"  {name:24}{part.question}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="./build.sh bench",
        description=f"Measure, and write one report with plots.\n\nparts:\n{questions}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; the numbers mean nothing")
    parser.add_argument("--requests", type=int, metavar="N", help=f"how many, of {', '.join(_COUNTED)}")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of a diffusers checkpoint")
    arguments = parser.parse_args(argv)
    check_names(parser, "parts", arguments.parts, PARTS)
    if arguments.requests is not None and (uncounted := set(arguments.parts or PARTS) - set(_COUNTED)):
        parser.error(f"--requests is for {', '.join(_COUNTED)}, not for {', '.join(sorted(uncounted))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
