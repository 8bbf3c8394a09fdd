"""The command runs the parts that it is told to, and fails when one does, is wrong or misses its target."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from perf.adapters import __main__ as program
from perf.parts import Part
from perf.report import Section, Target


@dataclass(frozen=True)
class Some:
    rounds: int = 5


def part(met: bool | None, faults: tuple[str, ...] = ()) -> Part:
    def measure(settings: Some, checkpoint: Path) -> Section:
        return Section(
            "Some", settings, [checkpoint.name], {"rounds": settings.rounds}, [Target("a", "b", met)], faults
        )

    return Part(measure, Some(), Some(1))


def run(parts: dict[str, Part], out: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    monkeypatch.setattr(program, "PARTS", parts)
    return program.main([*more, "--out", str(out), "--model", str(out / "model")])


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"cost": part(True)}, 0),
        ({"cost": part(None)}, 0),
        ({"cost": part(False)}, 1),
        ({"cost": part(True), "soak": part(True, ("lost",))}, 1),
    ],
)
def test_the_status_is_that_of_all_parts(
    parts: dict[str, Any], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(parts, tmp_path, monkeypatch) == status
    assert list(json.loads((tmp_path / "adapters.json").read_text())["parts"]) == list(parts)


def test_options_reach_the_parts_that_know_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run({"cost": part(True)}, tmp_path, monkeypatch, "cost", "--rounds", "3", "--requests", "9") == 0
    assert json.loads((tmp_path / "adapters-cost.json").read_text())["parts"]["cost"]["rounds"] == 3
    assert run({"cost": part(True)}, tmp_path, monkeypatch, "--quick") == 0
    assert json.loads((tmp_path / "adapters.json").read_text())["parts"]["cost"]["rounds"] == 1


def test_a_part_that_fails_does_not_lose_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Section:
        raise OSError("no disk")

    parts = {"soak": Part(fail, Some(), Some()), "cost": part(True)}
    assert run(parts, tmp_path, monkeypatch) == 1
    printed = capsys.readouterr().out
    assert "OSError: no disk" in printed
    assert "## Some" in printed


def test_an_unknown_part_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["speed"])
    assert f"unknown parts: speed; there are {', '.join(program.PARTS)}" in capsys.readouterr().err
