"""A result brings the images of a request together, with what they took."""

from __future__ import annotations

import numpy as np
import pytest

from imagegen.api.input_images import NO_IMAGES
from imagegen.api.request import ImageRequest
from imagegen.engine.generation import Generation
from imagegen.engine.pipeline_call import GeneratedImage
from imagegen.pipelines.plan import make_plan
from tests.unit.tiny_engine import SETTINGS, pipelines


def generated(value: int, **seconds: float) -> GeneratedImage:
    return GeneratedImage(
        np.full((32, 32, 3), value, np.uint8),
        started_s=seconds.get("started_s", 0.0),
        encode_s=seconds.get("encode_s", 0.0),
        denoise_s=seconds.get("denoise_s", 0.0),
        decode_s=seconds.get("decode_s", 0.0),
        forwards=3,
        call_s=0.1,
        rows=6,
        batch_rows=6 * value,
        warnings=("both say this", f"image {value}"),
    )


def generation(timeout_ms: int | None = None) -> Generation:
    plan = make_plan(
        ImageRequest("a red cat", seeds=(7,), n=2, timeout_ms=timeout_ms), NO_IMAGES, pipelines(), SETTINGS
    )
    return Generation(plan, lambda result, error: None, arrived_s=10.0)


def test_frames_are_stacked_in_order_and_warnings_said_once() -> None:
    result = generation().result([generated(1), generated(2)], {"encode": 0.001234}, pipelines())
    assert result.frames.shape == (2, 32, 32, 3)
    assert result.frames[:, 0, 0, 0].tolist() == [1, 2]
    assert result.seeds == (7, 8)
    statistics = result.statistics
    assert statistics.warnings == ("both say this", "image 1", "image 2")
    assert statistics.mean_batch_rows == 3
    assert statistics.milliseconds == {"encode": 1.23}
    assert (statistics.model, statistics.task, statistics.size) == ("tiny", "text-to-image", "32x32")
    assert (statistics.num_inference_steps, statistics.guidance_scale, statistics.scheduler) == (3, 7.5, "ddim")


def test_the_stages_are_those_of_the_image_that_was_last_and_add_up_to_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The wait for a forward that is under way was in none of them."""
    monkeypatch.setattr("imagegen.engine.generation.time.monotonic", lambda: 20.0)
    images = [
        generated(1, started_s=10.5, encode_s=1, denoise_s=5, decode_s=2),
        generated(2, started_s=11, encode_s=3, denoise_s=4, decode_s=1.5),
    ]
    seconds = generation().stage_seconds(images)
    assert seconds == {"queue": 1, "encode": 3, "denoise": 4, "decode": 2, "diffusion": 10}
    assert sum(seconds.values()) == 2 * seconds["diffusion"]


def test_one_caller_alone_responds() -> None:
    one = generation()
    assert [one.claim_response() for _ in range(3)] == [True, False, False]


def test_the_deadline_counts_from_the_arrival() -> None:
    assert generation(timeout_ms=2500).deadline_s == 12.5
    assert generation().deadline_s is None
