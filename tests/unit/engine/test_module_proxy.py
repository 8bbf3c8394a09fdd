"""A module proxy is its module to everybody who asks, except for what a subclass defines."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from imagegen.engine.module_proxy import ModuleProxy, unwrapped


class Counting(ModuleProxy):
    """A proxy with state of its own."""

    __slots__ = ("count",)

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.count = 0


def test_it_is_an_instance_of_its_modules_class_and_has_its_attributes() -> None:
    module = nn.Linear(2, 3)
    proxy = Counting(module)
    assert isinstance(proxy, nn.Linear)
    assert proxy.weight is module.weight
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'none_such'"):
        _ = proxy.none_such


def test_a_proxy_of_a_proxy_is_one_of_the_module() -> None:
    """Else nobody would look at what a VAE behind two of them decodes."""
    assert isinstance(ModuleProxy(ModuleProxy(nn.Linear(2, 2))), nn.Linear)


def test_only_its_own_slots_stay_with_it() -> None:
    module = nn.Linear(2, 3)
    proxy = Counting(module)
    proxy.count += 1
    proxy.added = 1
    assert proxy.count == 1
    assert module.added == 1
    assert "count" not in module.__dict__


def test_its_class_cannot_be_set() -> None:
    with pytest.raises(TypeError, match="follows its module"):
        Counting(nn.Linear(2, 3)).__class__ = nn.Module


def test_unwrapping_goes_through_any_number_of_proxies() -> None:
    module = nn.Linear(2, 3)
    assert unwrapped(Counting(Counting(module))) is module
    assert unwrapped(module) is module
