"""Memory of the device under requests: weights once, nothing left behind, and what is too much ends as it should."""

from __future__ import annotations

import gc
import math
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from imagegen.api.errors import ImageGenError, as_client_error
from imagegen.engine import Engine
from imagegen.engine.forward_costs import ForwardCosts
from imagegen.pipelines.checkpoint import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Pipelines
from tests.accelerator import DEVICE
from tests.on_accelerator.families import denoiser, engine_of, on_device
from tests.unit.tiny_engine import SETTINGS, Gate, image, levels, mask, wait_until

MEMORY = DEVICE.memory
FORGETFUL = SETTINGS.model_copy(update={"prompt_cache_bytes": 0, "image_cache_bytes": 0, "max_active_requests": 8})
REQUESTS = 56  # of a few steps; a thousand were run once, with the same result


@pytest.fixture(scope="module")
def stable_diffusion() -> Pipelines:
    return on_device("sd")


@pytest.fixture
def engine(stable_diffusion: Pipelines) -> Iterator[Engine]:
    with engine_of(stable_diffusion, FORGETFUL) as made:
        made.generate("warm", seed=0, num_inference_steps=1)
        yield made


def held() -> Counter[str]:
    gc.collect()
    return MEMORY.by_line()


def assert_nothing_is_left(before: Counter[str]) -> None:
    """No line holds more than before. Threads may hold an error or an output a moment longer than their client."""
    for _ in range(100):
        if not held() - before:
            return
        time.sleep(0.01)
    assert held() - before == Counter()


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux"])
def test_all_tasks_and_engines_share_one_copy_of_the_weights(family: str) -> None:
    gc.collect()
    before_bytes = MEMORY.live_bytes
    pipelines = on_device(family)
    assert pipelines.tasks.keys() == {TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING}
    weights: dict[int, torch.Tensor] = {}
    for component in pipelines.tasks[TEXT_TO_IMAGE].pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            weights |= {id(tensor): tensor for tensor in (*component.parameters(), *component.buffers())}
    weights_bytes = sum(tensor.nbytes for tensor in weights.values())
    assert MEMORY.live_bytes - before_bytes == weights_bytes
    settings = FORGETFUL.model_copy(update={"warmup_sizes": ("32x32",)})
    with engine_of(pipelines, settings) as one, engine_of(pipelines, settings) as other:
        for engine in (one, other):
            engine.warm_up()
            wait_until(lambda: held().total() - before_bytes == weights_bytes)
    del pipelines.tasks[INPAINTING], pipelines.tasks[IMAGE_TO_IMAGE]
    gc.collect()
    assert MEMORY.live_bytes - before_bytes == weights_bytes, "what a derived task has of its own is no weight"


def mixed(number: int) -> dict[str, Any]:
    """A request of any task, scheduler and kind; the deadline of every seventh passes."""
    options: dict[str, Any] = {"seed": number, "num_inference_steps": 1 + number % 3, "prompt": f"a cat {number % 5}"}
    options["scheduler"] = ("ddim", "euler", "unipc", "ddpm", "heun")[number % 5]
    if number % 4 == 1:
        options |= {"images": image(number), "strength": 1.0}
    if number % 4 == 2:
        options |= {"images": image(number), "mask": mask(), "strength": 1.0}
    if number % 4 == 3:
        options |= {"n": 2, "size": "16x24"}
    if number % 7 == 6:
        options["timeout_ms"] = 1
    return options


def test_many_mixed_requests_leave_the_bytes_where_they_were(engine: Engine) -> None:
    def run(number: int) -> str:
        options = mixed(number)
        try:
            engine.generate(options.pop("prompt"), **options)
        except ImageGenError as error:
            return as_client_error(error).code
        return "ok"

    before = held()
    with ThreadPoolExecutor(8) as pool:
        outcomes = Counter(pool.map(run, range(REQUESTS)))
    wait_until(lambda: engine.active_requests == 0)
    assert outcomes["ok"] >= REQUESTS * 5 // 7
    assert outcomes.keys() <= {"ok", "deadline_exceeded"}
    assert_nothing_is_left(before)


@contextmanager
def limit_within(module: torch.nn.Module, spare_bytes: int) -> Iterator[None]:
    """Let a module's forward have so many bytes more than are held when it begins."""

    def begin(*_: Any) -> None:
        MEMORY.limit_bytes = MEMORY.live_bytes + spare_bytes

    def end(*_: Any) -> None:
        MEMORY.limit_bytes = None

    hooks = [module.register_forward_pre_hook(begin), module.register_forward_hook(end, always_call=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def peak_of(module: torch.nn.Module, engine: Engine, **options: Any) -> int:
    """The most bytes that a module's forward takes."""
    most = before = 0

    def begin(*_: Any) -> None:
        nonlocal before
        before = MEMORY.live_bytes
        MEMORY.reset_peak()

    def end(*_: Any) -> None:
        nonlocal most
        most = max(most, MEMORY.peak_bytes - before)

    hooks = [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    engine.generate("a red cat", num_inference_steps=2, **options)
    for hook in hooks:
        hook.remove()
    return most


def test_a_forward_of_too_many_rows_is_halved_and_the_images_are_right(
    stable_diffusion: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForwardCosts, "fixed_rows", lambda *_: math.inf)  # as many rows as fit, however long they take
    unet = denoiser(stable_diffusion)
    with engine_of(stable_diffusion, FORGETFUL) as engine:
        _halves(engine, unet)


def _halves(engine: Engine, unet: torch.nn.Module) -> None:
    expected = engine.generate("a red cat", seed=1, n=6, num_inference_steps=3).frames
    one_bytes = peak_of(unet, engine, seed=1)
    before = held()
    sizes: list[int] = []
    rows = unet.register_forward_pre_hook(lambda _, args, given: sizes.append(len(given["sample"])), with_kwargs=True)
    with limit_within(unet, 3 * one_bytes):
        frames = engine.generate("a red cat", seed=1, n=6, num_inference_steps=3).frames
    rows.remove()
    assert max(sizes) > 6 >= min(sizes), "some did not fit, and were run again in halves"
    assert levels(frames, expected) <= 1
    assert_nothing_is_left(before)


@pytest.mark.parametrize("stage", ["text encoding", "a forward of one image", "decoding"])
def test_what_does_not_fit_alone_is_a_clear_error_and_leaves_nothing(
    engine: Engine, stable_diffusion: Pipelines, stage: str
) -> None:
    pipeline = stable_diffusion.tasks[TEXT_TO_IMAGE].pipeline
    module = {
        "text encoding": pipeline.text_encoder,
        "a forward of one image": pipeline.unet,
        "decoding": pipeline.vae.decoder,
    }[stage]
    expected = engine.generate("a red cat", seed=1, num_inference_steps=2).frames
    spare_bytes = peak_of(module, engine, seed=1) // 2
    assert spare_bytes > 0
    before = held()
    with limit_within(module, spare_bytes), pytest.raises(ImageGenError, match="out of memory; try again later"):
        engine.generate("a red cat", seed=1, num_inference_steps=2)
    assert_nothing_is_left(before)
    assert levels(engine.generate("a red cat", seed=1, num_inference_steps=2).frames, expected) <= 1


def test_a_decode_that_does_not_fit_fails_its_own_request_alone(engine: Engine, stable_diffusion: Pipelines) -> None:
    pipeline = stable_diffusion.tasks[TEXT_TO_IMAGE].pipeline
    small: dict[str, Any] = {"size": "32x32", "seed": 1, "num_inference_steps": 3}
    large: dict[str, Any] = {"size": "64x64", "num_inference_steps": 2}
    expected = engine.generate("a red cat", **small).frames
    spare_bytes = 2 * peak_of(pipeline.vae.decoder, engine, size="32x32")
    assert peak_of(pipeline.vae.decoder, engine, size="64x64") > spare_bytes
    gate = Gate()
    remove = gate.put_before(pipeline.unet)
    gate.close()
    with limit_within(pipeline.vae.decoder, spare_bytes), ThreadPoolExecutor(2) as pool:
        right = pool.submit(engine.generate, "a red cat", **small)
        assert gate.reached.wait(20)
        wrong = pool.submit(engine.generate, "a red cat", **large)
        wait_until(lambda: engine.active_requests == 2)
        gate.open()
        with pytest.raises(ImageGenError, match="out of memory"):
            wrong.result()
        assert levels(right.result().frames, expected) <= 1
    remove()
