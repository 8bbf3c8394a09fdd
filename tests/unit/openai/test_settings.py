"""Settings, and the documented table of options. `python tests/unit/openai/test_settings.py` writes it anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from imagegen.openai.settings import Settings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "openai.md"
HEADER = "| option | default | meaning |\n|---|---|---|\n"


def rows() -> str:
    return "".join(
        f"| {name.replace('_', '-')} | {shown(field.default)} | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    )


def shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={steps}" for name, steps in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    if value in (None, ()):
        return "none"
    return repr(value) if value == " " else str(value)


def test_the_documented_table_is_that_of_the_fields() -> None:
    assert HEADER + rows() + "\n" in PAGE.read_text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_body_bytes": 0},
        {"max_image_bytes": -1},
        {"body_timeout_s": 0.0},
        {"ready_within_s": float("nan")},
        {"ready_within_s": -1},
        {"drain_timeout_s": 0},
        {"max_concurrent_per_key": -1},
        {"quality_steps": {"auto": 3}},
        {"quality_steps": {}},
        {"quality_steps": {"low": 0}},
        {"no_such_setting": 1},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_settings_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.triton_url = "elsewhere:1"


def test_a_stray_variable_of_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_URL", "elsewhere:1")
    monkeypatch.setenv("TOKENIZER", "another")
    assert (Settings().triton_url, Settings().tokenizer) == ("localhost:8001", None)


def write() -> None:
    before, _, after = PAGE.read_text().partition(HEADER)
    rest = after.splitlines(keepends=True)
    PAGE.write_text(before + HEADER + rows() + "".join(line for line in rest if not line.startswith("| ")))


if __name__ == "__main__":
    write()
