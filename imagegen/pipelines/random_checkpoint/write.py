"""Writes a whole checkpoint in diffusers' folder format: index, scheduler, tokenizers, networks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from imagegen.pipelines.random_checkpoint.architecture import Architecture
from imagegen.pipelines.random_checkpoint.weights import SHARD_BYTES, bytes_of, write_weights

_BESIDE_WEIGHTS_BYTES = 64 << 20
"""More than what is no weights needs: the tokenizers of Qwen-Image have 7 MB, those of SD3 10 MB."""

OnWritten = Callable[[str, int], None]


@dataclass(frozen=True)
class CheckpointSize:
    """What a checkpoint will need.

    Attributes:
        weights_bytes: by component.
    """

    weights_bytes: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """On disk, rounded up a little."""
        return sum(self.weights_bytes.values()) + _BESIDE_WEIGHTS_BYTES


class RandomCheckpoint:
    """A checkpoint that is to be written.

    Args:
        architecture: what it consists of.
        dtype: of its weights.
        seed: the same gives the same weights.
    """

    def __init__(self, architecture: Architecture, dtype: torch.dtype, seed: int = 0) -> None:
        self._architecture = architecture
        self._dtype = dtype
        self._seed = seed
        self._networks: dict[str, Any] = {name: one.build() for name, one in architecture.networks.items()}
        self.size = CheckpointSize({name: bytes_of(one, dtype) for name, one in self._networks.items()})

    def check(self, folder: Path) -> int:
        """See whether it can be written, before anything is.

        Args:
            folder: which is to be made, with those above it.

        Returns:
            The bytes that are free where it will lie.

        Raises:
            FileExistsError: there is something of that name.
            OSError: the disk has too little space.
        """
        if os.path.lexists(folder):
            raise FileExistsError(f"folder: {folder} exists; name one that does not exist yet")
        existing = next(parent for parent in folder.absolute().parents if parent.exists())
        free = shutil.disk_usage(existing).free
        if free < self.size.total_bytes:
            raise OSError(
                f"folder: {folder} needs {gigabytes(self.size.total_bytes)}, and {gigabytes(free)} are free there; "
                "take another disk, or fewer layers"
            )
        return free

    def write(
        self, folder: Path, on_written: OnWritten = lambda component, count: None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write it to `folder`, which appears complete or not at all.

        Args:
            folder: as for `check`.
            on_written: is called with a component and how many bytes of it have been made since the last call.
            shard_bytes: the largest file; so much is in memory.

        Raises:
            OSError: as `check`; it cannot be written.
        """
        self.check(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".random-checkpoint-") as scratch:
            made = Path(scratch) / "checkpoint"
            made.mkdir()
            self._write_parts(made)
            for name, network in self._networks.items():
                write_weights(
                    network,
                    made / name,
                    self._dtype,
                    f"{self._seed}/{name}",
                    lambda count, name=name: on_written(name, count),  # type: ignore[misc]
                    shard_bytes,
                )
            made.rename(folder)

    def _write_parts(self, folder: Path) -> None:
        """All but the weights."""
        architecture = self._architecture
        tokenizers = {name: make() for name, make in architecture.tokenizers.items()}
        scheduler = architecture.scheduler()
        pipeline = architecture.pipeline(**self._networks, **tokenizers, scheduler=scheduler, **architecture.options)
        pipeline.save_config(folder)
        scheduler.save_pretrained(folder / "scheduler")
        for name, tokenizer in tokenizers.items():
            tokenizer.save_pretrained(folder / name)
        for name, network in self._networks.items():
            if isinstance(network, PreTrainedModel):
                network.config.architectures = [type(network).__name__]
                network.config.dtype = self._dtype
                network.config.save_pretrained(folder / name)
            else:
                network.save_config(folder / name)


def gigabytes(count: int) -> str:
    """For a person; a gigabyte has 10^9 bytes."""
    return f"{count / 1e9:.1f} GB"
