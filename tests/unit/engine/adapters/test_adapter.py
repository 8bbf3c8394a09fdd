from __future__ import annotations

import torch

from imagegen.engine.adapters.adapter import Adapter, LowRank


def test_an_adapter_knows_its_matrices_its_size_and_its_rank() -> None:
    linear = LowRank(torch.ones(2, 5), torch.ones(7, 2))
    convolution = LowRank(torch.ones(3, 4, 3, 3, dtype=torch.float16), torch.ones(6, 3, 1, 1, dtype=torch.float16))
    adapter = Adapter("digest", {"unet": {"a": linear}, "text_encoder": {"b": convolution}})
    assert [matrix.shape[0] for matrix in adapter.matrices()] == [2, 7, 3, 6]
    assert adapter.size_bytes == 4 * (2 * 5 + 7 * 2) + 2 * (3 * 4 * 9 + 6 * 3)
    assert adapter.rank == 3
    assert adapter.warnings == ()
