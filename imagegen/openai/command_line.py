"""The command line of `python -m imagegen.openai`: one option for each field of `Settings`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import CliApp, SettingsConfigDict

from imagegen.openai.settings import DEFAULT_QUALITY_STEPS, Settings


class CommandLine(Settings):
    """OpenAI's images API on top of a Triton server."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m imagegen.openai",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=9000, ge=0, le=65535, description="port to listen on")

    @field_validator("quality_steps")
    @classmethod
    def _named_ones_change(cls, steps: dict[str, int]) -> dict[str, int]:
        """Values that are not named on the command line keep their steps."""
        return DEFAULT_QUALITY_STEPS | steps


def parse_command_line(arguments: Sequence[str] | None = None) -> CommandLine:
    """The options given, and defaults.

    Args:
        arguments: None for those of this process.

    Raises:
        SystemExit: an option is not known, or help was asked for.
        ValueError: names the options whose values are not allowed, the values, and what is.
    """
    try:
        return CliApp.run(CommandLine, cli_args=None if arguments is None else list(arguments))
    except ValidationError as error:
        raise ValueError("; ".join(map(_problem, error.errors()))) from None


def _problem(detail: ErrorDetails) -> str:
    option = str(detail["loc"][0]).replace("_", "-") if detail["loc"] else "options"
    return f"--{option}: {detail['input']!r}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
