"""The LoRA files of a soak: some that stay, some that come and go, and some that no engine may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tests.unit.engine.adapters.made import write_adapter

_RANKS = (1, 2, 3)
_TEXT_EACH = 6  # every so many adapters are for the text encoder too
_TOO_MANY = 12  # times the largest rank, for a file beyond the engine's bound
_FITTING = 5  # adapters of the largest size that fit at once


@dataclass(frozen=True)
class SoakFiles:
    """Where they lie, by the names that requests use.

    Attributes:
        folder: of the engine: what is in it is on offer.
        staying: in that folder, and good.
        moving: elsewhere, and good: an administrator loads and unloads them.
        faulty: in that folder, and to be refused.
        largest_bytes: of a good file.
    """

    folder: Path
    staying: dict[str, Path]
    moving: dict[str, Path]
    faulty: dict[str, Path]
    largest_bytes: int

    @property
    def good(self) -> dict[str, Path]:
        """All that can be used."""
        return self.staying | self.moving

    @property
    def device_bytes(self) -> int:
        """Too little for as many adapters as an engine has slots, enough for any two of them."""
        return _FITTING * self.largest_bytes


def write_files(pipeline: Any, folder: Path, staying: int, moving: int) -> SoakFiles:
    """Write them.

    Args:
        pipeline: that they are for.
        folder: an empty one.
        staying: how many good ones stay; the last one has the content of the first.
        moving: how many come and go.
    """
    offered, elsewhere = folder / "offered", folder / "elsewhere"
    for made in (offered, elsewhere):
        made.mkdir()

    def write(name: str, where: Path, seed: int) -> Path:
        file = where / f"{name}.safetensors"
        return write_adapter(
            pipeline, file, seed, rank=_RANKS[seed % len(_RANKS)], text=seed % _TEXT_EACH == _TEXT_EACH - 1
        )

    files = {f"s{number}": write(f"s{number}", offered, number) for number in range(staying - 1)}
    twin = offered / f"s{staying - 1}.safetensors"
    twin.write_bytes(files["s0"].read_bytes())
    files |= {twin.stem: twin}
    moved = {f"m{number}": write(f"m{number}", elsewhere, staying + number) for number in range(moving)}
    largest = max(file.stat().st_size for file in (files | moved).values())
    return SoakFiles(offered, files, moved, _write_faulty(pipeline, files["s0"], offered), largest)


def _write_faulty(pipeline: Any, good: Path, folder: Path) -> dict[str, Path]:
    """One of each kind, by its name."""
    tensors = load_file(good)
    first = next(iter(tensors))
    names = ("truncated", "empty", "pickle", "not-a-number", "half", "shape", "dora", "too-large")
    files = {f"bad-{name}": folder / f"bad-{name}.safetensors" for name in names}
    files["bad-truncated"].write_bytes(good.read_bytes()[:-100])
    files["bad-empty"].write_bytes(b"")
    torch.save(tensors, files["bad-pickle"])
    save_file(tensors | {first: tensors[first] * float("nan")}, files["bad-not-a-number"])
    save_file({name: value for name, value in tensors.items() if name != first}, files["bad-half"])
    save_file(tensors | {first: tensors[first][..., :-1].contiguous()}, files["bad-shape"])
    scale = f"{first.removesuffix('.lora_A.weight')}.lora_magnitude_vector"
    save_file(tensors | {scale: torch.ones(4)}, files["bad-dora"])
    write_adapter(pipeline, files["bad-too-large"], 0, rank=_TOO_MANY * max(_RANKS))
    return files
