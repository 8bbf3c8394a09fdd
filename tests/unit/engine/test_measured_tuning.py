"""The fastest way is chosen once, by real forwards, and is the same at the next start."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from imagegen.engine import Engine, EngineSettings, measured_tuning
from imagegen.engine.collate import DenoiserCall, describe, forward
from imagegen.engine.measured_tuning import MeasuredTuning, Way, fastest, ways
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, levels, pipelines

CPU = torch.device("cpu")
BOTH = SETTINGS.model_copy(update={"channels_last": "auto", "attention_backend": "auto"})
PLAIN, LAST = Way(), Way(channels_last=True)


@pytest.fixture
def call() -> DenoiserCall:
    unet = tiny.sd().unet
    given = {
        "sample": torch.randn(2, 4, 4, 4),
        "timestep": 5,
        "encoder_hidden_states": torch.randn(2, 77, unet.config.cross_attention_dim),
    }
    return describe(unet, (), given, 16, None, ())


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[Way]:
    """Channels-last takes half of the time; which ways were timed."""
    seen: list[Way] = []

    def forward_s(call: DenoiserCall) -> float:
        seen.append(LAST if is_channels_last(call.module) else PLAIN)
        return 0.5 if seen[-1] == LAST else 1.0

    monkeypatch.setattr(measured_tuning, "_forward_s", forward_s)
    return seen


def is_channels_last(module: nn.Module) -> bool:
    weights = [weight for weight in module.parameters() if weight.ndim == 4 and weight.shape[-1] > 1]
    return all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_what_is_configured_stays() -> None:
    unet = tiny.sd().unet
    assert ways(SETTINGS, unet, CPU) == [PLAIN]
    assert ways(SETTINGS.model_copy(update={"channels_last": True}), unet, CPU) == [LAST]
    assert ways(BOTH, unet, CPU) == [PLAIN, LAST]
    assert ways(BOTH, tiny.flux().transformer, CPU) == [PLAIN]
    on_gpu = ways(BOTH, unet, torch.device("cuda"))
    backends = ("", "_native_cudnn", "_native_efficient")
    assert on_gpu == [Way(*pair) for pair in itertools.product((False, True), backends)]


def test_the_fastest_is_applied_and_not_measured_again(call: DenoiserCall, timed: list[Way], tmp_path: Path) -> None:
    MeasuredTuning(BOTH, tmp_path).choose(call)
    assert is_channels_last(call.module)
    assert timed == [PLAIN, LAST]
    PLAIN.apply(call.module)
    MeasuredTuning(BOTH, tmp_path).choose(call)
    assert is_channels_last(call.module)
    assert timed == [PLAIN, LAST]


def test_a_torn_file_is_measured_anew(call: DenoiserCall, timed: list[Way], tmp_path: Path) -> None:
    for text in ("{", json.dumps({"channels_last": "yes"})):
        MeasuredTuning(BOTH, tmp_path).choose(call)
        PLAIN.apply(call.module)
        (file,) = tmp_path.iterdir()
        file.write_text(text)
    MeasuredTuning(BOTH, tmp_path).choose(call)
    assert len(timed) == 3 * 2


def test_a_folder_that_cannot_be_written_only_warns(
    call: DenoiserCall, timed: list[Way], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        MeasuredTuning(BOTH, tmp_path / "file").choose(call)
    assert is_channels_last(call.module)
    assert "measured at each start" in caplog.text


def test_the_default_stays_unless_another_is_clearly_faster(
    call: DenoiserCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(*seconds: float) -> Way:
        taken = iter(seconds)
        monkeypatch.setattr(measured_tuning, "_forward_s", lambda _: next(taken))
        return fastest(call, [PLAIN, LAST])

    assert chosen(1.0, 0.99) == PLAIN
    assert chosen(1.0, 0.9) == LAST
    assert chosen(1.0, 1.1) == PLAIN


def test_a_way_that_fails_is_left_out_and_the_default_may_not(call: DenoiserCall) -> None:
    broken = Way(attention_backend="no such one")
    assert fastest(call, [PLAIN, broken]) == PLAIN
    with pytest.raises(ValueError, match="no such one"):
        fastest(call, [broken, PLAIN])


def test_forwards_are_timed(call: DenoiserCall, monkeypatch: pytest.MonkeyPatch) -> None:
    forwards: list[int] = []

    def counted(calls: Sequence[DenoiserCall]) -> list[Any]:
        forwards.append(sum(each.rows for each in calls))
        return forward(calls)

    monkeypatch.setattr(measured_tuning, "forward", counted)
    assert fastest(call, [PLAIN, LAST]) in (PLAIN, LAST)
    assert set(forwards) == {8}


def test_an_engine_chooses_while_it_warms_up(timed: list[Way], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = BOTH.model_copy(update={"warmup_sizes": ("32x32",)})
    asked: Any = {"size": "32x32", "seed": 1, "num_inference_steps": 2}
    with Engine(SETTINGS, pipelines=pipelines()) as plain:
        expected = plain.generate("a cat", **asked).frames
    own = pipelines()
    try:
        with Engine(settings, pipelines=own) as engine:
            engine.warm_up()
            assert timed == [PLAIN, LAST]
            assert levels(engine.generate("a cat", **asked).frames, expected) <= 1
    finally:
        PLAIN.apply(own.tasks["text-to-image"].pipeline.unet)


@pytest.mark.parametrize("name", ["channels_last", "attention_backend"])
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"compile": "torch", "row_buckets": (16,)}, "auto is for compile off and one device"),
        ({"devices": ("cpu", "cpu")}, "auto is for compile off and one device"),
        ({"warmup_sizes": ("none",)}, "which are none"),
    ],
)
def test_where_nothing_can_be_measured_auto_is_refused(name: str, more: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=f"parameter {name}: .*{problem}"):
        EngineSettings.model_validate({"model": "tiny", name: "auto", **more})


def test_words_for_channels_last() -> None:
    read = {
        word: EngineSettings.model_validate({"channels_last": word}).channels_last for word in ("auto", "true", "false")
    }
    assert read == {"auto": "auto", "true": True, "false": False}
    with pytest.raises(ValidationError, match="channels_last"):
        EngineSettings.model_validate({"channels_last": "maybe"})
