"""What is asked of servers with checkpoints of real size: one function a question, its targets and numbers."""

from __future__ import annotations

import contextlib
import http.client
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai

from imagegen_client import Cancelled, DeadlineExceeded, ImageClient
from perf.real_sizes.serving import ServeProcess
from perf.report import Target
from perf.turns import rotated

_MOST_LOSS_PERCENT = 3.0
_MOST_IDLE_PERCENT = 0.5
_MOST_READY_S = 60.0  # beyond the time that loading takes
_MOST_RECOVERY_S = 10.0  # the same
_MOST_LATE_S = 0.2
_METRICS_EVERY_S = 0.25  # how often a server hands its numbers over
_MOST_PEAK = 1.1
_MOST_WAIT_S = 120.0
_INTO_A_FORWARD_S = 2.0
_FOUR_AT_ONCE = (4, 10, 4, 10)  # steps
_GIB = 2**30

Answer = tuple[Target, dict[str, Any]]
"""The target with what was reached, and the numbers."""


def start(serve: ServeProcess) -> list[Answer]:
    """Is it ready soon after the weights are loaded, with no more memory than stays?"""
    process = serve.diffusion()
    assert process is not None
    rests = process.memory_info().rss
    after_s = serve.ready_s - serve.load_s
    ready = Target(
        f"ready within {_MOST_READY_S:g} s beyond loading",
        f"{serve.ready_s:.0f} s, the weights were there after {serve.load_s:.0f} s",
        after_s <= _MOST_READY_S,
    )
    peak = Target(
        f"at most {_MOST_PEAK:g} times the memory that stays, resident after the warm-up, while it starts",
        f"{serve.peak_bytes / _GIB:.1f} GiB, {rests / _GIB:.1f} GiB stay",
        serve.peak_bytes <= _MOST_PEAK * rests,
    )
    numbers = {"ready_s": serve.ready_s, "load_s": serve.load_s}
    return [(ready, numbers), (peak, {"peak_bytes": serve.peak_bytes, "rests_bytes": rests})]


def frontend(beside: ServeProcess, without: ServeProcess, rounds: int) -> list[Answer]:
    """Do requests on Triton's port take as long beside a frontend as without one?"""
    seconds: dict[str, list[float]] = {"beside": [], "without": []}
    servers = {"beside": beside, "without": without}
    for number in range(-1, rounds):  # the first round warms up
        for name in rotated(list(servers), max(number, 0)):
            taken_s = _four_at_once(servers[name], number)
            if number >= 0:
                seconds[name].append(taken_s)
    beside_s, without_s = (statistics.median(seconds[name]) for name in servers)
    loss = 100 * (beside_s / without_s - 1)
    reached = f"{beside_s:.1f} s beside, {without_s:.1f} s without, medians of {rounds}: {loss:+.1f} %"
    meaning = f"4, 10, 4 and 10 steps of 256x256 at once: at most {_MOST_LOSS_PERCENT:g} % longer beside a frontend"
    return [(Target(meaning, reached, loss <= _MOST_LOSS_PERCENT), {"seconds": seconds})]


def _four_at_once(serve: ServeProcess, number: int) -> float:
    with ImageClient(serve.endpoints["gRPC"]) as client, ThreadPoolExecutor(len(_FOUR_AT_ONCE)) as pool:
        started_s = time.monotonic()
        for _ in pool.map(
            lambda pair: client.generate(
                f"a cat, {number}", size="256x256", seed=pair[0], num_inference_steps=pair[1], timeout_s=1200
            ),
            enumerate(_FOUR_AT_ONCE),
        ):
            pass
        return time.monotonic() - started_s


def idle(serve: ServeProcess, seconds: float) -> list[Answer]:
    """Does nothing use the device while nobody asks for anything?"""
    process = serve.diffusion()
    assert process is not None
    before, forwards = sum(process.cpu_times()[:2]), serve.metric("imagegen_diffusion_forwards_total")
    time.sleep(seconds)
    share = 100 * (sum(process.cpu_times()[:2]) - before) / seconds
    forwards = serve.metric("imagegen_diffusion_forwards_total") - forwards
    reached = f"{share:.2f} % of a core by the process that holds the model, {forwards:.0f} forwards"
    target = Target(
        f"under {_MOST_IDLE_PERCENT:g} % of the device in {seconds / 60:g} idle minutes",
        reached,
        share < _MOST_IDLE_PERCENT and not forwards,
    )
    return [(target, {"percent": share, "forwards": forwards})]


def long_request(serve: ServeProcess, size: str, steps: int) -> list[Answer]:
    """Is a server that works on one long request ready throughout, and does OpenAI's SDK get a small image before?"""
    answers: list[Answer] = []
    with openai.OpenAI(base_url=serve.endpoints["OpenAI"], api_key="none", timeout=3600, max_retries=0) as client:
        started_s = time.monotonic()
        small = client.images.generate(prompt="a cat", size="256x256", extra_body={"num_inference_steps": 4})
        small_s = time.monotonic() - started_s
        has_image = bool(small.data and small.data[0].b64_json)
        answers.append(
            (Target("openai-python gets a 256x256 image", f"{small_s:.0f} s", has_image), {"seconds": small_s})
        )
        with _watched(serve) as looks, ImageClient(serve.endpoints["gRPC"]) as triton:
            started_s = time.monotonic()
            triton.generate("a dog", size=size, seed=1, num_inference_steps=steps, timeout_s=3000)
            taken_s = time.monotonic() - started_s
    ready = sum(looks)
    reached = f"{taken_s:.0f} s, ready {ready} of {len(looks)} times that it was asked"
    target = Target(f"ready throughout a request of {size} in {steps} steps", reached, ready == len(looks) > 0)
    return [*answers, (target, {"seconds": taken_s, "ready": ready, "asked": len(looks)})]


@contextlib.contextmanager
def _watched(serve: ServeProcess) -> Iterator[list[bool]]:
    looks: list[bool] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1.0):
            looks.append(serve.is_ready())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield looks
    finally:
        over.set()
        thread.join()


def crash(serve: ServeProcess) -> list[Answer]:
    """How long after the death of the process that holds the model is there an image again?"""
    process = serve.diffusion()
    assert process is not None
    process.kill()
    killed_s = time.monotonic()
    while True:
        with contextlib.suppress(Exception), ImageClient(serve.endpoints["gRPC"]) as client:
            client.generate("a cat", size="256x256", num_inference_steps=1, timeout_s=300)
            break
        time.sleep(0.2)
        if time.monotonic() - killed_s > 600:
            raise TimeoutError(serve.said()[-1000:])
    taken_s = time.monotonic() - killed_s
    reached = f"{taken_s:.0f} s; at the start the weights were there after {serve.load_s:.0f} s"
    meaning = f"kill -9 of the process that holds the model: an image within {_MOST_RECOVERY_S:g} s beyond loading"
    met = taken_s <= serve.load_s + _MOST_RECOVERY_S
    return [(Target(meaning, reached, met), {"seconds": taken_s, "load_s": serve.load_s})]


def in_time(serve: ServeProcess) -> list[Answer]:
    """Is a request that cannot be finished responded to at its moment, though a forward runs for long?

    The server is to be one that takes requests whatever they are expected to take.
    """
    long: dict[str, Any] = {"size": "512x512", "num_inference_steps": 50, "seed": 1}
    return [
        _late("timeout_ms=20000", 20.0, lambda: _deadline_s(serve, long)),
        _late("a cancel", 0.0, lambda: _cancel_s(serve, long)),
        _late("a closed connection, until the metrics count it", 0.0, lambda: _closed_s(serve, long), _METRICS_EVERY_S),
    ]


def _late(what: str, due_s: float, measure: Callable[[], float], seen_every_s: float = 0.0) -> Answer:
    taken_s, latest_s = measure(), due_s + _MOST_LATE_S + seen_every_s
    target = Target(
        f"{what}: between {due_s:g} and {latest_s:g} s, of 512x512 in 50 steps",
        f"{taken_s:.3f} s",
        due_s <= taken_s <= latest_s,
    )
    return target, {"seconds": taken_s}


def _deadline_s(serve: ServeProcess, long: dict[str, Any]) -> float:
    with ImageClient(serve.endpoints["gRPC"]) as client:
        started_s = time.monotonic()
        with contextlib.suppress(DeadlineExceeded):
            client.generate("a cat", timeout_ms=20_000, timeout_s=120, **long)
        return time.monotonic() - started_s


def _cancel_s(serve: ServeProcess, long: dict[str, Any]) -> float:
    _wait_until_active(serve, 0)
    with ImageClient(serve.endpoints["gRPC"]) as client, ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.generate, "a cat", request_id="long", timeout_s=300, **long)
        _wait_until_active(serve)
        cancelled_s = time.monotonic()
        client.cancel("long")
        with contextlib.suppress(Cancelled):
            future.result()
        return time.monotonic() - cancelled_s


def _closed_s(serve: ServeProcess, long: dict[str, Any]) -> float:
    _wait_until_active(serve, 0)  # what was cancelled before is given up at its next step
    before = serve.metric("imagegen_diffusion_cancellations_total")
    host = serve.endpoints["OpenAI"].split("/")[2]
    connection = http.client.HTTPConnection(host, timeout=60)
    body = {"prompt": "a cat", "size": long["size"], "num_inference_steps": long["num_inference_steps"]}
    connection.request("POST", "/v1/images/generations", json.dumps(body), {"Content-Type": "application/json"})
    _wait_until_active(serve)
    connection.close()
    closed_s = time.monotonic()
    while serve.metric("imagegen_diffusion_cancellations_total") == before:
        if time.monotonic() - closed_s > _MOST_WAIT_S:
            break  # too late for any target
        time.sleep(0.01)
    return time.monotonic() - closed_s


def _wait_until_active(serve: ServeProcess, requests: int = 1) -> None:
    """Wait until so many requests are generated, and into a forward of them.

    Raises:
        TimeoutError: it never came to that, and what would be measured now is something else.
    """
    deadline_s = time.monotonic() + _MOST_WAIT_S
    while (active := serve.metric("imagegen_diffusion_active_requests")) != requests:
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{active:g} requests active after {_MOST_WAIT_S:g} s instead of {requests}")
        time.sleep(0.1)
    time.sleep(_INTO_A_FORWARD_S)  # the metrics of before have come by then as well
