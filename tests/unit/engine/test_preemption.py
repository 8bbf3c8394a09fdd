"""Long work gives way between its layers, what it computes is the same bit for bit, and short work is left alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import greenlet
import pytest
import torch
from torch import nn

from imagegen.engine import preemption as under_test
from imagegen.engine.adapters.adapter_table import adapter_table
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.forward_costs import ForwardCosts
from imagegen.engine.preemption import Preemption, taken_back
from imagegen.engine.scheduler import Rest
from tests.unit.engine.adapters.toys import Toy, adapter, inputs

CPU = torch.device("cpu")
LAYERS = 20


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, its only number; a slice of time is 1 s, and long is what takes 10 s."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(under_test, "SLICE_S", 1.0)
    monkeypatch.setattr(under_test, "LONG_S", 10.0)
    return now


class Slow(nn.Module):
    """A layer that takes half a second."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self._clock = clock

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.linear(x)
        self._clock[0] += 0.5
        return y


def network(clock: list[float]) -> nn.Sequential:
    return nn.Sequential(*(Slow(clock) for _ in range(LAYERS)))


def in_greenlet(work: Callable[[], Any], give_way: Callable[[Rest], bool]) -> Any:
    """The result of some work in a greenlet that can give way."""
    own: Any = greenlet.greenlet(work)
    own.give_way = give_way
    return own.switch()


def hooks_of(module: nn.Module) -> int:
    return sum(len(layer._forward_pre_hooks) for layer in module.modules())


def test_it_gives_way_after_each_slice_and_goes_on(clock: list[float]) -> None:
    module, costs = network(clock), ForwardCosts(CPU)
    rests: list[Rest] = []

    def give_way(rest: Rest) -> bool:
        rests.append(rest)
        clock[0] += 100  # that the others take
        return True

    def forward() -> torch.Tensor:
        with Preemption(costs, CPU).around(module, "key", 2, "rest", pixels=64):
            return module(torch.ones(2, 4))  # type: ignore[no-any-return]

    expected = module(torch.ones(2, 4))
    for _ in range(3):
        assert torch.equal(in_greenlet(forward, give_way), expected)
    assert len(rests) == 27
    assert rests[0] == Rest("rest", 2, 64, used_s=1.0, left_s=9.0)
    assert rests[8] == Rest("rest", 2, 64, used_s=1.0, left_s=1.0)
    assert costs.seconds("key", 2) == 10, "what others took is not part of it"
    assert hooks_of(module) == 0


def test_where_nobody_waits_it_asks_again_before_the_next_layer(clock: list[float]) -> None:
    module, costs = network(clock), ForwardCosts(CPU)
    asked: list[float] = []

    def give_way(rest: Rest) -> bool:
        asked.append(rest.used_s)
        return False

    def forward() -> None:
        with Preemption(costs, CPU).around(module, "key", 1, "rest"):
            module(torch.ones(1, 4))

    in_greenlet(forward, give_way)
    assert asked == [0.5 * done for done in range(2, LAYERS)]


def test_short_work_has_no_hooks(clock: list[float]) -> None:
    module, costs = network(clock), ForwardCosts(CPU)
    for _ in range(3):
        costs.note("key", 1, 9.9)

    def forward() -> None:
        with Preemption(costs, CPU).around(module, "key", 1, "rest"):
            assert hooks_of(module) == 0
            module(torch.ones(1, 4))

    in_greenlet(forward, lambda rest: pytest.fail("it is short"))


def test_outside_an_executor_nothing_gives_way(clock: list[float]) -> None:
    module, costs = network(clock), ForwardCosts(CPU)
    for _ in range(3):
        with Preemption(costs, CPU).around(module, "key", 1, "rest"):
            assert hooks_of(module) == 0
            module(torch.ones(1, 4))
    assert costs.seconds("key", 1) == pytest.approx(10)


def test_what_fails_leaves_nothing_behind(clock: list[float]) -> None:
    module, costs = network(clock), ForwardCosts(CPU)

    def forward() -> None:
        with pytest.raises(ValueError, match="layer"), Preemption(costs, CPU).around(module, "key", 1, "rest"):
            raise ValueError("layer")
        assert greenlet.getcurrent().long_work is None  # type: ignore[attr-defined]

    in_greenlet(forward, lambda rest: True)
    assert hooks_of(module) == 0
    assert costs.seconds("key", 1) is None


def test_others_do_not_see_its_adapters_and_it_does_not_lose_them(clock: list[float]) -> None:
    """One network, one table of adapters at a time: that of whoever has the device."""
    module, one, other = Toy(), adapter(1), adapter(2)
    tables = {name: adapter_table([(2, ((each, 1.0),))], 2) for name, each in (("one", one), ("other", other))}
    expected, seen = {}, []
    for name, table in tables.items():
        with applied(module, table):
            expected[name] = module(*inputs(2))[0]
    expected["none"] = module(*inputs(2))[0]

    def forward() -> Any:
        with Preemption(ForwardCosts(CPU), CPU).around(module, "key", 2, "rest"), applied(module, tables["one"]):
            clock[0] += 5
            return module(*inputs(2))[0]

    own: Any = greenlet.greenlet(forward)
    own.give_way = lambda rest: own.parent.switch() or True
    with torch.no_grad():
        output = own.switch()
        while not own.dead:
            seen.append(torch.equal(module(*inputs(2))[0], expected["none"]))
            with applied(module, tables["other"]):
                seen.append(torch.equal(module(*inputs(2))[0], expected["other"]))
            output = own.switch()
    assert torch.equal(output, expected["one"])
    assert seen
    assert all(seen)


def test_what_is_no_long_work_takes_nothing_back() -> None:
    with taken_back(lambda: pytest.fail("back"), lambda: pytest.fail("put")):
        pass


def test_many_short_layers_have_a_hook_on_some(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """On 1 of 5 where 20 take what is known to be 1 s and a slice of which takes 1 s has 4 hooks."""
    module, costs = network(clock), ForwardCosts(CPU)
    monkeypatch.setattr(under_test, "LONG_S", 0.0)
    seconds: dict[float, int] = {}
    for known in (1.0, 4.0, 100.0):
        for _ in range(5):
            costs.note("key", 1, known)

        def forward(known: float = known) -> None:
            with Preemption(costs, CPU).around(module, "key", 1, "rest"):
                seconds[known] = hooks_of(module)

        in_greenlet(forward, lambda rest: False)
    assert seconds == {1.0: 4, 4.0: 20, 100.0: 20}


def test_the_host_is_little_before_a_gpu(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued there cannot be preempted."""
    module, done = nn.Sequential(*(nn.Linear(4, 4) for _ in range(10))), []
    begun = [0]
    monkeypatch.setattr(under_test, "mark", lambda device: begun[0])
    monkeypatch.setattr(under_test, "wait_until", lambda moment: done.append((begun[0], moment)))

    def forward() -> None:
        with Preemption(ForwardCosts(CPU), CPU).around(module, "key", 1, "rest"):
            for layer in module:
                begun[0] += 1
                layer(torch.ones(1, 4))

    in_greenlet(forward, lambda rest: False)
    assert done == [(4, 2), (6, 4), (8, 6), (10, 8)]
