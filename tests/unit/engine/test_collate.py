"""Merging, forwarding and splitting equals running each call by itself, and what differs is never merged."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from imagegen.engine.collate import Call, describe, forward

PIXELS = 64


class Denoiser(nn.Module):
    """Row-wise: each row of the output depends on that row of every input only. Counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor | None = None,
        added_cond_kwargs: dict[str, Any] | None = None,
        down_block_additional_residuals: Any = None,
        img_ids: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance: Tensor | None = None,
        extra: Any = None,
        return_dict: bool = True,
    ) -> Any:
        self.shapes.append(tuple(sample.shape))
        timestep = torch.as_tensor(timestep, dtype=torch.float32).reshape(-1).expand(sample.shape[0])
        row = timestep.clone()
        if encoder_hidden_states is not None:
            row = row + encoder_hidden_states.flatten(1).sum(1)
        for value in (added_cond_kwargs or {}).values():
            row = row if value is None else row + value.flatten(1).sum(1)
        for residual in down_block_additional_residuals or ():
            row = row + residual.flatten(1).sum(1)
        if img_ids is not None:
            row = row + img_ids.sum()
        if guidance is not None:
            row = row * guidance.expand(sample.shape[0])
        if isinstance(extra, Tensor) and extra.ndim:
            row = row + extra.flatten(1).sum(1)
        scale = (cross_attention_kwargs or {}).get("scale", 1.0)
        output = scale * sample + row.reshape(-1, *[1] * (sample.ndim - 1))
        return Output(sample=output) if return_dict else (output,)


@dataclass
class Output(OrderedDict):  # type: ignore[type-arg]
    """Shaped like a diffusers output: an ordered dict that is a dataclass."""

    sample: Tensor

    def __post_init__(self) -> None:
        self["sample"] = self.sample


class Transformer(nn.Module):
    """Works on lists of per-image tensors, as Z-Image does."""

    def forward(self, x: list[Tensor], t: Tensor, cap_feats: list[Tensor], return_dict: bool = True) -> Any:
        outputs = [sample * time + cap.sum() for sample, time, cap in zip(x, t, cap_feats, strict=True)]
        return (outputs,)


class ControlNet(nn.Module):
    """Gives back a list of batched tensors and one more."""

    def forward(self, sample: Tensor, timestep: Any, conditioning_scale: float = 1.0) -> Any:
        return [sample * conditioning_scale, sample.flatten(1)], sample.mean(1)


DENOISER = Denoiser()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Small integers, so that sums are exact in any order."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).float()


def call_of(module: nn.Module, *args: Any, **kwargs: Any) -> Call:
    return describe(module, args, kwargs, PIXELS)


def merges(*calls: Call) -> bool:
    return all(a.signature == b.signature for a, b in combinations(calls, 2))


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))


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


@given(
    contents=st.lists(
        st.lists(st.integers(0, 3), min_size=4, max_size=4).map(tuple), min_size=2, max_size=6, unique=True
    )
)
def test_different_ids_never_merge(contents: list[tuple[int, ...]]) -> None:
    """16x64 and 64x16 images have ids of one shape: merged, a part of the pixels would be wrong without an error."""
    calls = [call_of(DENOISER, numbers(1, 4), 1, img_ids=torch.tensor(ids).reshape(2, 2)) for ids in contents]
    assert len({call.signature for call in calls}) == len(contents)
    again = call_of(DENOISER, numbers(1, 4), 1, img_ids=torch.tensor(contents[0]).reshape(2, 2))
    assert merges(calls[0], again)


def test_ids_changed_in_place_get_a_new_signature() -> None:
    ids = torch.zeros(2, 3)
    before = call_of(DENOISER, numbers(1, 4), 1, img_ids=ids)
    ids[0] = 1
    assert not merges(before, call_of(DENOISER, numbers(1, 4), 1, img_ids=ids))


def test_batched_ids_merge_by_the_content_of_their_rows() -> None:
    def call(rows: int, value: float) -> Call:
        return call_of(DENOISER, numbers(rows, 4), 1, img_ids=torch.full((rows, 2, 3), value))

    assert merges(call(1, 1.0), call(2, 1.0))
    assert not merges(call(1, 1.0), call(1, 2.0))
    mixed = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)])
    assert not merges(
        call_of(DENOISER, numbers(2, 4), 1, img_ids=mixed), call_of(DENOISER, numbers(2, 4), 1, img_ids=mixed)
    )


BASE: dict[str, Any] = {"sample": numbers(2, 4), "timestep": 1}
OTHER_MODULE = Denoiser()


@pytest.mark.parametrize(
    "changed",
    [
        {"sample": numbers(2, 5)},
        {"sample": numbers(2, 4).double()},
        {"sample": numbers(2, 4).to("meta")},
        {"timestep": torch.ones(2, 3)},
        {"encoder_hidden_states": numbers(2, 1)},
        {"cross_attention_kwargs": {"scale": 0.5}},
        {"cross_attention_kwargs": {"scale": 1}},
        {"cross_attention_kwargs": {"scale": True}},
        {"return_dict": False},
        {"return_dict": 1},
    ],
)
def test_a_difference_in_kind_or_value_prevents_merging(changed: dict[str, Any]) -> None:
    base = BASE | {"cross_attention_kwargs": {"scale": 1.0}, "return_dict": True}
    assert merges(call_of(DENOISER, **base), call_of(DENOISER, **base))
    assert not merges(call_of(DENOISER, **base), call_of(DENOISER, **base | changed))


def test_different_modules_never_merge() -> None:
    assert not merges(call_of(DENOISER, **BASE), call_of(OTHER_MODULE, **BASE))


@pytest.mark.parametrize(
    "unknown",
    [
        {"extra": torch.Generator()},
        {"extra": object()},
        {"extra": numbers(3, 4)},  # neither batched nor known to be the same for all
        {"extra": [numbers(2, 4)]},  # per row, batched, or neither?
        {"encoder_hidden_states": numbers(1, 4)},
        {"added_cond_kwargs": {"cache": object()}},
        {"added_cond_kwargs": {"encoder_hidden_states_llama3": numbers(2, 2, 4)}},  # [layers, B, ...]
        {"timestep": "late"},
    ],
)
def test_unknown_kinds_of_arguments_run_alone_and_untouched(unknown: dict[str, Any]) -> None:
    arguments = BASE | unknown
    seen: list[Any] = []

    class Recorder(Denoiser):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs)

    module = Recorder()
    first, second = call_of(module, **arguments), call_of(module, **arguments)
    assert not merges(first, second)
    forward([first], row_buckets=(8,))
    assert all(seen[0][name] is value for name, value in arguments.items())
    assert first.forward_rows == first.rows == 2


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


def test_calls_with_surroundings_run_alone_inside_them() -> None:
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


def test_shapes_lists_with_one_entry_for_several_rows_merge() -> None:
    """Qwen-Image gives one entry a prompt, also for several images of it."""
    seen: list[Any] = []

    class Shaped(nn.Module):
        def forward(self, hidden_states: Tensor, img_shapes: Any) -> Tensor:
            seen.append(img_shapes)
            return hidden_states

    module = Shaped()
    calls = [call_of(module, numbers(2, 4), [[(1, 4, 2)]]), call_of(module, numbers(1, 4), [[(1, 4, 2)]])]
    assert merges(*calls)
    forward(calls)
    assert seen == [[[(1, 4, 2)]] * 3]
    assert not merges(calls[0], call_of(module, numbers(2, 4), [[(1, 2, 4)]]))
    two_sizes = [[(1, 4, 2)], [(1, 2, 4)]]
    assert not merges(call_of(module, numbers(2, 4), two_sizes), call_of(module, numbers(2, 4), two_sizes))
