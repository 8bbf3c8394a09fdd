"""Options of `python -m imagegen.openai`."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.openai.command_line import parse_command_line
from imagegen.openai.settings import DEFAULT_QUALITY_STEPS, Settings


def test_without_options_all_is_default() -> None:
    given = parse_command_line([])
    assert (given.host, given.port) == ("127.0.0.1", 9000)
    assert {name: getattr(given, name) for name in Settings.model_fields} == Settings().model_dump()


def test_options_as_one_writes_them() -> None:
    given = parse_command_line(
        [
            *("--triton-url", "host:1", "--port=8", "--files-folder", "/results", "--ready-within-s", "5"),
            *("--quality-steps", "low=3", "ultra=80", "--cors-origins", "https://a.example", "https://b.example"),
            *("--log-prompts", "--variation-prompt", "a, b [1]"),
        ]
    )
    assert (given.triton_url, given.port, given.files_folder, given.ready_within_s) == (
        "host:1",
        8,
        Path("/results"),
        5.0,
    )
    assert given.cors_origins == ("https://a.example", "https://b.example")
    assert given.log_prompts
    assert given.variation_prompt == "a, b [1]"
    assert given.quality_steps == DEFAULT_QUALITY_STEPS | {"low": 3, "ultra": 80}  # the others keep their steps


def test_every_setting_is_an_option_with_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_command_line(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert len(field.description or "") > 10


def test_an_unknown_option_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_command_line(["--no-such-option", "1"])
    assert ended.value.code == 2
    assert "--no-such-option" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "x"),
        ("--port", "65536"),
        ("--max-body-bytes", "0"),
        ("--body-timeout-s", "nan"),
        ("--quality-steps", "auto=3"),
        ("--quality-steps", "low=0"),
        ("--quality-steps", "low=x"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_option(option: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{option}: .*{value.rpartition('=')[2]}"):
        parse_command_line([option, value])


def test_a_quality_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="quality_steps"):
        parse_command_line(["--quality-steps", "low"])
