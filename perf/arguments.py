"""What the command lines of the measuring programs have in common."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TypeVar

from checkpoint import BUNDLED

Settings = TypeVar("Settings")


def measuring_parser(program: str, documentation: str | None, quick: str) -> argparse.ArgumentParser:
    """A parser with `--quick` and `--out`.

    Args:
        program: how it is called.
        documentation: of the program's module; the first paragraph is shown.
        quick: what is less with `--quick`.
    """
    parser = argparse.ArgumentParser(prog=program, description=(documentation or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, a checkpoint's folder."""
    text = "folder of a diffusers checkpoint; default: the bundled one"
    parser.add_argument("--model", type=Path, default=BUNDLED, help=text)


def with_given(settings: Settings, arguments: argparse.Namespace) -> Settings:
    """The dataclass `settings`, with the values of its fields that the command line gives; lists become tuples."""
    names = {field.name for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    given = {name: value for name, value in vars(arguments).items() if name in names and value is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return dataclasses.replace(settings, **given)  # type: ignore[type-var]
