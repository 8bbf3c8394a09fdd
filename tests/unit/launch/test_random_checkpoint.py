"""`imagegen random-checkpoint`: what it says, what it refuses, and that it writes what was asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from imagegen.launch import random_checkpoint
from imagegen.launch.random_checkpoint import main
from imagegen.pipelines.random_checkpoint import published
from imagegen.pipelines.random_checkpoint.write import RandomCheckpoint
from tests.unit.pipelines.random_checkpoint.small_architectures import SMALL_ARCHITECTURES

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "ARCHITECTURES", SMALL_ARCHITECTURES)


def test_it_says_what_is_needed_and_writes_it(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "sdxl"
    assert main(["sdxl", str(folder), "--dtype", "float16", "--layers", "1"]) == 0
    said = capsys.readouterr()
    size, free, written = said.out.splitlines()
    assert size.startswith("sdxl in float16: 0.1 GB (text_encoder 0.0 GB, text_encoder_2 0.0 GB, unet 0.0 GB, vae")
    assert free.startswith("free there: ")
    assert written == f"written: {folder}"
    assert said.err.splitlines() == [f"writing {part}" for part in ("text_encoder", "text_encoder_2", "unet", "vae")]
    config = json.loads((folder / "unet" / "config.json").read_text())
    assert (config["layers_per_block"], config["transformer_layers_per_block"]) == (1, [1, 1, 1])
    assert json.loads((folder / "text_encoder" / "config.json").read_text())["dtype"] == "float16"


def test_the_size_is_said_before_anything_is_written(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(checkpoint: RandomCheckpoint, folder: Path, *_: object) -> None:
        assert "free there" in capsys.readouterr().out
        raise OSError("no space left on device")

    monkeypatch.setattr(RandomCheckpoint, "write", full)
    assert main(["sd15", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err == "random-checkpoint: no space left on device\n"


def test_on_a_terminal_one_line_shows_the_progress(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["sd15", str(tmp_path / "new"), "--layers", "1"]) == 0
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    last = shown.rstrip("\n").split("\r")[-1]
    assert last.split() == ["100", "%", "of", "0.0", "GB", "vae"]


def test_an_unknown_shape_is_refused_with_those_that_there_are(tmp_path: Path, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["sd9", str(tmp_path / "new")])
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "'sd9'" in error
    assert all(name in error for name in SMALL_ARCHITECTURES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "0"], "layers: 0 is not allowed; 1..12 is, as many as the deepest part has"),
        (["--layers", "13"], "layers: 13 is not allowed"),
    ],
)
def test_what_cannot_be_is_one_line(options: list[str], message: str, tmp_path: Path, capsys: Captured) -> None:
    assert main(["sd15", str(tmp_path / "new"), *options]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"random-checkpoint: {message}")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    assert main(["sd15", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == f"random-checkpoint: folder: {tmp_path} exists; name one that does not exist yet\n"
    )


def test_ctrl_c_leaves_nothing(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object, component: str, count: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(random_checkpoint._Progress, "written", interrupt)
    assert main(["sd15", str(tmp_path / "new")]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
