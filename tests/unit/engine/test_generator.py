"""Requests go in as arrays and come out as frames, each answered once, whoever else is being drawn."""

from __future__ import annotations

import gc
import json
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from imagegen.api.errors import Cancelled, DeadlineExceeded, InvalidArgument, Unavailable
from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.engine.generator import Generator
from imagegen.engine.metrics import Measures
from imagegen.engine.module_proxy import undelegated
from imagegen.engine.settings import DiffusionSettings
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from imagegen.pipelines.previews import fit_projection
from imagegen.pipelines.schedulers import fitting_schedulers
from tests.unit import tiny_pipelines as tiny

Array = npt.NDArray[Any]
PATIENCE_S = 20
SETTINGS = DiffusionSettings(
    model="tiny", max_active_requests=4, default_num_inference_steps=3, max_num_inference_steps=1000
)
ENDLESS = 900  # steps that nobody waits for


class Answer:
    """A request's inputs, and what it was answered."""

    def __init__(self, request_id: str = "", **values: Any) -> None:
        self.request_id = request_id
        self.gone = threading.Event()
        self.asked = threading.Event()
        self.results: list[Mapping[str, Array]] = []
        self.errors: list[BaseException] = []
        self._answered = threading.Event()
        self._values = {"prompt": "a red cat", **values}

    def arrays(self) -> dict[str, Array]:
        kinds = {"guidance_scale": np.float32, "strength": np.float32, "seed": np.int64}
        arrays: dict[str, Array] = {}
        for name, value in self._values.items():
            if isinstance(value, str):
                arrays[name] = np.array([value.encode()], dtype=np.object_)
            elif isinstance(value, np.ndarray):
                arrays[name] = value
            elif value is not None:
                arrays[name] = np.atleast_1d(np.array(value, dtype=kinds.get(name, np.int32)))
        return arrays

    def is_cancelled(self) -> bool:
        self.asked.set()
        return self.gone.is_set()

    def send(self, arrays: Mapping[str, Array]) -> None:
        self.results.append(arrays)
        self._answered.set()

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self._answered.set()

    @property
    def answered(self) -> bool:
        return self._answered.is_set()

    def frames(self) -> npt.NDArray[np.uint8]:
        return self.outputs()["frames"]

    def report(self) -> dict[str, Any]:
        report = json.loads(self.outputs()["diffusion_report"][0])
        assert isinstance(report, dict)
        return report

    def outputs(self) -> Mapping[str, Array]:
        assert self._answered.wait(PATIENCE_S)
        if self.errors:
            raise self.errors[0]
        assert len(self.results) == 1
        return self.results[0]

    def error(self) -> BaseException:
        assert self._answered.wait(PATIENCE_S)
        assert not self.results
        assert len(self.errors) == 1
        return self.errors[0]


class Ignored:
    """A metrics series that nobody reads."""

    def increment(self, value: float) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...


@pytest.fixture(scope="module")
def offers() -> Iterator[Pipelines]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))
    torch.set_num_threads(threads)


Tell = Callable[[str, Event], None]


def generate_with(
    offers: Pipelines, settings: DiffusionSettings = SETTINGS, tell: Tell = lambda stream_id, event: None
) -> Generator:
    measures = Measures(lambda family, labels: Ignored(), offers.caches, offers.device)
    return Generator(settings, offers, measures, tell)


@pytest.fixture
def generator(offers: Pipelines) -> Iterator[Generator]:
    made = generate_with(offers)
    yield made
    made.close()


@pytest.fixture
def ask(generator: Generator) -> Callable[..., Answer]:
    def submit(**values: Any) -> Answer:
        answer = Answer(**values)
        generator.submit(answer)
        return answer

    return submit


def image(seed: int = 0, count: int = 1, height: int = 32, width: int = 32) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def mask() -> Array:
    """The left half is to be repainted."""
    area = np.zeros((1, 32, 32), np.uint8)
    area[:, :, :16] = 255
    return area


def levels(one: Array, other: Array) -> int:
    """Largest difference of two images, in 0..255."""
    return int(np.abs(one.astype(int) - other).max())


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s
        time.sleep(0.001)


def test_a_prompt_becomes_a_frame_with_its_seed_and_report(ask: Callable[..., Answer]) -> None:
    answer = ask(seed=5, preprocess_report='{"milliseconds": {"preprocess": 1.5}, "started_s": 0, "finished_s": 0}')
    outputs = answer.outputs()
    assert set(outputs) == {"frames", "used_seed", "diffusion_report"}
    assert outputs["frames"].shape == (1, 32, 32, 3)
    assert outputs["frames"].dtype == np.uint8
    assert outputs["frames"].std() > 1
    assert outputs["used_seed"].dtype == np.int64
    assert outputs["used_seed"].tolist() == [5]
    report = answer.report()
    assert {name: report[name] for name in ("model", "task", "size", "num_inference_steps", "guidance_scale")} == {
        "model": "tiny",
        "task": "text-to-image",
        "size": "32x32",
        "num_inference_steps": 3,
        "guidance_scale": 7.5,
    }
    assert (report["scheduler"], report["strength"], report["warnings"]) == ("ddim", None, [])
    assert report["mean_batch_rows"] == 2
    assert set(report["milliseconds"]) == {"preprocess", "queue", "encode", "denoise", "decode", "diffusion"}


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ({}, "text-to-image"),
        ({"pixels": image()}, "image-to-image"),
        ({"pixels": image(), "mask_pixels": mask()}, "inpainting"),
    ],
)
@pytest.mark.parametrize(("size", "shape"), [("40x24", (24, 40, 3)), (None, (32, 32, 3))])
def test_every_task_gives_n_frames_of_the_size(
    ask: Callable[..., Answer], values: dict[str, Any], task: str, size: str | None, shape: tuple[int, ...]
) -> None:
    answer = ask(n=3, size=size, seed=1, **values)
    frames = answer.frames()
    assert frames.shape == (3, *shape)
    assert frames.dtype == np.uint8
    assert answer.report()["task"] == task
    assert answer.outputs()["used_seed"].tolist() == [1, 2, 3]
    assert levels(frames[0], frames[1]) > 1


def test_the_same_seed_gives_the_same_image_alone_or_among_others(ask: Callable[..., Answer]) -> None:
    alone = ask(seed=11, num_inference_steps=6).frames()
    others = [ask(prompt="a blue boat", seed=seed, num_inference_steps=8, guidance_scale=3.0) for seed in (1, 2)]
    among = ask(seed=11, num_inference_steps=6)
    assert levels(among.frames(), alone) <= 1
    assert among.report()["mean_batch_rows"] > 2, "nothing was shared"
    assert all(levels(other.frames(), alone) > 1 for other in others)


@pytest.mark.parametrize("values", [{}, {"pixels": image()}, {"pixels": image(), "mask_pixels": mask()}])
def test_image_i_of_seed_s_is_the_image_of_seed_s_plus_i(ask: Callable[..., Answer], values: dict[str, Any]) -> None:
    together = ask(seed=40, n=3, **values).frames()
    for index in range(3):
        assert levels(ask(seed=40 + index, **values).frames()[0], together[index]) <= 1


def test_n_seeds_are_one_a_image(ask: Callable[..., Answer]) -> None:
    frames = ask(seed=[9, 9, 4], n=3).frames()
    assert levels(frames[0], frames[1]) <= 1
    assert levels(frames[0], frames[2]) > 1


def test_each_image_starts_from_its_own_image(ask: Callable[..., Answer]) -> None:
    images = image(count=2)
    together = ask(pixels=images, n=2, seed=[3, 3], strength=0.5).frames()
    for index in range(2):
        alone = ask(pixels=images[index : index + 1], seed=3, strength=0.5).frames()
        assert levels(alone[0], together[index]) <= 1
    assert levels(together[0], together[1]) > 1


def test_pixels_outside_the_mask_are_exactly_those_of_the_image(ask: Callable[..., Answer]) -> None:
    pixels = image()
    frame = ask(pixels=pixels, mask_pixels=mask(), strength=1.0, seed=1).frames()[0]
    assert np.array_equal(frame[:, 16:], pixels[0, :, 16:])
    assert levels(frame[:, :16], pixels[0, :, :16]) > 1


def test_guidance_of_zero_is_a_value_and_takes_one_row(ask: Callable[..., Answer]) -> None:
    zero, default = ask(seed=1, guidance_scale=0.0), ask(seed=1)
    assert levels(zero.frames(), default.frames()) > 1
    assert zero.report()["guidance_scale"] == 0
    assert ask(seed=1, guidance_scale=0.0).report()["mean_batch_rows"] == 1


def test_a_negative_prompt_counts(ask: Callable[..., Answer]) -> None:
    assert levels(ask(seed=1, negative_prompt="a blue dog").frames(), ask(seed=1).frames()) > 0
    assert ask(seed=1, negative_prompt="a dog", guidance_scale=0.0).report()["warnings"]


@pytest.mark.parametrize("name", list(fitting_schedulers(tiny.sd().scheduler)))
def test_every_scheduler_draws_every_task(ask: Callable[..., Answer], name: str) -> None:
    """Also in one step; PNDM with Runge-Kutta steps failed below four."""
    for steps in (1, 2, 5):
        for values in ({}, {"pixels": image()}, {"pixels": image(), "mask_pixels": mask()}):
            strength = 1.0 if values else None
            answer = ask(scheduler=name, seed=1, num_inference_steps=steps, strength=strength, **values)
            assert answer.frames().std() > 1
            assert answer.report()["scheduler"] == name


def test_a_named_scheduler_is_each_requests_own(ask: Callable[..., Answer]) -> None:
    """Two requests at once with one scheduler that remembers its last steps, and different numbers of steps."""
    both = [{"scheduler": "dpmpp_2m", "seed": seed, "num_inference_steps": steps} for seed, steps in ((1, 4), (2, 7))]
    alone = [ask(**values).frames() for values in both]
    together = [ask(**values) for values in both]
    for answer, frames in zip(together, alone, strict=True):
        assert levels(answer.frames(), frames) <= 1
    assert levels(ask(seed=1, num_inference_steps=4).frames(), alone[0]) > 1, "as with the checkpoint's own"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"prompt": None}, "prompt"),
        ({"n": 11}, "n"),
        ({"scheduler": "lcm"}, "scheduler"),
        ({"strength": 0.5}, "strength"),
        ({"mask_pixels": mask()}, "mask"),
        ({"pixels": image(), "strength": 0.1}, "strength"),
        ({"typo": 1}, "typo"),
    ],
)
def test_a_bad_request_is_answered_once_and_takes_no_slot(
    ask: Callable[..., Answer], values: dict[str, Any], field: str
) -> None:
    for _ in range(SETTINGS.max_active_requests + 1):
        answer = ask(**values)
        error = answer.error()
        assert isinstance(error, InvalidArgument)
        assert error.field == field
    assert ask().frames().shape[0] == 1


def test_a_request_that_fails_while_drawn_is_answered_once_and_frees_its_slot(
    offers: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = generate_with(offers)
    decoder = offers.tasks["text-to-image"].pipeline.vae.decoder
    hook = decoder.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("decoder broke")))
    failed = [Answer() for _ in range(SETTINGS.max_active_requests + 2)]
    for answer in failed:
        generator.submit(answer)
    assert {str(answer.error()) for answer in failed} == {"decoder broke"}
    hook.remove()
    good = Answer()
    generator.submit(good)
    assert good.frames().shape[0] == 1
    generator.close()


def test_a_cancelled_request_is_answered_as_such_and_frees_its_slot(ask: Callable[..., Answer]) -> None:
    others = [ask(num_inference_steps=ENDLESS) for _ in range(SETTINGS.max_active_requests - 1)]
    cancelled = ask(num_inference_steps=ENDLESS, n=2)
    cancelled.gone.set()
    assert isinstance(cancelled.error(), Cancelled)
    assert ask(num_inference_steps=2).frames().shape[0] == 1  # in its slot
    assert not any(other.answered for other in others)
    for other in others:
        other.gone.set()
    assert all(isinstance(other.error(), Cancelled) for other in others)


def test_a_client_that_leaves_while_waiting_for_a_slot_is_not_drawn(
    generator: Generator, ask: Callable[..., Answer]
) -> None:
    drawn = [ask(num_inference_steps=ENDLESS) for _ in range(SETTINGS.max_active_requests)]
    waiting = Answer()
    thread = threading.Thread(target=generator.submit, args=(waiting,))
    thread.start()
    assert waiting.asked.wait(PATIENCE_S)
    assert not waiting.answered
    waiting.gone.set()
    assert isinstance(waiting.error(), Cancelled)
    thread.join()
    for answer in drawn:
        answer.gone.set()
    assert all(isinstance(answer.error(), Cancelled) for answer in drawn)


def test_a_deadline_ends_a_request_that_is_drawn_and_one_that_waits(ask: Callable[..., Answer]) -> None:
    drawn = [ask(num_inference_steps=ENDLESS, timeout_ms=200) for _ in range(SETTINGS.max_active_requests)]
    waiting = ask(timeout_ms=1)  # blocks until there is a slot or its time is over
    assert isinstance(waiting.error(), DeadlineExceeded)
    assert all(isinstance(answer.error(), DeadlineExceeded) for answer in drawn)
    assert ask(timeout_ms=3_600_000).frames().shape[0] == 1


def test_close_finishes_what_is_being_drawn(offers: Pipelines) -> None:
    generator = generate_with(offers)
    answers = [Answer(num_inference_steps=10, n=2) for _ in range(4)]
    for answer in answers:
        generator.submit(answer)
    generator.close()
    assert all(answer.answered for answer in answers)
    assert all(answer.frames().shape[0] == 2 for answer in answers)


def test_close_refuses_what_takes_too_long(offers: Pipelines) -> None:
    settings = DiffusionSettings(
        max_active_requests=4, max_num_inference_steps=1000, default_num_inference_steps=ENDLESS, drain_timeout_s=0.05
    )
    generator = generate_with(offers, settings)
    answers = [Answer() for _ in range(4)]
    for answer in answers:
        generator.submit(answer)
    generator.close()
    assert all(isinstance(answer.error(), Unavailable) for answer in answers)


def test_close_leaves_no_thread_behind(offers: Pipelines) -> None:
    before = set(threading.enumerate())
    generator = generate_with(offers)
    answer = Answer()
    generator.submit(answer)
    answer.outputs()
    generator.close()
    assert set(threading.enumerate()) <= before


def test_an_answered_request_leaves_nothing_behind(generator: Generator) -> None:
    """Neither its inputs nor its frames, once the garbage collector has run."""
    drawn, refused = Answer(pixels=image(), n=2), Answer(num_inference_steps=ENDLESS)
    references = [weakref.ref(drawn), weakref.ref(refused)]
    generator.submit(drawn)
    generator.submit(refused)
    drawn.outputs()
    refused.gone.set()
    refused.error()
    del drawn, refused

    def are_gone() -> bool:
        gc.collect()
        return not any(reference() for reference in references)

    wait_until(are_gone)


def test_with_row_buckets_a_image_is_the_same_to_the_bit_whoever_shares_its_forwards(offers: Pipelines) -> None:
    generator = generate_with(offers, replace(SETTINGS, row_buckets=(16,)))
    try:
        alone = Answer(seed=7)
        generator.submit(alone)
        frames_alone = alone.frames()
        crowd = [Answer(seed=seed, num_inference_steps=4) for seed in range(3)]
        among_others = Answer(seed=7)
        for answer in (*crowd, among_others):
            generator.submit(answer)
        assert all(len(answer.frames()) == 1 for answer in crowd)
    finally:
        generator.close()
    assert np.array_equal(frames_alone, among_others.frames())


@pytest.mark.parametrize(("fixed_rows", "rows"), [(0.0, 2), (math.inf, 4)])
def test_where_rows_cost_a_short_request_has_its_forwards_for_itself(
    offers: Pipelines, monkeypatch: pytest.MonkeyPatch, fixed_rows: float, rows: int
) -> None:
    """Beside a long one: what a row costs, and how many steps each request has left, both reach the hub."""
    monkeypatch.setattr("forward_costs.ForwardCosts.fixed_rows", lambda self, signature: fixed_rows)
    with closing(generate_with(offers)) as generator:
        long, short = Answer(num_inference_steps=ENDLESS), Answer(num_inference_steps=4)
        generator.submit(long)
        wait_until(long.asked.is_set)
        generator.submit(short)
        assert short.report()["mean_batch_rows"] == rows
        long.gone.set()


@pytest.mark.parametrize(
    "report", ["", "[]", "{}", '{"milliseconds": {}, "started_s": 0, "finished_s": "x"}', "\udc80"]
)
def test_a_report_that_is_none_is_refused(ask: Callable[..., Answer], report: str) -> None:
    answer = ask(preprocess_report=np.array([report.encode(errors="surrogateescape")], dtype=np.object_))
    assert isinstance(answer.error(), InvalidArgument)


def test_what_preprocessing_reports_is_passed_on(ask: Callable[..., Answer]) -> None:
    before = {
        "milliseconds": {},
        "started_s": 0,
        "finished_s": 0,
        "warnings": ["image[0]: w"],
        "input_paths": {"image[0]": "/p"},
    }
    report = ask(prompt="red cat " * 400, preprocess_report=json.dumps(before)).report()
    assert report["input_paths"] == {"image[0]": "/p"}
    assert report["warnings"][0] == "image[0]: w"
    assert len(report["warnings"]) == 2
    assert "input_paths" not in ask().report()


def test_the_deadline_counts_from_when_preprocessing_ended(ask: Callable[..., Answer]) -> None:
    """So it covers the time in Triton's queue, and so does the queue's time in the report."""
    report = json.dumps({"milliseconds": {}, "started_s": 0, "finished_s": time.monotonic() - 5})
    assert ask(preprocess_report=report, timeout_ms=60_000).report()["milliseconds"]["queue"] >= 5000
    late = ask(preprocess_report=report, timeout_ms=4000)
    assert isinstance(late.error(), DeadlineExceeded)


def test_out_of_memory_of_a_single_image_is_unavailable(
    offers: Pipelines, ask: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(undelegated(offers.tasks["text-to-image"].pipeline.vae), "decode", decode)
    assert isinstance(ask().error(), Unavailable)
    monkeypatch.undo()
    assert len(ask().frames()) == 1


def test_a_prompt_that_is_cut_off_is_worth_a_warning(ask: Callable[..., Answer]) -> None:
    assert ask().report()["warnings"] == []
    (warning,) = ask(prompt="red cat " * 400, n=2).report()["warnings"]
    assert "of which the model reads" in warning


STREAM_ID = "0" * 16 + "." + "1" * 32


def told_of(offers: Pipelines, **values: Any) -> tuple[list[Event], Answer]:
    """What a stream is told of a request, and its answer."""
    told: list[Event] = []

    def tell(stream_id: str, event: Event) -> None:
        assert stream_id == STREAM_ID
        told.append(event)

    generator = generate_with(offers, tell=tell)
    answer = Answer(stream_id=STREAM_ID, **values)
    generator.submit(answer)
    generator.close()
    assert answer.answered
    return told, answer


def test_a_stream_is_told_of_each_step_and_of_the_end(offers: Pipelines) -> None:
    told, answer = told_of(offers, n=2, num_inference_steps=4, seed=1)
    assert told == [*(Progress(step, 4) for step in range(1, 5)), Ended()]
    assert answer.report()["warnings"] == []
    assert levels(answer.frames(), told_of(offers, n=2, num_inference_steps=4, seed=1)[1].frames()) <= 1


def test_a_stream_gets_its_previews(offers: Pipelines) -> None:
    told, _ = told_of(
        replace(offers, projection=fit_projection(offers.tasks["text-to-image"].pipeline)),
        n=2,
        num_inference_steps=6,
        partial_images=2,
        size="48x32",
    )
    looks = [event for event in told if isinstance(event, Preview)]
    assert sorted((look.image_index, look.preview_index) for look in looks) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {(look.size, look.pixels.shape) for look in looks} == {((48, 32), (16, 24, 3))}


def test_previews_that_the_model_cannot_give_are_worth_a_warning(offers: Pipelines) -> None:
    told, answer = told_of(offers, partial_images=1)
    assert not any(isinstance(event, Preview) for event in told)
    assert answer.report()["warnings"] == ["partial_images: this model offers no previews"]


def test_a_stream_whose_drawing_fails_is_told_of_the_end(offers: Pipelines) -> None:
    told, answer = told_of(offers, num_inference_steps=ENDLESS, timeout_ms=100)
    assert isinstance(answer.error(), DeadlineExceeded)
    assert told[-1] == Ended()


@pytest.mark.parametrize("stream_id", ["", "x", "../../x." + "0" * 32])
def test_a_stream_id_that_is_none_is_refused(ask: Callable[..., Answer], stream_id: str) -> None:
    error = ask(stream_id=stream_id).error()
    assert isinstance(error, InvalidArgument)
    assert error.field == "stream_id"


@pytest.mark.parametrize("name", ["mine", STREAM_ID])
def test_a_request_is_cancelled_by_either_of_its_names(generator: Generator, name: str) -> None:
    answer, other = (
        Answer(request_id, num_inference_steps=ENDLESS, stream_id=s)
        for request_id, s in (("mine", STREAM_ID), ("yours", None))
    )
    for each in (answer, other):
        generator.submit(each)
    assert not generator.cancel("nobody's")
    assert generator.cancel(name)
    assert isinstance(answer.error(), Cancelled)
    assert not other.answered
    assert generator.cancel("yours")
    assert isinstance(other.error(), Cancelled)
    wait_until(lambda: not generator.cancel("yours"))


def test_a_name_cancels_all_its_requests_those_that_wait_too_and_no_later_one(generator: Generator) -> None:
    drawn = [Answer("same", num_inference_steps=ENDLESS) for _ in range(SETTINGS.max_active_requests)]
    for answer in drawn:
        generator.submit(answer)
    waiting = Answer("same")
    thread = threading.Thread(target=generator.submit, args=(waiting,))
    thread.start()
    assert waiting.asked.wait(PATIENCE_S)
    entered_s = time.monotonic()
    assert generator.cancel("same")
    thread.join()
    assert all(isinstance(answer.error(), Cancelled) for answer in (*drawn, waiting))
    report = {"milliseconds": {}, "started_s": entered_s, "finished_s": entered_s}
    queued = Answer("same", preprocess_report=json.dumps(report))  # came before the cancel, but only now to us
    generator.submit(queued)
    assert isinstance(queued.error(), Cancelled)
    later = Answer("same", num_inference_steps=2)
    generator.submit(later)
    assert later.frames().shape[0] == 1


def test_requests_without_a_name_are_not_cancelled_by_the_empty_one(
    ask: Callable[..., Answer], generator: Generator
) -> None:
    answer = ask(num_inference_steps=100)
    assert not generator.cancel("")
    assert answer.frames().shape[0] == 1
