"""What a measurement hands over, and the report that is made of it: Markdown, JSON and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_DPI = 110


@dataclass(frozen=True)
class Target:
    """A goal and what was reached.

    Attributes:
        meaning: the goal in words.
        reached: the measured value in words.
        met: whether it is enough; None where too little was measured to say.
    """

    meaning: str
    reached: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """For a person."""
        return "too little was measured" if self.met is None else "met" if self.met else "NOT met"


@dataclass(frozen=True)
class Section:
    """What one part of the measurements found.

    Attributes:
        title: a heading.
        settings: a dataclass that says how much was measured.
        paragraphs: Markdown texts and tables, in order; headings start at the third level.
        raw: all numbers, as JSON values.
        targets: what was to be reached.
        faults: wrong or missing results; each makes the run fail.
        plot: a sentence that says what is shown, and the figure.
        versions: of what only this part has used, by name.
    """

    title: str
    settings: Any
    paragraphs: Sequence[str]
    raw: Mapping[str, Any]
    targets: Sequence[Target] = ()
    faults: Sequence[str] = ()
    plot: tuple[str, Figure] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a part ended.

    Attributes:
        part: its name.
        seconds: that it took.
        section: what it found; None when it failed.
        error: why it failed; empty when it did not.
    """

    part: str
    seconds: float
    section: Section | None
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether it makes the run fail."""
        return self.section is None or bool(self.section.faults)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(_shown, line)) + " |" for line in lines)


def environment_text(environment: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """What was measured with as Markdown; `versions` are those that the environment does not have."""
    lines = [f"- {name}: {text}" for name, text in environment.items() if name not in ("command", "versions")]
    both = dict(environment["versions"]) | dict(versions)
    lines.append("- versions: " + ", ".join(f"{name} {version}" for name, version in both.items()))
    return f"`{environment['command']}`\n\n" + "\n".join(lines)


def markdown_report(environment: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    """The report of all parts.

    Args:
        environment: what it was measured with, see `perf.environment`.
        outcomes: in order.
    """
    sections = [outcome.section for outcome in outcomes if outcome.section is not None]
    versions = {name: text for section in sections for name, text in section.versions.items()}
    targets = [(one.meaning, one.reached, one.verdict) for section in sections for one in section.targets]
    paragraphs = [
        "# Measured",
        environment_text(environment, versions),
        "## In short",
        table(("target", "reached", ""), targets) if targets else "Nothing with a target was measured.",
        table(
            ("part", "seconds", "outcome"),
            [(one.part, f"{one.seconds:.0f}", one.error or ("wrong" if one.failed else "done")) for one in outcomes],
        ),
    ]
    for outcome in outcomes:
        section = outcome.section
        if section is None:
            continue
        shown = ", ".join(f"{name} {value}" for name, value in asdict(section.settings).items())
        paragraphs += [f"## {section.title}", f"Settings: {shown}.", *section.paragraphs]
        if section.plot is not None:
            paragraphs.append(f"![{section.plot[0]}]({outcome.part}.png)\n\n*{section.plot[0]}*")
        if section.faults:
            paragraphs += ["### Faults", "\n".join(f"- {fault}" for fault in section.faults[:20])]
    return "\n\n".join(paragraphs) + "\n"


def write_report(
    folder: Path, name: str, environment: Mapping[str, Any], outcomes: Sequence[Outcome]
) -> tuple[str, list[Path]]:
    """Write `<name>.md`, `<name>.json` and the plots into `folder`, which is made where it is missing.

    Returns:
        The Markdown text, and the files that were written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    markdown = markdown_report(environment, outcomes)
    report, data = folder / f"{name}.md", folder / f"{name}.json"
    report.write_text(markdown)
    parts = {
        one.part: {"error": one.error, "seconds": one.seconds}
        if one.section is None
        else {
            "seconds": one.seconds,
            "settings": asdict(one.section.settings),
            "targets": [asdict(target) for target in one.section.targets],
            "faults": list(one.section.faults),
            **one.section.raw,
        }
        for one in outcomes
    }
    data.write_text(json.dumps(_json({"environment": environment, "parts": parts}), allow_nan=False) + "\n")
    files = [report, data]
    for one in outcomes:
        if one.section is not None and one.section.plot is not None:
            files.append(folder / f"{one.part}.png")
            one.section.plot[1].savefig(files[-1], dpi=_DPI)
    return markdown, files


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "none" if math.isnan(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def _json(value: Any) -> Any:
    """JSON knows no NaN: None instead."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
