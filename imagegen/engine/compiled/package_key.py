"""Which package a forward needs: the network's code, the forward's shape, and what it was built for and with."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import diffusers
import torch
from torch import nn

from imagegen.engine.adapters.update_inputs import LayerNames
from imagegen.engine.compiled.forward_shape import ForwardShape
from imagegen.engine.compiled.network import digest_of_weights, identity

_FORMAT = 1  # of packages, and of how they are built; another number leaves all older ones alone
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class PackageKey:
    """Where a package lies in the folder of all.

    Attributes:
        forward: digest of the network's code, its weights where the package has them, and the forward's shape.
        environment: readable, such as `torch-2.13.0-cpu-3f2a91c0`: what the package was built for and with.
    """

    forward: str
    environment: str

    def __str__(self) -> str:
        return f"{self.forward}/{self.environment}"


def network_text(module: nn.Module, device: torch.device) -> str:
    """What of a network its packages depend on, as a text; reads all weights where they have them.

    On a CPU a package has the weights, in the order that the processor likes best: products of matrices are faster by
    a fifth. On other devices it has not, so that one package is for all weights, and the device holds them once.

    Args:
        module: the denoiser.
        device: that it is on.
    """
    return "\0".join([identity(module), digest_of_weights(module) if has_weights(device) else ""])


def package_key(network: str, shape: ForwardShape, layers: LayerNames, device: torch.device) -> PackageKey:
    """The key of a forward's package on this machine.

    Args:
        network: its `network_text`.
        shape: of the forward.
        layers: whose updates by adapters are inputs; none for forwards without adapters.
        device: that it runs on.
    """
    return PackageKey(_digest(network, repr(shape), *layers)[:32], environment(device))


def has_weights(device: torch.device) -> bool:
    """Whether a package for a device has the weights."""
    return device.type == "cpu"


def environment(device: torch.device) -> str:
    """What code for a device depends on: versions, the device itself, and how torch uses it."""
    switches = (
        torch.get_num_threads() if device.type == "cpu" else 0,  # as many are written into the code
        torch.backends.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision(),
    )
    details = [_FORMAT, diffusers.__version__, torch.version.cuda, _host(), _device(device), *switches]
    version = torch.__version__.partition("+")[0]
    return f"torch-{version}-{device.type}-{_digest(*map(str, details))[:8]}"


@cache
def _host() -> str:
    """The processor: code is built for all that it has, and another one may lack it."""
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    named = {line.partition("\t")[0]: line for line in lines}  # the last of equal ones
    return "\n".join([platform.machine(), *(named.get(name, "") for name in ("model name", "flags", "Features"))])


def _device(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}"


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
