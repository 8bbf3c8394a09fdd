"""Bytes on the device are accounted for by line, to the peak, and up to a limit."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from tests.accelerator import DEVICE, NAME, device_on_this_thread

HERE = Path(__file__)
MEMORY = DEVICE.memory
KEPT: list[torch.Tensor] = []


def line_of(mark: str) -> str:
    (number,) = [n for n, line in enumerate(HERE.read_text().splitlines(), 1) if line.endswith(f"# {mark}")]
    return f"tests/on_accelerator/{HERE.name}:{number}"


def planted_leak() -> None:
    latents = torch.ones(4).to(NAME)
    KEPT.append((latents * 2)[1:])  # planted leak


def planted_excess() -> torch.Tensor:
    latents = torch.ones(4).to(NAME)
    return torch.cat([latents] * 1000)  # planted excess


def test_a_planted_leak_is_found_at_its_line() -> None:
    with device_on_this_thread():
        gc.collect()  # what other tests have left
        before = MEMORY.by_line()
        planted_leak()
        gc.collect()
        leaked = MEMORY.by_line() - before
        KEPT.clear()
    assert leaked == {line_of("planted leak"): 16}, "a view keeps the whole storage"
    assert MEMORY.by_line() == before


def test_what_passes_the_limit_raises_torchs_own_error_and_leaves_nothing() -> None:
    with device_on_this_thread():
        held_bytes = MEMORY.live_bytes
        MEMORY.limit_bytes = held_bytes + 1000
        with pytest.raises(torch.OutOfMemoryError, match=r"out of memory: 16000 bytes") as caught:
            planted_excess()
        assert line_of("planted excess") in str(caught.value)
        assert held_bytes + 16 == MEMORY.peak_bytes
        del caught
        gc.collect()
        assert held_bytes == MEMORY.live_bytes


def test_views_and_writing_in_place_take_no_bytes() -> None:
    with device_on_this_thread():
        base = torch.ones(4, 4).to(NAME)
        held_bytes = MEMORY.live_bytes
        kept = [base[0], base.T, base.reshape(2, 8), base.expand(3, 4, 4), base.add_(1)]
        assert held_bytes == MEMORY.live_bytes
        del base
        assert held_bytes == MEMORY.live_bytes
        kept.clear()
        assert held_bytes - 64 == MEMORY.live_bytes


def test_the_peak_is_the_most_that_lived_at_the_same_time() -> None:
    with device_on_this_thread():
        base = torch.ones(100).to(NAME)
        held_bytes = MEMORY.live_bytes
        MEMORY.reset_peak()
        for _ in range(3):
            base = base + 1
        assert held_bytes + 400 == MEMORY.peak_bytes
        assert held_bytes == MEMORY.live_bytes


def test_it_tells_what_it_holds_as_cuda_does() -> None:
    device = torch.get_device_module(NAME)
    with device_on_this_thread():
        before_bytes = device.memory_allocated(NAME)
        device.reset_peak_memory_stats(NAME)
        base = torch.ones(100).to(NAME)
        (base + 1).cpu()
        assert device.memory_allocated(NAME) == before_bytes + 400
        assert device.max_memory_allocated(NAME) == before_bytes + 800
        MEMORY.limit_bytes = before_bytes + 1000
        assert device.mem_get_info(NAME) == (600, before_bytes + 1000)


def test_attention_holds_no_scores_however_it_is_called() -> None:
    """diffusers gives all by name; the scores of Flux's tokens would outweigh everything else."""
    with device_on_this_thread():
        x = torch.ones(1, 1, 500, 4).to(NAME)
        MEMORY.reset_peak()
        held_bytes = MEMORY.live_bytes
        torch.nn.functional.scaled_dot_product_attention(query=x, key=x, value=x)
        assert held_bytes + x.nbytes == MEMORY.peak_bytes
