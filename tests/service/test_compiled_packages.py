"""Real packages of a whole model: mixed batches as eager ones, a second start that finds them, and no compiler then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.engine import Engine
from imagegen.engine.compiled import package_builder
from imagegen.pipelines.checkpoint import describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.adapters.test_mixed_batches import REQUESTS, Trial, asked_of
from tests.unit.engine.worker.test_remote_metrics import Backend
from tests.unit.tiny_engine import levels

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")  # without trying what the compiler can, which takes long
    monkeypatch.setenv("AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL", "O0")
    yield
    torch.set_num_threads(threads)


def flux() -> Any:
    """With one block of each kind: the compiler takes its time for each."""
    return tiny.flux(double_blocks=1)


def test_mixed_batches_and_a_second_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = Trial(flux(), tmp_path)
    changes = {"compile": "aot", "compile_cache": str(tmp_path / "packages"), "warmup_sizes": ("32x32",)}
    settings = eager.settings.model_copy(update=changes)

    def start(backend: Backend) -> Engine:
        described = describe_pipelines(flux(), settings, torch.device("cpu"))
        return Engine(settings, pipelines=described, new_series=backend)

    with eager.engine:
        requests = asked_of(REQUESTS, eager.engine.pipelines)
        plain = asked_of([{"num_inference_steps": 3 + number} for number in range(8)], eager.engine.pipelines)
        expected = [_frames(eager.together(each)) for each in (requests, plain)]
    for number in range(2):
        backend = Backend()
        with start(backend) as engine:
            engine.warm_up()
            assert engine.compiled is not None
            if number:
                assert list(engine.compiled.states().values()) == ["ready"] * 2
            engine.compiled.wait()
            for each, frames in zip((requests, plain), expected, strict=True):
                for _ in range(2):  # the first forward, and the first of one row, are eager ones
                    found = _frames(eager.together(each, engine))
                    assert [levels(*pair) <= 1 for pair in zip(found, frames, strict=True)] == [True] * 8
            engine.sleep()
            engine.wake()
            for each, frames in zip((requests, plain), expected, strict=True):
                assert levels(_frames(eager.together(each, engine))[0], frames[0]) <= 1
            assert list(engine.compiled.states().values()) == ["ready"] * 2
        by = {what: sum(backend.values["compiled_forwards_total", what]) for what in ("package", "eager")}
        assert by["package"] > 25
        assert number == 0 or by["eager"] <= 4, "the first forward of each package, and its first of one row"
        monkeypatch.setattr(package_builder, "build_in_process", lambda *_: pytest.fail("built again"))


def _frames(results: Any) -> list[Any]:
    return [result.frames for result in results]
