"""Kernels are counted as a GPU would run them: their number, their arithmetic, the bytes they move."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from perf.predict.kernels import Kernel, KernelCount

BF16 = 2  # bytes


def counted(compute: Callable[[], object]) -> list[Kernel]:
    with torch.no_grad(), KernelCount() as count:
        compute()
    return count.kernels


def tensor(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def test_a_matrix_product_is_two_operations_for_each_multiply_add() -> None:
    a, b = tensor(3, 5), tensor(5, 7)
    assert counted(lambda: a @ b) == [Kernel("mm", 2 * 3 * 5 * 7, BF16 * (3 * 5 + 5 * 7 + 3 * 7))]


def test_a_linear_layer_is_one_kernel_that_reads_weight_and_bias() -> None:
    layer = torch.nn.Linear(5, 7, device="meta", dtype=torch.bfloat16)
    x = tensor(2, 3, 5)
    [kernel] = counted(lambda: layer(x))
    assert (kernel.name, kernel.flops) == ("addmm", 2 * 6 * 5 * 7)
    assert kernel.bytes == BF16 * (6 * 5 + 5 * 7 + 7 + 6 * 7)


def test_a_convolution_counts_its_window() -> None:
    layer = torch.nn.Conv2d(4, 8, 3, padding=1, device="meta", dtype=torch.bfloat16)
    x = tensor(2, 4, 16, 16)
    [kernel] = counted(lambda: layer(x))
    assert kernel.flops == 2 * 2 * 8 * 16 * 16 * 4 * 9


@pytest.mark.parametrize(("queries", "keys", "masked"), [(16, 16, False), (16, 77, False), (16, 77, True)])
def test_attention_is_one_kernel_that_writes_no_scores(queries: int, keys: int, masked: bool) -> None:
    q, k, v = tensor(2, 4, queries, 8), tensor(2, 4, keys, 8), tensor(2, 4, keys, 8)
    mask = tensor(2, 1, 1, keys, dtype=torch.bool) if masked else None
    [kernel] = counted(lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    assert kernel.flops == 2 * 2 * (2 * 4 * queries * keys * 8)
    assert kernel.bytes == BF16 * 2 * 4 * 8 * (2 * queries + 2 * keys) + (2 * keys if masked else 0)


def test_a_norm_is_one_kernel() -> None:
    x, norm = tensor(2, 8), torch.nn.RMSNorm(8, device="meta", dtype=torch.bfloat16)
    assert counted(lambda: norm(x)) == [Kernel("rms_norm", 0, BF16 * (16 + 8 + 16))]


def test_views_and_uninitialised_tensors_are_no_kernels() -> None:
    x = tensor(4, 6)
    assert (
        counted(lambda: [x.view(24), x.T, x[1:], x.chunk(2), x.expand(2, 4, 6), torch.empty_like(x), x.detach()]) == []
    )


def test_a_conversion_that_changes_nothing_is_no_kernel_and_another_is_one() -> None:
    x = tensor(4)
    assert counted(lambda: x.to(torch.bfloat16)) == []
    assert [kernel.bytes for kernel in counted(lambda: x.float())] == [4 * 2 + 4 * 4]


def test_what_was_expanded_is_read_once() -> None:
    x, row = tensor(8, 6), tensor(1, 6).expand(8, 6)
    assert [kernel.bytes for kernel in counted(lambda: x + row)] == [BF16 * (48 + 6 + 48)]


def test_what_is_written_over_is_not_read() -> None:
    x, y = tensor(8), tensor(8)
    assert [kernel.bytes for kernel in counted(lambda: x.copy_(y))] == [BF16 * 16]
    assert [kernel.bytes for kernel in counted(lambda: x.add_(y))] == [BF16 * 24]


def test_what_is_on_the_host_does_not_count() -> None:
    x, sigma = tensor(8), torch.tensor([2.0, 1.0])
    kernels = counted(lambda: x * (sigma[1] - sigma[0]))
    assert [kernel.name for kernel in kernels] == ["mul"]
