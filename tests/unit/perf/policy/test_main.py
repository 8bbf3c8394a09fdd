"""The command runs the parts that it is told to, and fails when one fails or misses its target."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from perf.parts import Part
from perf.policy import __main__ as program
from perf.report import Section, Target


@dataclass(frozen=True)
class Some:
    rounds: int = 5


def part(met: bool) -> Part:
    def measure(settings: Some, checkpoint: Path) -> Section:
        return Section("Some", settings, [], {"rounds": settings.rounds}, [Target("a", "b", met)])

    return Part(measure, Some(), Some(1))


def fail(*_: object) -> Section:
    raise OSError("no disk")


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"simulate": part(True)}, 0),
        ({"simulate": part(True), "engine": part(False)}, 1),
        ({"engine": Part(fail, Some(), Some()), "simulate": part(True)}, 1),
    ],
)
def test_the_status_is_that_of_all_parts(
    parts: dict[str, Part], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "PARTS", parts)
    assert program.main(["--rounds", "3", "--out", str(tmp_path)]) == status
    found = json.loads((tmp_path / "policy.json").read_text())["parts"]
    assert list(found) == list(parts)
    assert found["simulate"]["rounds"] == 3


def test_an_unknown_part_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["speed"])
    assert f"unknown parts: speed; there are {', '.join(program.PARTS)}" in capsys.readouterr().err
