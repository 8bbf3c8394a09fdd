"""The runner batches by what it has learnt, within its limits, and says what went wrong."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from imagegen.api.errors import Cancelled, Unavailable
from imagegen.engine import Engine
from imagegen.engine.adapters.adapter_store import AdapterStore
from imagegen.engine.adapters.host_adapters import HostAdapters
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.metric_families import discard
from imagegen.engine.metrics import EngineMetrics
from imagegen.engine.model_runner import ModelRunner
from imagegen.engine.policy import Prefer
from imagegen.pipelines.plan import PlannedLora
from imagegen.pipelines.warmup import warmup_plans
from tests.unit.engine.adapters.files import Reader, write
from tests.unit.tiny_engine import ENDLESS, SETTINGS, TIMEOUT_S, Gate, no_adapters, pipelines, tiny_engine, wait_until


@pytest.fixture
def runner() -> Iterator[ModelRunner]:
    metrics = EngineMetrics(discard, dict, torch.device("cpu"))
    made = ModelRunner(SETTINGS, pipelines(), metrics, no_adapters())
    yield made
    made.close(TIMEOUT_S)
    metrics.close()


def test_a_plan_is_run_to_its_images(runner: ModelRunner) -> None:
    for plan in warmup_plans(pipelines(), SETTINGS, ["32x48"]):
        (generated,) = runner.run(plan)
        assert generated.frame.shape == (48, 32, 3)
        assert generated.forwards == 2


@contextmanager
def failing(part: str, error: Exception) -> Iterator[None]:
    """While this lasts a module of the pipeline raises."""

    def fail(*_: object) -> None:
        raise error

    pipeline = pipelines().tasks["text-to-image"].pipeline
    hook = (pipeline.unet if part == "unet" else pipeline.vae.decoder).register_forward_pre_hook(fail)
    try:
        yield
    finally:
        hook.remove()


def test_whatever_goes_wrong_is_raised(runner: ModelRunner) -> None:
    with failing("unet", TypeError("conv2d")), pytest.raises(TypeError, match="conv2d"):
        runner.run(next(warmup_plans(pipelines(), SETTINGS, [])))


@pytest.mark.parametrize(("fixed_rows", "rows"), [(0.0, 2), (math.inf, 4)])
def test_where_rows_cost_a_short_request_has_its_forwards_for_itself(
    monkeypatch: pytest.MonkeyPatch, fixed_rows: float, rows: int
) -> None:
    """Beside a long one: what a row costs, and how many steps each request has left, both reach the scheduler."""
    monkeypatch.setattr("imagegen.engine.forward_costs.ForwardCosts.fixed_rows", lambda self, batch_key: fixed_rows)
    with tiny_engine() as engine:
        long = engine.stream("a red cat", num_inference_steps=ENDLESS)
        assert next(long)
        assert engine.generate("a red cat", num_inference_steps=4).statistics.mean_batch_rows == rows
        long.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("prefer", "waits"), [("balanced", True), ("throughput", False), ("latency", True)])
def test_forwards_are_filled_where_requests_wait_or_throughput_is_preferred(
    monkeypatch: pytest.MonkeyPatch, prefer: Prefer, waits: bool
) -> None:
    """As above, on a device where each row costs."""
    monkeypatch.setattr("imagegen.engine.forward_costs.ForwardCosts.fixed_rows", lambda self, batch_key: 0.0)
    with tiny_engine(SETTINGS.model_copy(update={"prefer": prefer, "max_active_requests": 2})) as engine:
        long = engine.stream("a red cat", num_inference_steps=ENDLESS)
        assert next(long)
        engine.line_elsewhere(waits)
        assert engine.generate("a red cat", num_inference_steps=4).statistics.mean_batch_rows == 4
        long.close()  # type: ignore[attr-defined]


def test_a_line_of_this_engine_fills_forwards(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """Who waits is not cancelled before the short request has had two forwards."""
    monkeypatch.setattr("imagegen.engine.forward_costs.ForwardCosts.fixed_rows", lambda self, batch_key: 0.0)
    with tiny_engine(SETTINGS.model_copy(update={"max_active_requests": 2})) as engine:
        long = engine.stream("a red cat", num_inference_steps=ENDLESS)
        assert next(long)
        gate.close()
        with ThreadPoolExecutor(2) as threads:
            short = threads.submit(engine.generate, "a red cat", num_inference_steps=2)
            wait_until(lambda: engine.active_requests == 2)
            waiting = threads.submit(engine.generate, "a red cat", num_inference_steps=2)
            wait_until(lambda: engine.waiting_requests == 1)
            gate.open()
            assert short.result().statistics.mean_batch_rows == 4
            waiting.result()
            long.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")])
@pytest.mark.parametrize("part", ["unet", "decoder"])
def test_out_of_memory_is_known_on_every_device_and_outside_forwards_too(
    engine: Engine, part: str, error: RuntimeError
) -> None:
    """torch's CPU allocator raises a plain RuntimeError."""
    with failing(part, error), pytest.raises(Unavailable, match="out of memory; try again later, or a smaller size"):
        engine.generate("a red cat")
    assert engine.generate("a red cat").frames.shape[0] == 1


def test_work_is_done_on_the_devices_thread_and_its_error_raised(runner: ModelRunner) -> None:
    names: list[str] = []
    runner.run_on_device_thread(lambda: names.append(threading.current_thread().name))
    assert names == ["device"]
    with pytest.raises(ZeroDivisionError):
        runner.run_on_device_thread(lambda: print(1 // 0))


def test_a_cancel_does_not_wait_for_the_file_of_an_adapter(tmp_path: Path) -> None:
    """The request kept its slot, and sleep and shutdown waited, until the file had been read."""
    reader = Reader()
    reader.gate.clear()
    store = AdapterStore(HostAdapters(Path, reader, 10**6), torch.device("cpu"), 4, 10**6)
    metrics = EngineMetrics(discard, dict, torch.device("cpu"))
    runner = ModelRunner(SETTINGS, pipelines(), metrics, store)
    plan = next(warmup_plans(pipelines(), SETTINGS, []))
    plan = replace(plan, loras=(PlannedLora("a", 1.0, write(tmp_path, "a", "1")),))
    ended: list[tuple[object, BaseException | None]] = []
    tokens = [CancelToken(), CancelToken()]
    for token in tokens:
        runner.start(plan, lambda images, error: ended.append((images, error)), token)
    wait_until(lambda: reader.reads == ["a"])
    tokens[0].cancel()
    runner.withdraw(tokens[0])
    assert [type(error) for _, error in ended] == [Cancelled]
    runner.close(TIMEOUT_S)
    assert [type(error) for _, error in ended] == [Cancelled, Unavailable]
    reader.gate.set()
    metrics.close()
