"""What the warm-up learns of an image's memory is what later requests take, and refuses what can never fit."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.engine import Engine, EngineSettings
from imagegen.engine.options import parse_options
from imagegen.pipelines.checkpoint import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Pipelines
from tests.accelerator import DEVICE, engine_on_device
from tests.on_accelerator.families import denoiser, engine_of, on_device
from tests.unit.tiny_engine import SETTINGS, Gate, image, mask, wait_until

MEMORY = DEVICE.memory
SMALL, LARGE = 48, 96
FORGETFUL = SETTINGS.model_copy(update={"prompt_cache_bytes": 0, "image_cache_bytes": 0})
RIGHT = 0.1
HELD_BY_OTHERS: set[str] = set()  # lines of source
# Denoising decides; of Flux the text encoder, with its 512 tokens, at the small size, and decoding at the large one.
UNIT_PX = {"sd": 1, "sdxl": 1, "flux": 3}


@dataclass(frozen=True)
class Case:
    """A family on the device, and an engine that was warmed up at a small and a large size."""

    pipelines: Pipelines
    unit_px: int
    warm: Engine

    def size(self, width: int, height: int | None = None) -> str:
        return f"{width * self.unit_px}x{(height or width) * self.unit_px}"


def warmed_up_at(*sizes: str) -> EngineSettings:
    return FORGETFUL.model_copy(update={"warmup_sizes": sizes})


@pytest.fixture(scope="module", autouse=True)
def _held_by_others() -> None:
    """What earlier tests of this process have left in caches of diffusers is no part of what is measured here."""
    gc.collect()
    HELD_BY_OTHERS.update(MEMORY.by_line())


@pytest.fixture(scope="module", params=["sd", "sdxl"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    pipelines, unit_px = on_device(request.param), UNIT_PX[request.param]
    with engine_of(pipelines, warmed_up_at(*(f"{side * unit_px}x{side * unit_px}" for side in (SMALL, LARGE)))) as warm:
        warm.warm_up()
        yield Case(pipelines, unit_px, warm)


def rest() -> int:
    """Bytes that the weights hold, once the device's thread has let go of all else: a moment after its client."""
    for _ in range(100):
        gc.collect()
        held = MEMORY.by_line().keys() - HELD_BY_OTHERS
        if all(line.startswith("tests/") for line in held):
            return MEMORY.live_bytes
        time.sleep(0.01)
    raise AssertionError(MEMORY.by_line())


def peak_of(engine: Engine, **options: Any) -> int:
    """The most bytes that a request takes above what rests."""
    rest_bytes = rest()
    MEMORY.reset_peak()
    engine.generate(options.pop("prompt", "a red cat"), **{"num_inference_steps": 2, **options})
    return MEMORY.peak_bytes - rest_bytes


def learnt(engine: Engine, **options: Any) -> int:
    """What the engine expects of such a request."""
    granularity_px = engine.pipelines.granularity_px
    request, images, _ = parse_options("a red cat", options, engine.settings, granularity_px)  # type: ignore[arg-type]
    expected_bytes = engine._runner._memory_costs.expected_bytes(engine.plan(request, images))
    assert expected_bytes is not None
    return expected_bytes


@pytest.mark.parametrize("case", UNIT_PX, indirect=True)
@pytest.mark.parametrize("side", [SMALL, LARGE])
def test_a_request_of_a_size_that_was_warmed_up_takes_what_was_learnt(case: Case, side: int) -> None:
    size = case.size(side)
    expected_bytes = pytest.approx(learnt(case.warm, size=size), rel=RIGHT)
    assert peak_of(case.warm, size=size) == expected_bytes
    assert peak_of(case.warm, size=size, prompt="another prompt", seed=7, num_inference_steps=5) == expected_bytes
    for scheduler in {"ddpm", "unipc"} & set(case.pipelines.schedulers):  # those that keep the least and the most
        assert peak_of(case.warm, size=size, scheduler=scheduler) == expected_bytes, scheduler


def test_a_shape_counts_by_its_pixels(case: Case) -> None:
    wide = case.size(192, 48)
    assert learnt(case.warm, size=wide) == learnt(case.warm, size=case.size(LARGE))
    assert peak_of(case.warm, size=wide) == pytest.approx(learnt(case.warm, size=wide), rel=RIGHT)


@pytest.mark.parametrize("options", [{}, {"mask": mask()}], ids=[IMAGE_TO_IMAGE, INPAINTING])
def test_an_input_image_is_held_too_and_learnt_of_each_task_at_the_smallest_size(
    case: Case, options: dict[str, Any]
) -> None:
    options = {"images": image(), "strength": 1.0, **options}
    small, large = case.size(SMALL), case.size(LARGE)
    expected_bytes = learnt(case.warm, size=small, **options)
    assert peak_of(case.warm, size=small, **options) == pytest.approx(expected_bytes, rel=RIGHT)
    lower_bytes = learnt(case.warm, size=large, **options)
    assert lower_bytes == learnt(case.warm, size=large), "elsewhere by the checkpoint's own task"
    assert lower_bytes <= peak_of(case.warm, size=large, **options) < 1.7 * lower_bytes


@pytest.mark.parametrize("sides", [(64, 96), (120,)])
def test_another_size_takes_what_is_estimated_between_two_and_beyond_them(case: Case, sides: tuple[int, ...]) -> None:
    size = case.size(*sides)
    peak_bytes, expected_bytes = peak_of(case.warm, size=size), learnt(case.warm, size=size)
    assert (1 - RIGHT) * peak_bytes <= expected_bytes <= 1.001 * peak_bytes


def test_from_one_size_the_estimate_of_a_larger_one_is_a_lower_bound(case: Case) -> None:
    with engine_of(case.pipelines, warmed_up_at(case.size(SMALL))) as engine:
        engine.warm_up()
        peak_bytes = peak_of(engine, size=case.size(120))
        assert peak_bytes / 2 <= learnt(engine, size=case.size(120)) <= peak_bytes


def test_without_guidance_an_estimate_is_a_lower_bound(case: Case) -> None:
    for side in (SMALL, LARGE):
        size = case.size(side)
        assert learnt(case.warm, size=size, guidance_scale=1.0) <= peak_of(case.warm, size=size, guidance_scale=1.0)


def test_text_encoding_is_learnt_at_every_size_though_prompts_are_remembered() -> None:
    """The tiny Flux has a text encoder of 512 tokens, which at these sizes decides."""
    with engine_of(on_device("flux"), SETTINGS.model_copy(update={"warmup_sizes": ("48x48", "96x96")})) as engine:
        engine.warm_up()
        expected_bytes = learnt(engine, size="96x96")
        assert expected_bytes == learnt(engine, size="48x48")
        held_bytes = MEMORY.live_bytes
        MEMORY.reset_peak()
        engine.generate("of so many words", size="96x96")
        assert MEMORY.peak_bytes - held_bytes == pytest.approx(expected_bytes, rel=RIGHT)


def test_the_log_and_a_gauge_have_what_was_learnt(caplog: pytest.LogCaptureFixture) -> None:
    gauges: dict[tuple[str, ...], float] = {}

    class Gauge:
        def __init__(self, family: Any, labels: dict[str, str]) -> None:
            self._key = (family.name, *(labels[name] for name in sorted(labels)))

        def set(self, value: float) -> None:
            gauges[self._key] = value

        def increment(self, value: float) -> None: ...
        def observe(self, value: float) -> None: ...

    with (
        caplog.at_level("INFO", "imagegen.engine.warm_up"),
        engine_on_device(on_device("sd"), warmed_up_at("48x48", "96x96"), new_series=Gauge) as engine,
    ):
        engine.warm_up()
        expected_bytes = learnt(engine, size="96x96")
    peaks = {key[1:]: value for key, value in gauges.items() if key[0] == "imagegen_diffusion_image_peak_bytes"}
    assert max(value for (size, _, task), value in peaks.items() if (size, task) == ("96x96", TEXT_TO_IMAGE)) == (
        expected_bytes
    )
    assert {(size, task) for size, _, task in peaks} == {
        ("48x48", TEXT_TO_IMAGE),
        ("96x96", TEXT_TO_IMAGE),
        ("48x48", IMAGE_TO_IMAGE),
        ("48x48", INPAINTING),
    }
    takes = f"{expected_bytes / 1e9:.3g} GB"
    assert f"s; an image takes {takes} at once, to denoise" in caplog.text


@pytest.mark.parametrize("family", ["sd", "sdxl"])
def test_what_can_never_fit_is_refused_before_any_work_and_nothing_that_fits(family: str) -> None:
    pipelines, gate = on_device(family), Gate()
    gate.put_before(denoiser(pipelines))
    with engine_of(pipelines, FORGETFUL) as unlimited:
        MEMORY.limit_bytes = rest() + peak_of(unlimited, size="128x128")
    with engine_of(pipelines, warmed_up_at("48x48", "96x96")) as engine:
        engine.warm_up()
        engine.generate("a red cat", size="128x128", num_inference_steps=2)  # just so
        wait_until(lambda: engine.active_requests == 0)
        held_bytes, steps = rest(), gate.steps
        MEMORY.reset_peak()
        with pytest.raises(InvalidArgument, match=r"size: an image of 192x192 takes [\d.]+ GB .* the device has"):
            engine.generate("a red cat", size="192x192", num_inference_steps=2)
        assert (gate.steps, MEMORY.peak_bytes) == (steps, held_bytes)
        assert engine.active_requests == 0
