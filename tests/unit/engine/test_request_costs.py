"""What cannot be finished in time is refused at once, with what it would take; an estimate is a lower bound."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import DeadlineExceeded, InvalidArgument
from imagegen.api.input_images import NO_IMAGES
from imagegen.api.request import ImageRequest
from imagegen.engine.pipeline_call import GeneratedImage
from imagegen.engine.request_costs import RequestCosts
from imagegen.pipelines.plan import Plan, make_plan
from tests.unit.tiny_engine import SETTINGS, Gate, image, pipelines, tiny_engine


def plan(side: int = 64, steps: int = 10, n: int = 1, guidance: float = 5.0, timeout_ms: int | None = None) -> Plan:
    request = ImageRequest(
        "a cat", n=n, size=(side, side), num_inference_steps=steps, guidance_scale=guidance, timeout_ms=timeout_ms
    )
    return make_plan(request, NO_IMAGES, pipelines(), SETTINGS)


def seen(call_s: float | None, decode_s: float = 0.0, rows: int = 20, batch_rows: int = 20) -> GeneratedImage:
    return GeneratedImage(
        np.zeros((1, 1, 3), np.uint8),
        started_s=0.0,
        encode_s=9.0,
        denoise_s=9.0,
        decode_s=decode_s,
        forwards=10,
        call_s=call_s,
        rows=rows,
        batch_rows=batch_rows,
    )


def costs(max_expected_s: float = 60.0) -> RequestCosts:
    return RequestCosts(max_expected_s, (256, 256))


def test_nothing_is_refused_before_anything_was_seen() -> None:
    untaught = costs()
    assert untaught.expected_s(plan()) is None
    untaught.note(plan(), [seen(None)])  # one step alone, which may have compiled
    assert untaught.expected_s(plan()) is None
    untaught.check(plan(2048, steps=900, n=10), None)


def test_steps_and_images_multiply_what_was_seen() -> None:
    taught = costs()
    taught.note(plan(), [seen(0.1, decode_s=0.5)])
    assert taught.expected_s(plan(steps=10)) == pytest.approx(1.5)
    assert taught.expected_s(plan(steps=20, n=3)) == pytest.approx(3 * (2 + 0.5))


def test_the_least_counts_so_that_a_busy_moment_refuses_nobody_later() -> None:
    taught = costs()
    for call_s in (3.0, 0.1, 5.0):
        taught.note(plan(), [seen(call_s)])
    assert taught.expected_s(plan()) == pytest.approx(1.0)


def test_images_that_share_forwards_take_less_than_one_after_the_other() -> None:
    taught = costs()
    taught.note(plan(), [seen(0.1)])
    taught.note(plan(n=4), [seen(0.2, rows=20, batch_rows=80)] * 4)  # four in twice the time
    assert taught.expected_s(plan()) == pytest.approx(1.0)
    assert taught.expected_s(plan(n=4)) == pytest.approx(2.0)


def test_other_sizes_are_estimated_from_below() -> None:
    taught = costs()
    taught.note(plan(64), [seen(0.1)])
    assert taught.expected_s(plan(128)) == pytest.approx(4.0), "in proportion to the pixels"
    assert taught.expected_s(plan(32)) == pytest.approx(1 / 16), "to their square"
    taught.note(plan(128), [seen(0.25)])
    step_s = 0.25 + (0.25 - 0.1) * (256**2 - 128**2) / (128**2 - 64**2)
    assert taught.expected_s(plan(256)) == pytest.approx(10 * step_s), "without what a step costs whatever its size"
    taught.note(plan(256), [seen(0.2)])
    assert taught.expected_s(plan(512)) == pytest.approx(2.0), "larger is never cheaper"


def test_without_guidance_it_takes_half_as_long_until_it_was_seen() -> None:
    taught = costs()
    taught.note(plan(guidance=5.0), [seen(0.1)])
    assert taught.expected_s(plan(guidance=0.0)) == pytest.approx(0.5)
    taught.note(plan(guidance=0.0), [seen(0.08)])
    assert taught.expected_s(plan(guidance=0.0)) == pytest.approx(0.8)
    assert taught.expected_s(plan(guidance=5.0)) == pytest.approx(1.0)


def test_what_references_cost_is_not_expected_of_requests_without() -> None:
    """Of a size that only edits had, a request from text was refused for what 16 references take."""
    taught = costs()
    edit = replace(plan(), references=(image()[0],) * 16)
    taught.note(plan(), [seen(0.1)])
    assert taught.expected_s(edit) == pytest.approx(1.0), "as much or more, until one was seen"
    taught.note(replace(edit, size=(128, 128)), [seen(8.0)])
    assert taught.expected_s(plan(128)) == pytest.approx(4.0)
    assert taught.expected_s(replace(edit, size=(128, 128))) == pytest.approx(80.0)


def test_what_exceeds_its_own_deadline_is_refused_with_the_estimate() -> None:
    taught = costs()
    taught.note(plan(), [seen(0.1)])
    taught.check(plan(steps=140, timeout_ms=10_000), time.monotonic() + 10)  # within the margin
    with pytest.raises(DeadlineExceeded, match=r"1 of 64x64 in 400 steps takes 40 s or more .* timeout_ms, 10000$"):
        taught.check(plan(steps=400, timeout_ms=10_000), time.monotonic() + 10)


def test_without_a_deadline_the_configured_bound_counts_and_the_models_own_size_is_named() -> None:
    taught = costs(max_expected_s=60)
    taught.note(plan(), [seen(0.1)])
    taught.check(plan(steps=890), None)  # within the margin
    with pytest.raises(InvalidArgument, match=r"^invalid_argument: size: .* takes 91 s .* 60 s .* own is 256x256"):
        taught.check(plan(steps=910), None)
    taught.check(plan(steps=910, timeout_ms=100_000), time.monotonic() + 100)
    endless = costs(max_expected_s=0)
    endless.note(plan(), [seen(100.0)])
    endless.check(plan(steps=900), None)
    endless.check(plan(steps=900, timeout_ms=1), time.monotonic())


@pytest.mark.parametrize("options", [{"timeout_ms": 2000}, {}])
def test_an_engine_refuses_before_any_step_what_its_warm_up_shows_to_take_too_long(options: dict[str, Any]) -> None:
    """Before, it was begun, ran for minutes, and held the others up."""
    gate = Gate()
    settings = SETTINGS.model_copy(update={"max_expected_s": 3.0})
    remove = gate.put_before(pipelines().tasks["text-to-image"].pipeline.unet)
    try:
        with tiny_engine(settings) as engine:
            engine.warm_up()
            steps = gate.steps
            with pytest.raises((DeadlineExceeded, InvalidArgument), match="900 steps takes"):
                engine.generate("a red cat", size="2048x2048", num_inference_steps=900, **options)
            assert gate.steps == steps
            engine.generate("a red cat", images=image(), num_inference_steps=2, **options)
    finally:
        remove()
