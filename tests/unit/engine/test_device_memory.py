"""Caches are cleared and weights moved, each network once; on the host's own device nothing moves.

Bytes of a device: tests/on_accelerator/test_sleep.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.engine.cached_encoders import Caches, with_caches
from imagegen.engine.compiled.compiled_denoisers import CompiledDenoisers
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.device_memory import DeviceMemory
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.condition_requests import describe
from tests.unit.tiny_engine import no_adapters, pipelines
from tests.unit.tiny_pipelines.control_networks import sd_net

Moves = list[tuple[torch.nn.Module, Any]]


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> Moves:
    """What was moved, and where to; it stays where it is."""
    seen: Moves = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: seen.append((module, device)))
    return seen


def filled() -> Caches:
    caches = Caches(ContentCache(100), ContentCache(100))
    for cache in caches.by_name().values():
        cache.put("key", "value", 1)
    return caches


def test_on_a_cpu_caches_are_cleared_and_nothing_moves(moves: Moves) -> None:
    caches = filled()
    memory = DeviceMemory(pipelines(), caches, no_adapters())
    memory.give_back()
    memory.take_again()
    assert [cache.statistics.entries for cache in caches.by_name().values()] == [0, 0]
    assert moves == []


def test_compiled_code_is_forgotten_before_the_weights_move(moves: Moves) -> None:
    class Compiled(CompiledDenoisers):
        def __init__(self) -> None:
            self.released = 0

        def release(self) -> None:
            assert moves == []
            self.released += 1

    compiled = Compiled()
    DeviceMemory(pipelines(), filled(), no_adapters(), compiled).give_back()
    assert compiled.released == 1


def test_every_network_of_every_task_moves_once(moves: Moves, monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[int] = []

    class Module:
        empty_cache = staticmethod(lambda: emptied.append(1))

    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    device = torch.device("cuda", 0)
    caches = filled()
    memory = DeviceMemory(with_caches(replace(pipelines(), device=device), caches), caches, no_adapters())
    memory.give_back()
    assert emptied == [1]
    own = pipelines().tasks["text-to-image"].pipeline
    expected = {id(component) for component in own.components.values() if isinstance(component, torch.nn.Module)}
    assert {id(module) for module, _ in moves} == expected
    assert len(moves) == len(expected) >= 3
    assert {to for _, to in moves} == {"cpu"}
    moves.clear()
    memory.take_again()
    assert len(moves) == len(expected)
    assert {to for _, to in moves} == {device}


def test_the_networks_of_all_control_types_move_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the second type and all further ones stayed on a device that was to be free."""
    described, _ = describe(tiny.sd(), {"canny": sd_net, "depth": sd_net}, tmp_path)
    moved: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, device: moved.append(module))
    DeviceMemory(replace(described, device=torch.device("meta")), filled(), no_adapters()).take_again()
    networks = [each.network for each in described.controls.types.values()]
    assert [sum(network is module for module in moved) for network in networks] == [1, 1]


def test_what_makes_previews_moves_too(moves: Moves) -> None:
    moved: list[Any] = []

    class Projection:
        to = staticmethod(moved.append)

    described = replace(pipelines(), device=torch.device("meta"), projection=Projection())  # type: ignore[arg-type]
    memory = DeviceMemory(described, filled(), no_adapters())
    memory.take_again()
    assert moved == [torch.device("meta")]
