"""An engine whose packages cannot be built, or not yet, is ready and generates what an eager one does."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagegen.engine import Engine
from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.collate import describe, forward
from imagegen.engine.compiled import package_builder
from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.compiled_forward import CompiledForward, install
from imagegen.engine.compiled.package_builder import BuildError
from tests.unit.engine.adapters.made import write_adapter
from tests.unit.engine.adapters.toys import Toy, adapter, inputs
from tests.unit.tiny_engine import SETTINGS, pipelines, tiny_engine


@pytest.fixture
def eager() -> Iterator[Engine]:
    with tiny_engine() as made:
        yield made


def with_packages(folder: Path, **more: Any) -> Engine:
    changes = {"compile": "aot", "compile_cache": str(folder), "warmup_sizes": ("32x32",), **more}
    return tiny_engine(SETTINGS.model_copy(update=changes), folder=folder)


@pytest.mark.parametrize(
    "error", [BuildError("no compiler"), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), MemoryError()]
)
def test_what_cannot_be_built_fails_no_start_and_no_request(
    eager: Engine, tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job, folder: Path, closed: threading.Event) -> Path:
        raise error

    expected = eager.generate("a red cat", seed=1, size="32x32").frames
    monkeypatch.setattr(package_builder, "build_in_process", fail)
    with with_packages(tmp_path) as engine:
        assert engine.compiled is not None
        engine.warm_up()
        engine.compiled.wait()
        np.testing.assert_array_equal(engine.generate("a red cat", seed=1, size="32x32").frames, expected)
        assert list(engine.compiled.states().values()) == ["failed"]
    assert "its forwards run eagerly" in caplog.text


def test_a_folder_that_cannot_be_made_fails_no_start(eager: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with with_packages(tmp_path / "file") as engine:
        assert engine.compiled is not None
        engine.warm_up()
        engine.compiled.wait()
        assert engine.generate("a red cat", seed=1, size="32x32").frames.shape == (1, 32, 32, 3)
        assert list(engine.compiled.states().values()) == ["failed"]


def test_while_one_is_built_requests_are_served_and_closing_does_not_wait(
    eager: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_long(job: Job, folder: Path, closed: threading.Event) -> Path:
        assert closed.wait(60)
        raise BuildError("closed")

    monkeypatch.setattr(package_builder, "build_in_process", take_long)
    with with_packages(tmp_path) as engine:
        assert engine.compiled is not None
        engine.warm_up()
        assert list(engine.compiled.states().values()) == ["building"]
        engine.generate("a red cat", seed=1, size="64x64")
        assert len(engine.compiled.states()) == 1, "only what is warmed up is built"


def test_what_adapters_on_offer_touch_is_built_too_and_what_comes_later_builds_nothing(
    eager: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, ...]] = []

    def fail(job: Job, folder: Path, closed: threading.Event) -> Path:
        built.append(job.layers)
        raise BuildError("no compiler")

    monkeypatch.setattr(package_builder, "build_in_process", fail)
    pipeline = pipelines().tasks["text-to-image"].pipeline
    for seed, name in enumerate(("one", "other")):
        write_adapter(pipeline, tmp_path / f"{name}.safetensors", seed)
    with with_packages(tmp_path / "packages", lora_modules=(f"one={tmp_path / 'one.safetensors'}",)) as engine:
        assert engine.compiled is not None
        engine.warm_up()
        engine.compiled.wait()
        plain, updated = built
        assert plain == ()
        assert {name.rsplit(".", 1)[-1] for name in updated} >= {"to_q", "to_v", "conv1"}
        engine.load_lora("other", str(tmp_path / "other.safetensors"))
        for asked in ({}, {"lora": "one"}, {"lora": "other", "lora_scale": 0.5}):
            engine.generate("a red cat", seed=1, size="32x32", **asked)
        engine.unload_lora("one")
        engine.generate("a red cat", seed=1, size="32x32", lora="other")
        assert len(built) == 2


def test_the_rows_adapters_go_to_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Toy()
    ran: list[tuple[int, AdapterTable | None]] = []

    class Compiled(CompiledForward):
        def __init__(self) -> None:
            pass

        def __call__(self, rules: object, merged: object, rows: int, table: AdapterTable | None = None) -> object:
            ran.append((rows, table))
            return module(*inputs(rows))

    install(module, Compiled())
    calls = [
        describe(module, (), dict(zip(("tokens", "image"), inputs(2), strict=True)), 64, updates=updates)
        for updates in ((), ((adapter(1), 1.0),))
    ]
    assert len(forward(calls)) == 2
    forward(calls[:1])
    [(rows, table), without] = ran
    assert table is not None
    assert (rows, table.spans[0][:2], without) == (4, (2, 4), (2, None))
