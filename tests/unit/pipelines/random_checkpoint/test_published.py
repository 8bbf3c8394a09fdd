"""The written-out architectures are the published ones."""

from __future__ import annotations

import pytest

from imagegen.pipelines.random_checkpoint.architecture import Network
from imagegen.pipelines.random_checkpoint.published import ARCHITECTURES

_VAE, _VAE_16, _CLIP_L, _T5 = 83.65, 83.82, 123.06, 4762.31
MILLIONS = {
    "sd15": {"text_encoder": _CLIP_L, "unet": 859.52, "vae": _VAE},
    "sdxl": {"text_encoder": _CLIP_L, "text_encoder_2": 694.66, "unet": 2567.46, "vae": _VAE},
    "sd3": {
        "text_encoder": 123.65,
        "text_encoder_2": 694.66,
        "text_encoder_3": _T5,
        "transformer": 2028.33,
        "vae": _VAE_16,
    },
    "flux": {"text_encoder": _CLIP_L, "text_encoder_2": _T5, "transformer": 11901.41, "vae": _VAE_16},
    "qwen-image": {"text_encoder": 8292.17, "transformer": 20430.40, "vae": 126.89},
}
"""Of the published weights."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_has_as_many_parameters_as_the_published_weights(name: str) -> None:
    networks = ARCHITECTURES[name].networks
    counted = {component: millions(networks[component]) for component in networks}
    assert counted == pytest.approx(MILLIONS[name], abs=0.01)


_counted: list[tuple[Network, float]] = []


def millions(network: Network) -> float:
    """Of parameters. Several of them have the same text encoders, which need not be built again."""
    for other, known in _counted:
        if other == network:
            return known
    count: float = sum(parameter.numel() for parameter in network.build().parameters()) / 1e6
    _counted.append((network, count))
    return count
