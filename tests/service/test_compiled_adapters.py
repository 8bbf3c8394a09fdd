"""An engine with a compiled denoiser takes adapters without compiling it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine import Engine, EngineSettings
from imagegen.pipelines.checkpoint import describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.adapters.made import write_adapter
from tests.unit.engine.adapters.test_mixed_batches import Trial, asked_of
from tests.unit.tiny_engine import levels

CPU = torch.device("cpu")


class Graphs:
    """Counts how often something was compiled."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: Any, _: Any) -> Callable[..., Any]:
        self.count += 1
        return graph.forward  # type: ignore[no-any-return]


@pytest.fixture
def graphs() -> Iterator[Graphs]:
    torch.compiler.reset()
    yield Graphs()
    torch.compiler.reset()


def test_adapters_come_and_go_without_a_graph_more(graphs: Graphs, tmp_path: Path) -> None:
    eager = Trial(tiny.sd(), tmp_path, row_buckets=(16,))
    settings = eager.settings.model_copy(update={"compile": "torch", "warmup_sizes": ("32x32",), "max_loras": 4})
    compiled = tiny.sd()
    compiled.unet.compile(backend=graphs)
    with eager.engine, Engine(settings, pipelines=describe_pipelines(compiled, settings, CPU)) as engine:
        engine.warm_up()
        after_warm_up = graphs.count
        requests = asked_of(
            [{"num_inference_steps": 3, **lora} for lora in ({}, {"lora": "one"}, {"lora": ["one", "other"]}, {})],
            engine.pipelines,
        )
        for _ in range(2):
            results = eager.together(requests, engine)
            expected = eager.together(requests)
            assert [levels(*pair) <= 1 for pair in zip(_frames(results), _frames(expected), strict=True)] == [True] * 4
            for number in range(6):
                write_adapter(compiled, tmp_path / f"new {number}.safetensors", number + 10, rank=1 + number)
                engine.generate("a red cat", size="32x32", num_inference_steps=1, lora=f"new {number}")
        assert graphs.count == after_warm_up


def test_an_adapter_of_a_larger_rank_than_there_is_room_for_is_refused(tmp_path: Path) -> None:
    pipeline = tiny.sd()
    write_adapter(pipeline, tmp_path / "large.safetensors", 1, rank=5)
    settings = EngineSettings(
        model="tiny", lora_folder=str(tmp_path), compile="torch", row_buckets=(16,), max_lora_rank=4
    )
    with (
        Engine(settings, pipelines=describe_pipelines(pipeline, settings, CPU)) as engine,
        pytest.raises(InvalidArgument, match=r"large.safetensors: rank 5; 4 \(max_lora_rank\) is the most"),
    ):
        engine.generate("a red cat", size="32x32", num_inference_steps=1, lora="large")


def _frames(results: Any) -> list[Any]:
    return [result.frames for result in results]
