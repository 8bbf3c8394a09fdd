"""The demo's mask and table, and its one line where there is no server; the README's demo runs it as a whole."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from rich.console import Console
from rich.live import _RefreshThread

from imagegen.launch import demo
from imagegen.launch.child_process import ServerError
from imagegen_client import TASKS, GenerateResult, ImageClient, ModelDescription
from tests.unit.client.test_client_description import DESCRIPTION


def test_the_mask_repaints_all_but_a_border() -> None:
    mask = Image.open(io.BytesIO(demo._middle((128, 64))))
    assert (mask.size, mask.getpixel((0, 0)), mask.getpixel((64, 32))) == ((128, 64), 0, 255)


class AnyModel:
    """A client of a server whose model does what its description says; it keeps what it was asked for."""

    def __init__(self, description: ModelDescription) -> None:
        self._description = description
        self.asked: list[dict[str, Any]] = []

    def describe(self) -> ModelDescription:
        return self._description

    def generate(self, **arguments: Any) -> GenerateResult:
        self.asked.append(arguments)
        return GenerateResult(images=(demo._disc(self._description),), urls=(), seeds=(), metadata={})


@pytest.mark.parametrize(
    ("tasks", "shown"),
    [
        ({"inpainting": ("strength",)}, ["inpainting"]),
        ({"image-to-image": ("guidance_scale",)}, ["image-to-image"]),
        ({"image-to-image": ("strength",), "text-to-image": ()}, ["text-to-image", "image-to-image"]),
        ({"editing": ("guidance_scale",)}, ["editing"]),
        ({"text-to-image": (), "editing": ()}, ["text-to-image", "editing"]),
    ],
)
def test_the_demo_shows_what_the_model_does_and_names_what_it_does_not(
    tasks: dict[str, tuple[str, ...]], shown: list[str], tmp_path: Path
) -> None:
    client = AnyModel(replace(DESCRIPTION, tasks=tasks))
    console = Console(file=io.StringIO(), width=80)
    results = demo._generate(cast(ImageClient, client), tmp_path, console, {"guidance_scale": 5.0})
    assert list(results) == shown
    for task, asked in zip(shown, client.asked, strict=True):
        assert {"strength", "guidance_scale"} & asked.keys() == {"strength", "guidance_scale"} & set(tasks[task])
        assert ("mask" in asked) == (task == "inpainting")
        assert ("reference_image" in asked) == (task == "editing")
        assert ("image" in asked) == (task in ("image-to-image", "inpainting"))
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert f"The model toy does {', '.join(tasks)}" in printed
    for task in TASKS:
        assert (f"{task:15} not shown: the model does not do it" in printed) == (task not in tasks)


@pytest.mark.parametrize(("least_px", "size"), [(1, (64, 32)), (32, (64, 32)), (33, (128, 64)), (100, (256, 128))])
def test_a_reference_is_as_large_as_the_model_takes_it(least_px: int, size: tuple[int, int], tmp_path: Path) -> None:
    client = AnyModel(replace(DESCRIPTION, tasks={"editing": ()}, least_reference_px=least_px))
    demo._generate(cast(ImageClient, client), tmp_path, Console(file=io.StringIO()), {})
    assert Image.open(io.BytesIO(client.asked[0]["reference_image"])).size == size


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
