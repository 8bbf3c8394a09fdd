"""The demo's mask and table, and its one line where there is no server; the README's demo runs it as a whole."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from rich.live import _RefreshThread

from imagegen.launch import demo
from imagegen.launch.child_process import ServerError
from imagegen_client import GenerateResult


def test_the_mask_repaints_all_but_a_border() -> None:
    mask = Image.open(io.BytesIO(demo._middle()))
    assert (mask.size, mask.getpixel((0, 0)), mask.getpixel((64, 64))) == ((128, 128), 0, 255)


def test_the_table_adds_up_the_stages() -> None:
    milliseconds = {stage: 1.5 for stage in demo._STAGES} | {"other": 1000.0}
    result = GenerateResult(images=(), urls=(), seeds=(), metadata={"milliseconds": milliseconds})
    console = Console(file=io.StringIO(), width=80)
    console.print(demo._table({"text-to-image": result}))
    assert isinstance(console.file, io.StringIO)
    total = next(line for line in console.file.getvalue().splitlines() if "total" in line)
    assert total.split() == ["total", "9.0"]


def test_a_server_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ServerError("no tritonserver here")

    monkeypatch.setattr(demo, "EmbeddedServer", fail)
    assert demo.main(["--out", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err == "demo: no tritonserver here\n"
    assert (tmp_path / "new").is_dir()
    spinners = [thread for thread in threading.enumerate() if isinstance(thread, _RefreshThread)]
    assert all(spinner.done.is_set() for spinner in spinners)
