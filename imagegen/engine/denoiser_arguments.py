"""The arguments of a denoiser's call by name, whatever its class and however the pipeline gave them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from imagegen.engine.merge_rules import MAIN


@dataclass(frozen=True)
class Network:
    """What all calls of a module have in common.

    Attributes:
        family: the name of its class, before it was compiled.
        names: that positional arguments bind to.
        optional: arguments that are None where they are not given.
    """

    family: str
    names: tuple[str, ...]
    optional: frozenset[str]

    def bound(self, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments by name."""
        return dict(zip(self.names, args, strict=False)) | kwargs

    def main_argument(self, bound: dict[str, Any]) -> Any:
        """See `main_argument`."""
        for name in (*self.names[:1], *MAIN):
            if (value := bound.get(name)) is not None:
                return value
        return None


_networks: WeakKeyDictionary[Any, Network] = WeakKeyDictionary()


def network_of(module: Any) -> Network:
    """What is known of a module, compiled or not; remembered."""
    network = _networks.get(module)
    if network is None:
        own = getattr(module, "_orig_mod", module)  # of a compiled module
        parameters = inspect.signature(own.forward).parameters.values()
        names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        optional = frozenset(p.name for p in parameters if p.default is None)
        network = _networks[module] = Network(type(own).__name__, names, optional)
    return network


def is_nothing(value: Any) -> bool:
    """Whether an argument says as much as one that is left out, where that is None."""
    return value is None or (type(value) is dict and not value)


def rows_of(main: Any) -> int:
    """Length of the batch dimension of a main argument, 1 or more."""
    if isinstance(main, torch.Tensor) and main.ndim:
        return max(1, main.shape[0])
    return max(1, len(main)) if isinstance(main, (list, tuple)) else 1


def first_tensor(main: Any) -> torch.Tensor:
    """The main argument, or the first of a list of them, or of lists; an empty one on the host for anything else."""
    while isinstance(main, (list, tuple)) and main:
        main = main[0]
    return main if isinstance(main, torch.Tensor) else torch.empty(0)


def main_argument(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a denoiser is to denoise in a call: a tensor, or a list of one a row; None where that is not known."""
    network = network_of(module)
    return network.main_argument(network.bound(args, kwargs))
