"""What the arguments of a denoiser's forward are, read once a module: their names, and which of them it denoises."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from imagegen.engine.merge_rules import MAIN


@dataclass(frozen=True)
class Signature:
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


_signatures: WeakKeyDictionary[Any, Signature] = WeakKeyDictionary()


def signature_of(module: Any) -> Signature:
    """The signature of a module's forward; a compiled module has that of its own."""
    signature = _signatures.get(module)
    if signature is None:
        own = getattr(module, "_orig_mod", module)
        parameters = inspect.signature(own.forward).parameters.values()
        names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        optional = frozenset(p.name for p in parameters if p.default is None)
        signature = _signatures[module] = Signature(type(own).__name__, names, optional)
    return signature


def main_argument(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What a denoiser is to denoise in a call: a tensor, or a list of one a row; None where that is not known."""
    signature = signature_of(module)
    return signature.main_argument(signature.bound(args, kwargs))


def rows_of(main: Any) -> int:
    """Rows of a call with this main argument, 1 or more."""
    if isinstance(main, torch.Tensor) and main.ndim:
        return max(1, main.shape[0])
    return max(1, len(main)) if isinstance(main, (list, tuple)) else 1


def first_tensor(main: Any) -> torch.Tensor:
    """The main argument, or the first of a list of them; an empty one on the host for anything else."""
    first = main[0] if isinstance(main, (list, tuple)) and main else main
    return first if isinstance(first, torch.Tensor) else torch.empty(0)
