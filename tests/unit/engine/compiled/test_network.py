"""A network goes to another process without its weights, and networks of the same code have one identity."""

from __future__ import annotations

import subprocess
import sys

import torch
from diffusers import UNet2DConditionModel

from imagegen.engine.compiled.network import constants, digest_of_weights, identity, with_empty_weights, without_weights
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.compiled.toys import CPU, Toy


def test_the_weights_stay_here_and_the_buffers_go() -> None:
    module = Toy()
    module.inner.register_forward_hook(lambda *_: None)
    before = {name: tensor.clone() for name, tensor in constants(module).items()}
    there = with_empty_weights(without_weights(module), CPU)
    assert isinstance(there, Toy)
    assert not there.training
    assert not there.inner._forward_hooks
    assert torch.equal(constants(there)["places"], constants(module)["places"])
    shapes = [{name: (t.shape, t.dtype, t.stride()) for name, t in constants(m).items()} for m in (module, there)]
    assert shapes[0] == shapes[1]
    assert module.inner._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in constants(module).items())


def test_it_is_small() -> None:
    assert len(without_weights(Toy(width=100_000))) < 20_000


def test_a_parameter_of_two_layers_stays_one() -> None:
    module = Toy()
    module.outer.weight = torch.nn.Parameter(module.inner.weight)
    module.outer.weight = module.inner.weight
    there = with_empty_weights(without_weights(module), CPU)
    assert there.inner.weight is there.outer.weight  # type: ignore[union-attr]


def test_the_digest_of_weights_knows_each_of_them() -> None:
    digests = {digest_of_weights(Toy(seed)) for seed in (0, 0, 1)}
    assert len(digests) == 2
    module = Toy()
    with torch.no_grad():
        module.scale.add_(1)
    assert digest_of_weights(module) not in digests
    assert digest_of_weights(module.to(torch.bfloat16)) not in digests


def test_constants_are_the_network_s_own() -> None:
    module = Toy()
    assert constants(module)["inner.weight"] is module.inner.weight
    assert set(constants(module)) == {"inner.weight", "inner.bias", "outer.weight", "outer.bias", "scale", "places"}


def test_the_identity_does_not_know_the_weights() -> None:
    assert identity(Toy(seed=0)) == identity(Toy(seed=1))
    assert identity(Toy()) != identity(Toy(width=5))
    assert identity(Toy()) != identity(Toy().to(torch.float64))
    unet, other = tiny.sd().unet, tiny.sd().unet
    other.register_to_config(_name_or_path="elsewhere")
    assert identity(unet) == identity(other)
    other.to(memory_format=torch.channels_last)
    assert identity(unet) != identity(other)


def test_another_attention_back_end_is_another_identity() -> None:
    unet, other = tiny.sd().unet, tiny.sd().unet
    for layer in other.modules():
        if hasattr(layer, "set_processor"):
            layer.processor._attention_backend = "native"
    assert identity(unet) != identity(other)


def test_another_process_finds_the_same_identity() -> None:
    """It names no address, and no order that differs between processes."""
    program = (
        "from tests.unit import tiny_pipelines as tiny; from imagegen.engine.compiled.network import identity;"
        "print(identity(tiny.sd().unet))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
    )
    unet: UNet2DConditionModel = tiny.sd().unet
    assert done.stdout.strip() == identity(unet)
