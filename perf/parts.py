"""The parts of a program that measures: each is done whatever becomes of the others, and all come into one report."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import transformers

from checkpoint import BUNDLED
from perf.environment import environment, results_folder
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


def run_parts(
    name: str,
    description: str | None,
    parts: Mapping[str, Part],
    add_options: Callable[[argparse.ArgumentParser], None],
    argv: Sequence[str] | None,
) -> int:
    """The command line of `python -m perf.NAME`; its exit status, 1 where a part failed or missed a target.

    Args:
        name: of the program, and of its report.
        description: what `--help` says of it.
        parts: by name.
        add_options: adds options, which go to the settings that have fields of their names.
        argv: arguments; None for those of the process.
    """
    program = f"python -m perf.{name}"
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; default: all")
    parser.add_argument("--quick", action="store_true", help="only show that it runs; the numbers mean nothing")
    add_options(parser)
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of a Stable Diffusion checkpoint")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    arguments = parser.parse_args(argv)
    check_names(parser, "parts", arguments.parts, parts)
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    about = environment(program)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    outcomes = []
    try:
        for each in arguments.parts or list(parts):
            print(f"{each} …", file=sys.stderr, flush=True)
            part = parts[each]
            settings = with_options(part.quick if arguments.quick else part.full, vars(arguments))
            outcomes.append(outcome_of(each, part.measure, settings, arguments.model.resolve()))
    except KeyboardInterrupt:
        return 130
    folder = (arguments.out or results_folder(about)).resolve()
    markdown, _ = write_report(folder, "-".join([name, *arguments.parts]), about, outcomes)
    print(markdown)
    missed = [target for one in outcomes if one.section for target in one.section.targets if target.met is False]
    return 1 if missed or any(outcome.failed for outcome in outcomes) else 0


def outcome_of(name: str, measure: Callable[..., Section], *arguments: Any) -> Outcome:
    """Measure one part; what goes wrong becomes its outcome, so that the others are not lost."""
    started_s = time.monotonic()
    section, error = None, ""
    try:
        section = measure(*arguments)
    except Exception as failure:
        error = f"{type(failure).__name__}: {failure}"
    return Outcome(name, time.monotonic() - started_s, section, error)


def with_options(settings: Any, options: Mapping[str, Any]) -> Any:
    """Settings with those options that were given, not None, and that they have fields for."""
    known = {name: value for name, value in options.items() if value is not None and hasattr(settings, name)}
    return replace(settings, **known)


def check_names(parser: argparse.ArgumentParser, kind: str, asked: Collection[str], known: Collection[str]) -> None:
    """End with the parser's error where names are asked for that there are not; it lists those that there are."""
    if unknown := set(asked) - set(known):
        parser.error(f"unknown {kind}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
