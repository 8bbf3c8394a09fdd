"""A small network, what it is called with, and packages that need no compiler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.forward_shape import ForwardShape, forward_shape
from imagegen.engine.compiled.package import Details, write_package
from imagegen.engine.merge_rules import MergeRule, rule_of

WIDTH = 4
CPU = torch.device("cpu")


class Toy(nn.Module):
    """All kinds of constants: parameters large and small, a buffer that is not saved, and two tensors of the code."""

    def __init__(self, seed: int = 0, width: int = WIDTH) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.inner = nn.Linear(WIDTH, width)
        self.outer = nn.Linear(width, WIDTH)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("places", torch.randn(WIDTH, generator=generator), persistent=False)
        self.plain = torch.arange(float(WIDTH))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        add: Any = None,
        return_dict: bool = True,
        down_block_additional_residuals: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor]:
        """[rows, width] and [rows], and a ControlNet's residuals as the former, to [rows, width]."""
        for residual in down_block_additional_residuals:
            hidden_states = hidden_states + residual
        hidden = torch.relu(self.inner(hidden_states + timestep[:, None]))
        half = torch.tensor([0.5, 0.25]).repeat(WIDTH // 2)
        return (self.outer(hidden) * self.scale + self.places + self.plain * half,)


def arguments(rows: int, seed: int = 0) -> dict[str, Any]:
    """Of a merged forward."""
    generator = torch.Generator().manual_seed(seed + rows)
    return {
        "hidden_states": torch.randn(rows, WIDTH, generator=generator),
        "timestep": torch.rand(rows, generator=generator),
        "add": None,
        "return_dict": False,
    }


def rules_of(given: dict[str, Any]) -> dict[str, MergeRule]:
    return {name: rule_of(name, value, len(given["timestep"])) for name, value in given.items()}


def shape_of(given: dict[str, Any]) -> ForwardShape:
    shape = forward_shape(rules_of(given), given)
    assert shape is not None
    return shape


def a_job(key: str = "a/b") -> Job:
    return Job(key, b"", None, shape_of(arguments(2)), (), "cpu", 1, False, "highest")


def written(file: Path, key: str) -> Path:
    """A whole package whose code nothing can load."""
    code = file.with_suffix(".code")
    code.write_bytes(b"no code" * 100)
    write_package(file, key, code, Details(16, {}))
    return file
