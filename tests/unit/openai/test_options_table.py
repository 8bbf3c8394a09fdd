"""The table of options says what the code does. `python tests/unit/openai_frontend/test_options_table.py` writes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from imagegen.openai.__main__ import meanings
from imagegen.openai.settings import Settings

README = Path(__file__).resolve().parents[3] / "openai_frontend" / "README.md"
HEADER = "| option | default | meaning |\n|---|---|---|\n"


def rows() -> str:
    defaults, texts = Settings(), meanings()
    names = [field.name for field in dataclasses.fields(Settings)]
    cells = ((name.replace("_", "-"), shown(getattr(defaults, name)), texts[name].rstrip(".")) for name in names)
    return "".join("| " + " | ".join(row) + " |\n" for row in cells)


def shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={steps}" for name, steps in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    if value in (None, ()):
        return "none"
    return repr(value) if value == " " else str(value)


def test_the_table_is_that_of_the_code() -> None:
    assert HEADER + rows() + "\n" in README.read_text()


def write() -> None:
    before, _, after = README.read_text().partition(HEADER)
    rest = after.splitlines(keepends=True)
    README.write_text(before + HEADER + rows() + "".join(line for line in rest if not line.startswith("| ")))


if __name__ == "__main__":
    write()
