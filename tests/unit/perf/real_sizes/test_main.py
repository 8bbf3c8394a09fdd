"""The command asks what it is told to, reports it, and loses nothing by a part that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perf.real_sizes import __main__ as program
from perf.real_sizes.questions import Answer
from perf.report import Target


def part(met: bool, seen: list[Any]) -> program.Part:
    def measure(checkpoint: Path, folder: Path, settings: program.Settings) -> list[Answer]:
        """Something that is measured."""
        seen.append((checkpoint.name, folder.is_dir(), settings))
        return [(Target("soon", "5 s", met), {"seconds": 5.0})]

    return program.Part("sd15", "float16", measure)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    (tmp_path / "sd15-float16").mkdir()
    return tmp_path


@pytest.mark.parametrize(("met", "status"), [(True, 0), (False, 1)])
def test_what_was_reached_is_reported_and_a_target_that_is_missed_is_a_failure(
    met: bool, status: int, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(program, "PARTS", {"crash": part(met, seen), "idle": part(met, [])})
    out = checkpoints / "out"
    command = ["crash", "--checkpoints", str(checkpoints), "--out", str(out), "--idle-s", "3", "--rounds", "1"]
    assert program.main(command) == status
    assert seen == [("sd15-float16", True, program.Settings(rounds=1, idle_s=3.0))]
    printed = capsys.readouterr().out
    assert "crash, with the shape of sd15 in float16" in printed
    assert "5 s" in printed
    [answer] = json.loads((out / "real-sizes.json").read_text())["parts"]["crash"]["answers"]
    assert answer == {"asked": "soon", "seconds": 5.0}


def test_a_part_that_fails_does_not_lose_the_others(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> list[Answer]:
        raise RuntimeError("not ready: no such library")

    monkeypatch.setattr(
        program, "PARTS", {"idle": program.Part("sd15", "float16", fail), "crash": part(met=True, seen=[])}
    )
    assert program.main(["--checkpoints", str(checkpoints), "--out", str(checkpoints / "out")]) == 1
    printed = capsys.readouterr().out
    assert "RuntimeError: not ready: no such library" in printed
    assert "crash, with the shape of sd15" in printed


def test_an_unknown_part_is_named_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        program.main(["crash", "speed"])
    assert "unknown parts: speed; there are crash, in-time, frontend, idle, long-request" in capsys.readouterr().err
