"""Several ranks give what one gives, and what fails on one of them fails like on one."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine.collate import describe, forward
from imagegen.engine.packing import pack
from imagegen.engine.ranks import rank as rank_module
from imagegen.engine.ranks import rank_group
from imagegen.engine.worker.messages import FATAL_DEVICE_FAULT, RANK_LOST
from tests.unit.engine.ranks.conftest import Ended
from tests.unit.tiny_engine import wait_until


class Doubling(torch.nn.Module):
    """A denoiser: 2 x for each row. A row of 13 fails; one of 14 takes more memory than there is."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards: list[int] = []  # rows of each

    def forward(self, sample: Any, timestep: Any = None, return_dict: bool = False) -> Any:
        self.forwards.append(len(sample))
        if (sample == 13).any():
            raise ValueError("an unlucky row")
        if (sample == 14).any():
            raise torch.OutOfMemoryError("too much")
        return (sample * 2 + timestep[:, None],) if timestep is not None else (sample * 2,)


def pipeline_of(module: torch.nn.Module) -> Any:
    return SimpleNamespace(unet=module)


def call(module: torch.nn.Module, *values: float, step: float | None = None) -> Any:
    sample = torch.tensor(values)[:, None].expand(-1, 3).contiguous()  # [B, 3]
    return describe(module, (sample,), {"timestep": step}, 1)


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8])
def test_rows_come_back_in_order_whoever_computed_them(group_of: Any, ranks: int, rows: int) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), ranks)
    calls = [call(module, float(row), step=row / 10) for row in range(rows)]
    outputs = forward(calls, ranks=group)
    assert [output[0][0, 0].item() for output in outputs] == pytest.approx([2.1 * row for row in range(rows)])
    assert module.forwards == [-(-rows // ranks)]


def test_both_rows_of_guidance_are_parted_and_so_is_a_padded_bucket(group_of: Any) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 2)
    ((output,),) = forward([call(module, 1.0, 2.0, step=0.5)], ranks=group)
    assert output[:, 0].tolist() == [2.5, 4.5]
    ((output,),) = forward([call(module, 1.0, 2.0, step=0.5)], (4,), ranks=group)
    assert output[:, 0].tolist() == [2.5, 4.5]
    assert module.forwards == [1, 2]


def test_what_runs_alone_or_is_known_to_this_rank_only_stays_here(group_of: Any) -> None:
    module, other = Doubling(), Doubling()
    group = group_of(pipeline_of(module), 2)
    unmergeable = describe(module, (torch.ones(2, 3),), {"timestep": object()}, 1)
    assert unmergeable.rules is None
    with pytest.raises(TypeError):
        forward([unmergeable], ranks=group)
    assert forward([call(other, 1.0, 2.0)], ranks=group)[0][0].tolist() == [[2.0] * 3, [4.0] * 3]
    assert module.forwards == [2]
    assert other.forwards == [2]


@pytest.mark.parametrize(("value", "kind"), [(13.0, ValueError), (14.0, torch.OutOfMemoryError)])
@pytest.mark.parametrize("place", [0, 1])
def test_a_row_that_fails_is_an_error_on_whichever_rank_and_then_all_goes_on(
    group_of: Any, value: float, kind: type[Exception], place: int
) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 2)
    values = [1.0, 1.0]
    values[place] = value
    for _ in range(2):
        with pytest.raises(kind):
            forward([call(module, *values)], ranks=group)
        assert forward([call(module, 1.0, 2.0)], ranks=group)[0][0][:, 0].tolist() == [2.0, 4.0]


def test_arguments_that_cannot_be_packed_leave_no_rank_with_half_a_call(
    group_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 3)
    packs = iter([pack, None])

    def short_of_memory(value: Any, device: torch.device) -> Any:
        if (packing := next(packs, pack)) is None:
            raise torch.OutOfMemoryError("too much")
        return packing(value, device)

    monkeypatch.setattr(rank_group, "pack", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError):
        forward([call(module, 1.0, 2.0, 3.0)], ranks=group)
    assert forward([call(module, 1.0, 2.0, 3.0)], ranks=group)[0][0][:, 0].tolist() == [2.0, 4.0, 6.0]


def test_an_output_that_cannot_be_packed_is_an_error_of_the_forward(
    group_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 2)

    with monkeypatch.context() as patched:
        patched.setattr(rank_module, "pack", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("too much")))
        with pytest.raises(torch.OutOfMemoryError):
            forward([call(module, 1.0, 2.0)], ranks=group)
    assert forward([call(module, 1.0, 2.0)], ranks=group)[0][0][:, 0].tolist() == [2.0, 4.0]


def test_where_compiling_the_first_rank_goes_first(group_of: Any) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 2, compile="torch", row_buckets=(16,))
    assert forward([call(module, 1.0, 2.0)], (2,), ranks=group)[0][0][:, 0].tolist() == [2.0, 4.0]


def test_by_context_every_rank_runs_the_whole_forward(group_of: Any) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 3, parallelism="context")
    assert forward([call(module, 1.0, 2.0)], ranks=group)[0][0][:, 0].tolist() == [2.0, 4.0]
    for _ in range(2):
        with pytest.raises(ValueError, match="unlucky"):
            forward([call(module, 13.0, 2.0)], ranks=group)
    assert forward([call(module, 3.0)], ranks=group)[0][0][:, 0].tolist() == [6.0]
    with pytest.raises(TypeError):
        forward([describe(module, (torch.ones(2, 3),), {"timestep": 1j}, 1)], ranks=group)
    assert module.forwards == [2, 2, 2, 1, 2]


def test_by_context_a_rank_that_waits_for_one_that_failed_is_the_end(
    group_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rank_group, rank_module):
        monkeypatch.setattr(module, "SETTLED_WITHIN_S", 0.1)
    denoiser = Doubling()
    group = group_of(pipeline_of(denoiser), 2, parallelism="context")
    monkeypatch.setattr(rank_module.Rank, "_forward", lambda *_: None)  # in a collective, for ever
    with pytest.raises(Ended):
        forward([call(denoiser, 13.0, 2.0)], ranks=group)
    assert group_of.ended.get(timeout=20) == RANK_LOST


def test_by_context_a_rank_that_fails_alone_ends(group_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_module, "SETTLED_WITHIN_S", 0.1)
    denoiser = Doubling()
    group = group_of(pipeline_of(denoiser), 2, parallelism="context")
    waits: queue.Queue[None] = queue.Queue()
    monkeypatch.setattr(denoiser, "forward", lambda *_, **__: waits.get(timeout=20))

    def release() -> None:
        assert group_of.ended.get(timeout=20) == RANK_LOST
        waits.put(None)

    releasing = threading.Thread(target=release)
    releasing.start()
    with pytest.raises(Ended):  # as soon as this one comes out of its collective
        forward([call(denoiser, 13.0, 2.0)], ranks=group)
    releasing.join()


@pytest.mark.parametrize("parallelism", ["rows", "context"])
def test_the_tensors_of_a_forward_that_failed_are_gone_when_it_is_tried_again(group_of: Any, parallelism: str) -> None:
    activations: list[Any] = []

    class Failing(torch.nn.Module):
        def forward(self, sample: Any, timestep: Any = None) -> Any:
            activation = sample * 2
            activations.append(weakref.ref(activation))
            raise torch.OutOfMemoryError("too much")

    module = Failing()
    group = group_of(pipeline_of(module), 2, parallelism=parallelism)
    gc.disable()
    try:
        with pytest.raises(torch.OutOfMemoryError) as raised:
            forward([call(module, 1.0, 2.0)], ranks=group)
        del raised
        assert len(activations) == 2
        wait_until(lambda: all(activation() is None for activation in activations))  # the other one's in its thread
    finally:
        gc.enable()


@pytest.mark.parametrize("parallelism", ["rows", "context"])
def test_replies_that_nobody_reads_are_the_end(
    group_of: Any, parallelism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next forward would take them for its own."""
    module = Doubling()
    group = group_of(pipeline_of(module), 3, parallelism=parallelism)
    sends = iter([True, False])
    send = type(group_of.ranks[0]).send

    def short_of_memory(self: Any, message: Any) -> None:
        if not next(sends, True):
            raise MemoryError
        send(self, message)

    monkeypatch.setattr(type(group_of.ranks[0]), "send", short_of_memory)
    with pytest.raises(Ended):
        forward([call(module, 1.0, 2.0, 3.0)], ranks=group)
    assert group_of.ended.get(timeout=20) == RANK_LOST


def test_a_group_that_is_lost_is_the_end_not_a_failed_batch(group_of: Any) -> None:
    module = Doubling()
    group = group_of(pipeline_of(module), 2)
    group_of.queues.is_lost = True
    with pytest.raises(Ended):
        forward([call(module, 1.0, 2.0)], ranks=group)
    assert group_of.ended.get(timeout=20) == RANK_LOST


@pytest.mark.parametrize(("status", "reason"), [(-9, RANK_LOST), (1, RANK_LOST), (70, FATAL_DEVICE_FAULT)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_end_of_a_rank_is_the_end(group_of: Any, status: int, reason: int) -> None:
    group_of(pipeline_of(Doubling()), 3)
    group_of.ranks[1].exit(status)
    assert group_of.ended.get(timeout=20) == reason


def test_ranks_that_are_closed_are_not_lost(group_of: Any) -> None:
    group = group_of(pipeline_of(Doubling()), 2)
    group.close()
    with pytest.raises(queue.Empty):
        group_of.ended.get(timeout=0.05)


def test_a_rank_that_cannot_load_says_why(group_of: Any) -> None:
    group_of.problem = OSError("no such file")
    with pytest.raises(OSError, match="rank 1: no such file"):
        group_of(pipeline_of(Doubling()), 2)


def test_by_rows_any_size_will_do(group_of: Any) -> None:
    group_of(pipeline_of(Doubling()), 2).check_size((8, 8), 8)


def test_by_context_sizes_are_refused_whose_tokens_cannot_be_parted(group_of: Any) -> None:
    group = group_of(pipeline_of(Doubling()), 2, parallelism="context")
    group.check_size((16, 8), 8)
    with pytest.raises(InvalidArgument, match="size"):
        group.check_size((8, 8), 8)
    with pytest.raises(InvalidArgument, match="reference_image: not with parallelism context"):
        group.check_size((16, 8), 8, has_references=True)
