"""The command runs the parts that it is told to, with their options, and fails when one does or is wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perf.compiled import __main__ as program
from perf.report import Section


@dataclass(frozen=True)
class Some:
    rounds: int = 5
    rows: tuple[int, ...] = (1,)
    cache: str = ""


def part(*faults: str, error: Exception | None = None) -> tuple[Any, Some]:
    def measure(settings: Some, checkpoint: Path) -> Section:
        if error is not None:
            raise error
        return Section("Some", settings, [checkpoint.name], {"found": settings.cache}, (), faults)

    return measure, Some()


@pytest.mark.parametrize(
    ("parts", "status"),
    [({"start": part()}, 0), ({"start": part("wrong")}, 1), ({"start": part(error=OSError("full")), "a": part()}, 1)],
)
def test_the_status_is_that_of_all_parts(
    parts: dict[str, Any], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "PARTS", parts)
    options = ["--out", str(tmp_path), "--cache", str(tmp_path / "cache"), "--rounds", "3", "--rows", "1,2"]
    assert program.main(options) == status
    written = json.loads((tmp_path / "compiled.json").read_text())["parts"]
    assert list(written) == list(parts)
    if not status:
        assert written["start"]["settings"] == {"rounds": 3, "rows": [1, 2], "cache": str(tmp_path / "cache")}


def test_an_unknown_part_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["speed"])
    assert f"unknown parts: speed; there are {', '.join(program.PARTS)}" in capsys.readouterr().err
