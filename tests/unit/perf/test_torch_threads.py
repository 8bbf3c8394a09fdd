"""torch has its own number of threads again, whatever happens."""

from __future__ import annotations

import pytest
import torch

from perf.torch_threads import torch_threads


def test_it_is_so_many_for_as_long_as_it_lasts() -> None:
    before, meanwhile = torch.get_num_threads(), []

    def fail() -> None:
        with torch_threads(before + 1):
            meanwhile.append(torch.get_num_threads())
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert [*meanwhile, torch.get_num_threads()] == [before + 1, before]
