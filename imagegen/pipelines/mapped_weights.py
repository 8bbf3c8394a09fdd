"""Lets diffusers read a weight file piece by piece, so that the file does not come to lie in memory beside the weights.

diffusers maps a whole file, and what has been read of it stays resident until the last of its tensors is converted: a
UNet of 5.1 GB in one bfloat16 file takes 15.4 GB to become 10.3 GB of float32. Here a mapping serves a piece of a file
and goes with the last tensor that lies in it; tensors that need no conversion stay mapped, as ever.

Each mapping is of the whole file, and a system that does not overcommit (vm.overcommit_memory=2) sets as much memory
aside for it: there is a new one only where those before are let go.
"""

from __future__ import annotations

import weakref
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models import model_loading_utils, modeling_utils
from safetensors import SafetensorError, safe_open

_PIECE_BYTES = 64 << 20


class MappedWeights(UserDict[str, Any]):
    """The tensors of a safetensors file by name, each read when it is asked for, and held by who asked.

    Args:
        file: stays where it is while its tensors live.
        piece_bytes: so much is read from one mapping of the file, then from a new one; from the same one while any of
            its tensors is still held.

    Raises:
        OSError: there is no such file.
        SafetensorError: it is damaged.
    """

    def __init__(self, file: Path, piece_bytes: int = _PIECE_BYTES) -> None:
        self._file = file
        self._piece_bytes = piece_bytes
        self._left_bytes = piece_bytes
        self._mapped = self._map()
        self._storages: list[weakref.ref[torch.UntypedStorage]] = []  # of the tensors that lie in this mapping
        super().__init__(dict.fromkeys(self._mapped.keys()))

    def __getitem__(self, name: str) -> torch.Tensor:
        """A tensor of the file, or one that has been set since."""
        held: torch.Tensor | None = self.data[name]
        if held is not None:
            return held
        if self._left_bytes <= 0 and not self._is_held():
            self._mapped, self._left_bytes, self._storages = self._map(), self._piece_bytes, []
        tensor: torch.Tensor = self._mapped.get_tensor(name)
        self._left_bytes -= tensor.nbytes
        self._storages.append(weakref.ref(tensor.untyped_storage()))  # which parameters and views of it share
        return tensor

    def _is_held(self) -> bool:
        """Whether any tensor of this mapping lives, the last aside: who converts lets go of it with the next one."""
        return any(storage() is not None for storage in self._storages[:-1])

    def _map(self) -> Any:
        return safe_open(self._file, framework="pt")


@contextmanager
def reading_in_pieces() -> Iterator[None]:
    """While the block runs, diffusers' models read their safetensors files through `MappedWeights`."""
    original: Callable[..., Any] = model_loading_utils.load_state_dict

    def load_state_dict(file: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(file, MappedWeights):  # has been read already: passed on as the tensors that it stands for
            return file
        if arguments or any(options.values()) or not str(file).endswith(".safetensors"):
            return original(file, *arguments, **options)
        try:
            return MappedWeights(Path(file))
        except (OSError, SafetensorError):  # diffusers says what may be wrong with the file
            return original(file)

    readers: tuple[Any, ...] = (model_loading_utils, modeling_utils)
    for module in readers:
        module.load_state_dict = load_state_dict
    try:
        yield
    finally:
        for module in readers:
            module.load_state_dict = original
