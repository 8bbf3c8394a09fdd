"""What the report says about the points of a journal, beside what was predicted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from perf.gpu.engine_points import BATCHES, ENGINE, FORECASTS, PIPELINE
from perf.gpu.flops import peak_tflops, share_percent
from perf.gpu.forwards import EAGER
from perf.gpu.journal import Journal
from perf.gpu.shapes import SHAPES
from perf.predict.prediction import DEVICES, Assumptions, predict
from perf.predict.tick import count_tick
from perf.report import Section, Target, table

_MOST_MEAN_LEVELS = 1.0
"""Between an image with neighbours and alone, in bf16: other numbers of rows take other kernels, which round anew."""
_MOST_CANCEL_S = 1.0
_TITLES = {ENGINE: "this engine", PIPELINE: "diffusers, one at a time", BATCHES: "diffusers, batches of equal steps"}

Point = tuple[tuple[str, ...], dict[str, Any]]


def section(journal: Journal, settings: Any, device_name: str) -> Section:
    """The whole report.

    Args:
        journal: what was measured.
        settings: how much.
        device_name: as torch has it.
    """
    points = {part: list(journal.of(part)) for part in ("mixed", "cancel", "memory", "forward", "overhead", "loops")}
    points["forecasts"] = list(journal.of("forecasts"))
    over = " Its time was over before all was measured; the next run goes on." if journal.is_over else ""
    paragraphs = [
        f"Random weights in bf16 on {device_name}, no files. {len(journal.points)} points.{over}",
        *_part("Right or wrong", "", _correctness(points)),
        *_part(
            "Forwards",
            "A step is one denoiser forward for all images, with guidance two rows an image but for Flux; an image is "
            "its usual steps and its share of the VAE, without text encoders. Predicted: images/s of 8 requests on "
            "the same GPU.",
            _forwards(points["forward"], device_name),
        ),
        *_part(
            "The engine's own share of a step",
            "Requests of equal steps that share every forward, all that the engine does included, against the forward.",
            _overheads(points["overhead"], points["forward"]),
        ),
        *_part("Closed loops", "Seven of ten requests have few steps; in turns.", _loops(points["loops"])),
        *_part("Step caches", "A closed loop of long requests.", _forecasts(points["forecasts"])),
    ]
    return Section(
        title="GPU: SD 1.5, SDXL, Flux and Qwen-Image in their published shapes",
        settings=settings,
        paragraphs=paragraphs,
        raw={"device": device_name, "points": journal.points},
        targets=list(_targets(points)),
        faults=journal.faults(),
    )


def _part(title: str, text: str, tables: str) -> list[str]:
    return [f"### {title}", *([text] if text else []), tables] if tables else []


def _correctness(points: Mapping[str, Sequence[Point]]) -> str:
    rows: list[tuple[object, ...]] = []
    for (model, side), one in points["mixed"]:
        rows.append((f"{model} {side}², with neighbours and alone", one["mixed_max"], one["mixed_mean"]))
        rows.append((f"{model} {side}², alone and by diffusers", one["plain_max"], one["plain_mean"]))
    for (model, side), one in points["memory"]:
        rows.append((f"{model} {side}², with little memory: {one['row_limit']} rows", one["max"], one["mean"]))
    return table(("images", "most levels", "mean"), rows) if rows else ""


def _forwards(points: Sequence[Point], device_name: str) -> str:
    if not points:
        return ""
    peak = peak_tflops(device_name)
    device = next((one for one in DEVICES[::-1] if one.name in device_name), None)
    by_key = {tuple(key): one for key, one in points}
    rows = []
    for (model, way, side, images), one in points:
        image_s = _image_s(by_key, model, way, side, images)
        alone_s = _image_s(by_key, model, way, side, "1") if (model, way, side, "1") in by_key else math.nan
        bandwidth = 100 * one["weight_bytes"] / one["step_s"] / device.bytes if device else math.nan
        predicted = math.nan
        if device and images == "8" and model in SHAPES:
            tick = count_tick(SHAPES[model], 8, int(side))
            predicted = predict(tick, SHAPES[model].steps, device, Assumptions(), way != EAGER).images_per_s
        share = share_percent(one["flops"], one["step_s"], peak)
        step_ms, gain = 1000 * one["step_s"], alone_s / image_s
        rows.append((f"{model}, {way}", f"{side}²", images, step_ms, image_s, gain, share, bandwidth, predicted))
    columns = ("model", "size", "images", "ms a step", "s an image", "gain", "% FLOP", "% bandwidth", "predicted/s")
    return table(columns, rows)


def _image_s(
    points: Mapping[tuple[str, ...], Mapping[str, Any]], model: str, way: str, side: str, images: str
) -> float:
    decode_s = points.get((model, EAGER, side, images), {}).get("decode_s", math.nan)
    steps = SHAPES[model].steps if model in SHAPES else 1
    seconds: float = (steps * points[model, way, side, images]["step_s"] + decode_s) / int(images)
    return seconds


def _overheads(points: Sequence[Point], forwards: Sequence[Point]) -> str:
    by_key = {tuple(key): one for key, one in forwards}
    rows = []
    for (model, side), one in points:
        forward = by_key.get((model, EAGER, side, str(one["images"])))
        bare_s = forward["step_s"] if forward else math.nan
        rows.append(
            (f"{model} {side}²", one["images"], 1000 * one["step_s"], 1000 * bare_s, 100 * (1 - bare_s / one["step_s"]))
        )
    return table(("model", "images", "ms a step", "ms of its forward", "% outside"), rows) if rows else ""


def _loops(points: Sequence[Point]) -> str:
    rows = [
        (
            f"{model} {side}², {_TITLES[name]}",
            one[name]["requests_per_s"],
            one[name]["short_p95_s"],
            one[name]["long_p50_s"],
        )
        for (model, side), one in points
        for name in _TITLES
    ]
    return table(("side", "requests/s", "short p95, s", "long p50, s"), rows) if rows else ""


def _forecasts(points: Sequence[Point]) -> str:
    rows = [
        (f"{model} {side}²", *(one[words]["requests_per_s"] for words in FORECASTS)) for (model, side), one in points
    ]
    return table(("requests/s", *FORECASTS), rows) if rows else ""


def _targets(points: Mapping[str, Sequence[Point]]) -> Iterable[Target]:
    for (model, side), one in points["mixed"]:
        mean = max(one["mixed_mean"], one["plain_mean"])
        together, alone = one["forwards_together"], one["forwards_alone"]
        yield Target(
            f"{model} {side}²: mixed, alone and by diffusers the same within {_MOST_MEAN_LEVELS:g} level on average",
            f"{mean:.2f} levels; {together} forwards instead of {alone}",
            mean <= _MOST_MEAN_LEVELS and together < alone,
        )
    for (model, side), one in points["cancel"]:
        yield Target(
            f"{model} {side}²: a cancelled request leaves within {_MOST_CANCEL_S:g} s, the next image is right",
            f"{one['freed_s']:.2f} s, {one['next_max']} levels",
            one["freed_s"] <= _MOST_CANCEL_S and not one["still_active"] and one["next_max"] <= 1,
        )
    for (model, side), one in points["memory"]:
        yield Target(
            f"{model} {side}²: where memory is short forwards are halved and nobody fails",
            f"{one['row_limit']} of {one['rows']} rows after {one['retries']} retries, {one['mean']:.2f} levels",
            one["retries"] > 0 and one["mean"] <= _MOST_MEAN_LEVELS,
        )
    for (model, side), one in points["loops"]:
        best = max(one[PIPELINE]["requests_per_s"], one[BATCHES]["requests_per_s"])
        ratio = one[ENGINE]["requests_per_s"] / best
        yield Target(f"{model} {side}²: more requests/s than the better of the two", f"{ratio:.2f}x", ratio > 1)
