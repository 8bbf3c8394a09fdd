"""Merging, forwarding and splitting equals running each call by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from imagegen.engine.adapters.adapter_table import ComponentAdapter, Updates
from imagegen.engine.collate import DenoiserCall, _rows_are_alike, describe, forward
from imagegen.engine.merge_rules import rule_of
from tests.unit.engine.collate_toys import (
    DENOISER,
    PIXELS,
    ControlNet,
    Denoiser,
    Transformer,
    call_of,
    equal,
    merges,
    numbers,
)

BASE: dict[str, Any] = {"sample": numbers(2, 4), "timestep": 1}


TIMESTEP_FORMS: dict[str, Callable[[int, int], Any]] = {
    "int": lambda value, rows: value,
    "float": lambda value, rows: float(value),
    "0-d": lambda value, rows: torch.tensor(value),
    "0-d float": lambda value, rows: torch.tensor(float(value)),
    "[1]": lambda value, rows: torch.tensor([value]),
    "[B]": lambda value, rows: torch.full((rows,), float(value)),
    "[B] int": lambda value, rows: torch.full((rows,), value),
}


@given(data=st.data())
def test_merged_calls_give_what_each_gives_alone(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3), label="shape of a row")
    has_added, has_guidance, positional, return_dict, as_list = (data.draw(st.booleans()) for _ in range(5))
    buckets = data.draw(st.sampled_from([(), (4,), (2, 8, 32)]), label="row buckets")
    calls, expected = [], []
    for seed in range(data.draw(st.integers(1, 4), label="calls")):
        rows = data.draw(st.integers(1, 4), label="rows")
        timestep = TIMESTEP_FORMS[data.draw(st.sampled_from(sorted(TIMESTEP_FORMS)))](seed * 7 + 1, rows)
        residuals = [numbers(rows, 2, seed=seed), numbers(rows, 1, 2, seed=seed)]
        kwargs: dict[str, Any] = {
            "encoder_hidden_states": numbers(rows, 2, 3, seed=seed),
            "added_cond_kwargs": {"text_embeds": numbers(rows, 2), "time_ids": None} if has_added else None,
            "down_block_additional_residuals": residuals if as_list else tuple(residuals),
            "guidance": torch.full((rows,), 2.0 + seed) if has_guidance else None,
            "img_ids": torch.arange(6.0).reshape(2, 3),
            "return_dict": return_dict,
        }
        sample = numbers(rows, *shape, seed=seed)
        args: tuple[Any, ...] = (sample, timestep) if positional else ()
        if not positional:
            kwargs |= {"sample": sample, "timestep": timestep}
        calls.append(describe(DENOISER, args, kwargs, PIXELS))
        expected.append(DENOISER(*args, **kwargs))
    assert merges(*calls)
    DENOISER.shapes.clear()
    outputs = forward(calls, buckets)
    assert len(DENOISER.shapes) == 1
    assert len(outputs) == len(calls)
    assert all(map(equal, outputs, expected))
    assert {call.forward_rows for call in calls} == {sum(call.rows for call in calls)}


@given(rows=st.lists(st.integers(1, 3), min_size=1, max_size=4), buckets=st.sampled_from([(), (16,)]))
def test_lists_of_samples_merge(rows: list[int], buckets: tuple[int, ...]) -> None:
    """Captions may differ in length: the model pads them."""
    module = Transformer()
    arguments = [
        (
            [numbers(2, 3, seed=i) for i in range(count)],
            torch.full((count,), float(count)),
            [numbers(4, 2, seed=i) for i in range(count)],
        )
        for count in rows
    ]
    calls = [call_of(module, *args) for args in arguments]
    assert merges(*calls)
    assert all(equal(output, module(*args)) for output, args in zip(forward(calls, buckets), arguments, strict=True))


@given(rows=st.lists(st.integers(1, 4), min_size=1, max_size=4), buckets=st.sampled_from([(), (16,)]))
def test_lists_of_batched_outputs_split(rows: list[int], buckets: tuple[int, ...]) -> None:
    """Also where the list is as long as the batch has rows."""
    module = ControlNet()
    calls = [call_of(module, numbers(count, 2, 2), 5, conditioning_scale=0.5) for count in rows]
    outputs = forward(calls, buckets)
    assert all(equal(output, module(*call.args, **call.given)) for output, call in zip(outputs, calls, strict=True))


def test_a_single_call_is_passed_through_untouched() -> None:
    timestep = torch.tensor(3)
    seen: list[Any] = []

    class Recorder(nn.Module):
        def forward(self, sample: Tensor, timestep: Any, **kwargs: Any) -> Any:
            seen.append((sample, timestep, kwargs))
            return (sample,)

    sample = numbers(2, 4)
    call = call_of(Recorder(), sample, timestep, return_dict=False)
    assert forward([call])[0][0] is sample
    assert seen[0][0] is sample
    assert seen[0][1] is timestep
    assert seen[0][2] == {"return_dict": False}


def test_row_buckets_pad_with_the_last_row_and_cut_it_off() -> None:
    module = Denoiser()
    calls = [call_of(module, numbers(rows, 4, seed=rows), 1, return_dict=False) for rows in (1, 2)]
    outputs = forward(calls, row_buckets=(2, 5, 8))
    assert module.shapes == [(5, 4)]
    assert [output[0].shape[0] for output in outputs] == [1, 2]
    forward(calls, row_buckets=(2,))
    assert module.shapes[-1] == (3, 4)  # more than the last bucket


def test_rows_and_pixels() -> None:
    call = call_of(DENOISER, numbers(3, 4), 1)
    assert (call.rows, call.pixels) == (3, 3 * PIXELS)


def test_calls_with_a_context_of_their_own_run_alone_inside_it() -> None:
    events: list[str] = []

    @contextmanager
    def around() -> Any:
        events.append("in")
        yield
        events.append("out")

    calls = [describe(DENOISER, (), BASE, PIXELS, around) for _ in range(2)]
    assert not merges(*calls)
    forward(calls[:1])
    assert events == ["in", "out"]


def test_an_output_without_rows_is_an_error_not_a_wrong_image() -> None:
    class Summing(nn.Module):
        def forward(self, sample: Tensor, timestep: Any) -> Any:
            return sample.sum(0, keepdim=True)

    module = Summing()
    with pytest.raises(ValueError, match=r"shape \[1, 4\]; 4 rows were expected"):
        forward([call_of(module, **BASE), call_of(module, **BASE)])


def test_rows_of_several_lengths_share_with_the_same_adapters_alone() -> None:
    """A layer on the tokens of all rows cannot tell rows apart: one of them would get another one's adapter."""
    module = torch.nn.Linear(2, 2)
    one = ComponentAdapter("digest", {})

    def call(lengths: tuple[int, ...], updates: Updates) -> DenoiserCall:
        captions = [torch.zeros(length, 2) for length in lengths]
        return DenoiserCall(
            module, (), {}, 2, 2, torch.device("cpu"), rules=(("cap_feats", rule_of("cap_feats", captions, 2)),),
            updates=updates,
        )  # fmt: skip

    assert not _rows_are_alike(call((3, 5), ((one, 1.0),)))
    assert _rows_are_alike(call((3, 3), ((one, 1.0),)))


def test_what_is_not_there_merges_with_what_is_left_out() -> None:
    """Some pipelines pass None, or an empty dict, where others pass nothing."""
    given = call_of(DENOISER, **BASE, extra=None, cross_attention_kwargs={})
    assert merges(given, call_of(DENOISER, **BASE))
    assert not merges(given, call_of(DENOISER, **BASE, cross_attention_kwargs={"scale": 0.5}))


def test_residuals_of_one_network_merge_with_those_of_several() -> None:
    """One hands over a tuple, several a list."""
    residuals = [numbers(2, 4), numbers(2, 4, seed=1)]
    calls = [call_of(DENOISER, **BASE, down_block_additional_residuals=kind(residuals)) for kind in (tuple, list)]
    assert merges(*calls)
    assert equal(*forward(calls))
