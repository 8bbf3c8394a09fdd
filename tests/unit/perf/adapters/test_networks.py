"""The networks that are timed are of the size that they claim, and adapters are for their transformer blocks alone."""

from __future__ import annotations

import torch

from checkpoint import BUNDLED
from perf.adapters.networks import LAYERS, flux_inputs, flux_shaped, random_adapter, timed_networks


def test_the_flux_shaped_one_has_33_million_parameters() -> None:
    with torch.device("meta"):
        network = flux_shaped()
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6) == 33
    adapter = random_adapter(network, 2, 0)
    touched = {name.rpartition("blocks.")[2].partition(".")[2] for name in adapter.layers}
    assert all(any(name.endswith(end) for name in touched) for end in LAYERS)
    assert "proj_out" not in adapter.layers
    assert flux_inputs(3)["hidden_states"].shape[0] == 3


def test_the_bundled_unet_is_called_with_its_latents() -> None:
    networks = timed_networks(BUNDLED)
    assert [networks[name].inputs(2)["sample"].shape[2:] for name in ("sd-64", "sd-128")] == [(16, 16), (32, 32)]
    network = networks["sd-64"].make()
    with torch.no_grad():
        assert network(**networks["sd-64"].inputs(2))[0].shape == (2, 4, 16, 16)
    adapter = random_adapter(network, 2, 0)
    assert {low_rank.rank for low_rank in adapter.layers.values()} == {2}
    assert any("ff.net.0.proj" in name for name in adapter.layers)
