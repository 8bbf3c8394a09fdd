"""The networks that are timed can be called as they are timed."""

from __future__ import annotations

import pytest
import torch

from checkpoint import BUNDLED
from imagegen.engine.collate import describe, forward
from perf.compiled.networks import networks


@pytest.mark.parametrize("name", ["qwen", "sd-64"])
def test_a_forward_gives_a_row_for_each(name: str) -> None:
    network = networks(BUNDLED)[name]
    module = network.make()
    with torch.no_grad():
        [(output,)] = forward([describe(module, (), network.inputs(2), network.pixels)])
    assert output.shape[0] == 2
    assert bool(output.isfinite().all())
