"""The parts that every report has, and the files it is written to."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def surroundings_section(surroundings: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """What the measurement was made with, as a Markdown list."""
    lines = [f"- {name}: {value}" for name, value in surroundings.items() if name not in ("versions", "command")]
    lines.append("- versions: " + ", ".join(f"{name} {value}" for name, value in surroundings["versions"].items()))
    lines.append("- parameters: " + ", ".join(f"{name} {value}" for name, value in parameters.items()))
    return f"`{surroundings['command']}`\n\n" + "\n".join(lines)


def write_results(folder: Path, name: str, markdown: str, raw: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write `<name>.md` and `<name>.json` into `folder`, which is made where it is missing; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    report, data = folder / f"{name}.md", folder / f"{name}.json"
    report.write_text(markdown)
    data.write_text(json.dumps(_without_nan(raw), allow_nan=False) + "\n")
    return report, data


def publish(folder: Path, name: str, markdown: str, raw: Mapping[str, Any]) -> None:
    """Print the report, write it as `write_results` does, and say on standard error where."""
    print(markdown)
    for path in write_results(folder, name, markdown, raw):
        print(f"written: {path}", file=sys.stderr)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "none" if math.isnan(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: None instead."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
