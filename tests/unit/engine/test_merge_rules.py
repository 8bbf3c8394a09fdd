"""What differs between two calls is never merged, and an argument of an unknown kind runs alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import profile

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.merge_rules import per_row
from tests.unit.engine.collate_toys import DENOISER, Denoiser, call_of, merges, numbers


@given(
    contents=st.lists(
        st.lists(st.integers(0, 3), min_size=4, max_size=4).map(tuple), min_size=2, max_size=6, unique=True
    )
)
def test_different_ids_never_merge(contents: list[tuple[int, ...]]) -> None:
    """16x64 and 64x16 images have ids of one shape: merged, a part of the pixels would be wrong without an error."""
    calls = [call_of(DENOISER, numbers(1, 4), 1, img_ids=torch.tensor(ids).reshape(2, 2)) for ids in contents]
    assert len({call.batch_key for call in calls}) == len(contents)
    again = call_of(DENOISER, numbers(1, 4), 1, img_ids=torch.tensor(contents[0]).reshape(2, 2))
    assert merges(calls[0], again)


def test_ids_changed_in_place_get_a_new_batch_key() -> None:
    ids = torch.zeros(2, 3)
    before = call_of(DENOISER, numbers(1, 4), 1, img_ids=ids)
    ids[0] = 1
    assert not merges(before, call_of(DENOISER, numbers(1, 4), 1, img_ids=ids))


def test_batched_ids_merge_by_the_content_of_their_rows() -> None:
    def call(rows: int, value: float) -> DenoiserCall:
        return call_of(DENOISER, numbers(rows, 4), 1, img_ids=torch.full((rows, 2, 3), value))

    assert merges(call(1, 1.0), call(2, 1.0))
    assert not merges(call(1, 1.0), call(1, 2.0))
    mixed = torch.stack([torch.zeros(2, 3), torch.ones(2, 3)])
    assert not merges(
        call_of(DENOISER, numbers(2, 4), 1, img_ids=mixed), call_of(DENOISER, numbers(2, 4), 1, img_ids=mixed)
    )


@pytest.mark.parametrize("timestep", [7, 7.5, torch.tensor(7), torch.tensor([7.5]), torch.tensor(7.5)], ids=str)
def test_a_number_of_the_host_becomes_one_of_each_row_by_one_operation(timestep: Any) -> None:
    """Each request pays it in each step."""
    with torch.no_grad(), profile() as seen:
        rows = per_row(timestep, 3)
    assert torch.equal(rows, torch.full((3,), float(timestep)))
    assert {event.key for event in seen.key_averages()} & {"aten::reshape", "aten::expand", "aten::to"} == set()


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
