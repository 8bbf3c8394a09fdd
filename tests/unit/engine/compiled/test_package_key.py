"""A package's key changes with all that its code depends on."""

from __future__ import annotations

import re

import pytest
import torch

from imagegen.engine.compiled import package_key as keys
from imagegen.engine.compiled.forward_shape import ForwardShape
from imagegen.engine.compiled.package_key import PackageKey, environment, network_text, package_key
from tests.unit.engine.compiled.toys import CPU, Toy, arguments, shape_of


def key_of(module: Toy, shape: ForwardShape, device: torch.device, *layers: str) -> PackageKey:
    return package_key(network_text(module, device), shape, layers, device)


def test_the_number_of_rows_is_not_in_the_key() -> None:
    key = key_of(Toy(0), shape_of(arguments(2)), CPU)
    assert key == key_of(Toy(0), shape_of(arguments(7)), CPU)
    assert re.fullmatch(r"[0-9a-f]{32}/torch-[0-9.]+-cpu-[0-9a-f]{8}", str(key))


def test_other_weights_are_another_forward_where_the_package_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = shape_of(arguments(2))
    assert key_of(Toy(0), shape, CPU) != key_of(Toy(1), shape, CPU)
    monkeypatch.setattr(keys, "has_weights", lambda _: False)
    assert key_of(Toy(0), shape, CPU) == key_of(Toy(1), shape, CPU)
    monkeypatch.undo()
    assert not keys.has_weights(torch.device("cuda"))


def test_another_network_or_shape_is_another_forward() -> None:
    key = key_of(Toy(), shape_of(arguments(2)), CPU)
    assert key_of(Toy(width=5), shape_of(arguments(2)), CPU).forward != key.forward
    assert key_of(Toy(), shape_of({**arguments(2), "add": 1}), CPU).forward != key.forward


def test_layers_with_updates_are_another_forward() -> None:
    shape = shape_of(arguments(2))
    layers = [(), ("inner",), ("inner", "outer")]
    assert len({key_of(Toy(), shape, CPU, *each).forward for each in layers}) == len(layers)


def test_another_torch_processor_or_way_to_use_it_is_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {environment(CPU)}
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9.9+cpu")
        found.add(environment(CPU))
        assert environment(CPU).startswith("torch-9.9.9-cpu-")
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_host", lambda: "a processor without AVX2")
        found.add(environment(CPU))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 77)
        found.add(environment(CPU))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
        found.add(environment(CPU))
    assert len(found) == 5


def test_a_gpu_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H200")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    one = environment(torch.device("cuda", 1))
    assert "-cuda-" in one
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (10, 0))
    assert environment(torch.device("cuda", 1)) != one
