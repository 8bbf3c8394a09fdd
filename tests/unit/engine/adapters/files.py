"""Files that stand for adapters, and a reader of them that tests can hold up."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import torch

from imagegen.engine.adapters.adapter import Adapter, AdapterError, LowRank

TIMEOUT_S = 20


class Reader:
    """Reads a file of one number, the seed of an adapter for the layer `linear` of `unet`.

    Attributes:
        reads: names of the files that were read.
        gate: closed to hold readers up.
    """

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, file: Path) -> Adapter:
        self.reads.append(file.name)
        assert self.gate.wait(TIMEOUT_S)
        text = file.read_text()
        if not text.isdigit():
            raise AdapterError(f"{file.name}: no number")
        generator = torch.Generator().manual_seed(int(text))
        down, up = torch.randn(2, 8, generator=generator), torch.randn(8, 2, generator=generator)
        return Adapter(hashlib.sha256(text.encode()).hexdigest(), {"unet": {"linear": LowRank(down, up)}})


def write(folder: Path, name: str, text: str) -> str:
    """Write such a file; its path."""
    file = folder / name
    file.write_text(text)
    return str(file)
