"""Options that several commands have in common."""

from __future__ import annotations

import argparse


def assignment(text: str) -> tuple[str, str]:
    """Split the `NAME=VALUE` of a command line.

    Raises:
        argparse.ArgumentTypeError: there is no `=`.
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return key, value


def port(text: str) -> int:
    """A TCP port, or 0.

    Raises:
        argparse.ArgumentTypeError: it is outside of 0..65535.
    """
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number} is outside 0..65535")
    return number


def add_parameters(parser: argparse.ArgumentParser) -> None:
    """Add `--set`, which gives a list of pairs of `MODEL.PARAMETER` and value."""
    parser.add_argument(
        "--set",
        metavar="MODEL.PARAMETER=VALUE",
        type=assignment,
        action="append",
        default=[],
        help="set a parameter of a config.pbtxt, as in diffusion.max_active_requests=8; repeatable",
    )
