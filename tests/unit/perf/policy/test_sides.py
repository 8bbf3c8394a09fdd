"""A side is another process, which is spoken to line by line, and whose end is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from perf.policy import sides
from perf.policy.sides import Side, SideError
from perf.summaries import Record

ECHO = """
import json, os, sys
print("ready", flush=True)
for line in sys.stdin:
    load = json.loads(line)
    if load["seed"] == 9:
        sys.exit(3)
    print(json.dumps([[4, 0.5, float(load["seed"]), os.environ["PYTHONPATH"]]]), flush=True)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "program.py"
    file.write_text(ECHO)
    monkeypatch.setattr(sides, "_PROGRAM", file)
    return tmp_path


def test_a_load_becomes_records_of_its_side(program: Path) -> None:
    with Side("new", program, Path("model")) as side:
        for number in range(2):
            [record] = side.send("open", number, {"seed": number})
            assert record == Record("open", "new", number, 4, 0.5, float(number), f"{program}:{program / 'client'}")


def test_a_side_that_ends_is_told_with_its_status(program: Path) -> None:
    with Side("new", program, Path("model")) as side, pytest.raises(SideError, match="new has ended with status 3"):
        side.send("open", 0, {"seed": 9})


def test_one_that_does_not_start_is_told_too(program: Path) -> None:
    (program / "program.py").write_text("raise OSError")
    with pytest.raises(SideError, match="new has ended with status 1"), Side("new", program, Path("model")):
        pass
