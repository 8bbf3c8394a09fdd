"""Forwards run by a package where there is a good one, and eagerly everywhere else; no request sees the difference."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import torch

from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.compiled import compiled_forward as subject
from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.compiled_forward import CompiledForward, install
from imagegen.engine.compiled.package import PackageError
from imagegen.engine.compiled.package_key import PackageKey
from tests.unit.engine.compiled.toys import CPU, Toy, arguments, rules_of

FILE = Path("package")
Code = Callable[[Toy, list[torch.Tensor]], Any]


def right(module: Toy, tensors: list[torch.Tensor]) -> Any:
    return module(*tensors)


class Trial:
    """A toy whose packages are functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: Code = right, *, there: bool = True) -> None:
        self.module = Toy()
        self.code = code
        self.there = there
        self.loads = 0
        self.by: list[str] = []
        self.orders: list[tuple[PackageKey, Job, Callable[[Path | None], None]]] = []
        self.most_rows = 8
        trial = self

        class Package:
            def __init__(self, file: Path, key: str, module: Toy, device: torch.device) -> None:
                trial.loads += 1
                self.most_rows = trial.most_rows
                self.module = module

            def __call__(self, tensors: list[torch.Tensor]) -> Any:
                return trial.code(self.module, tensors)

        monkeypatch.setattr(subject, "Package", Package)
        self.changes = 0
        self.forward = CompiledForward(
            self.module,
            CPU,
            lambda _: FILE if self.there else None,
            lambda *order: self.orders.append(order),
            self._changed,
            self.by.append,
        )

    def _changed(self) -> None:
        self.changes += 1

    def run(self, rows: int = 2, table: AdapterTable | None = None, **more: Any) -> None:
        """One forward, whose output is that of the module whatever the package's is."""
        given = {**arguments(rows), **more}
        with torch.inference_mode():
            output = self.forward(rules_of(given), given, rows, table)
            with applied(self.module, table):
                torch.testing.assert_close(output[0], self.module(**given)[0])

    @property
    def states(self) -> list[str]:
        return list(self.forward.states().values())


def test_a_package_that_is_there_runs_all_but_the_first_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    for rows in (2, 3, 8, 1, 1):
        trial.run(rows)
    assert trial.by == ["eager", "package", "package", "eager", "package"]
    assert (trial.states, trial.loads, trial.orders) == (["ready"], 1, [])


def test_more_rows_than_the_code_is_for_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    trial.run()
    trial.run(9)
    assert trial.by == ["eager", "eager"]


def test_what_is_not_there_is_built_while_forwards_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch, there=False)
    trial.run()
    trial.run(3)
    assert (trial.states, trial.by, trial.changes) == (["building"], ["eager", "eager"], 1)
    [(key, job, done)] = trial.orders
    assert (job.key, job.device) == (str(key), "cpu")
    done(FILE)
    trial.run()
    trial.run()
    assert (trial.states, trial.by[2:], trial.changes) == (["ready"], ["eager", "package"], 2)


def test_what_cannot_be_built_stays_eager_and_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch, there=False)
    trial.run()
    trial.orders[0][2](None)
    trial.run()
    assert (trial.states, trial.by, len(trial.orders)) == (["failed"], ["eager", "eager"], 1)


def test_a_network_that_cannot_be_sent_stays_eager(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trial = Trial(monkeypatch, there=False)
    trial.module.secret = lambda: None  # type: ignore[assignment]
    trial.run()
    trial.run()
    assert (trial.states, trial.orders, trial.by) == ([], [], ["eager", "eager"])
    assert caplog.text.count("there is no package for a forward, it runs eagerly: ") == 1


def test_shapes_that_come_after_the_warm_up_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    trial.run()
    trial.forward.learns = False
    trial.run(add=1)
    trial.run()
    assert (trial.by, len(trial.states)) == (["eager", "eager", "package"], 1)


def test_rows_of_different_lengths_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    given = arguments(2)
    assert trial.forward({**rules_of(given), "add": ("samples", frozenset())}, given, 2) is not None
    assert (trial.by, trial.states) == (["eager"], [])


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (lambda module, tensors: (module(*tensors)[0] * 1.01,), "it differs from the eager forward by"),
        (lambda module, tensors: (module(*tensors)[0] * float("nan"),), "it differs from the eager forward by nan"),
        (lambda module, tensors: (module(*tensors)[0][:1],), "its output has another form"),
        (lambda module, tensors: (), "its output has another form"),
        (lambda module, tensors: 1 / 0, "it failed: division by zero"),
    ],
)
def test_a_package_that_is_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: Code, problem: str
) -> None:
    trial = Trial(monkeypatch, code)
    for _ in range(2):
        trial.run()
    assert (trial.states, trial.by) == (["failed"], ["eager", "eager"])
    assert problem in caplog.text


def test_an_output_may_hold_more_than_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Talkative(Toy):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return (*super().forward(*args, **kwargs), None, "text")

    monkeypatch.setattr("tests.unit.engine.compiled.test_compiled_forward.Toy", Talkative)
    trial = Trial(monkeypatch)
    trial.run()
    trial.run()
    assert trial.by == ["eager", "package"]


def test_one_row_is_proved_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for 2 rows and more may take 1 for a dimension that is broadcast."""
    trial = Trial(monkeypatch, lambda module, tensors: (module(*tensors)[0] * (1 if len(tensors[0]) > 1 else 2),))
    trial.run()
    trial.run()
    trial.run(1)
    assert trial.by == ["eager", "package", "eager"]


def test_a_forward_that_is_itself_at_fault_costs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    trial = Trial(monkeypatch)
    trial.run()
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "forward", fail)
        with pytest.raises(MemoryError):
            trial.run()
    assert trial.states == ["ready"]


def test_values_that_are_not_finite_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    given = arguments(2)
    given["hidden_states"].fill_(float("nan"))
    with torch.inference_mode():
        trial.forward(rules_of(given), given, 2)
    assert trial.states == ["ready"]
    trial.run()
    trial.run()
    assert trial.by == ["eager", "eager", "package"]


def test_one_that_cannot_be_loaded_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise PackageError("it vanished")

    trial = Trial(monkeypatch)
    monkeypatch.setattr(subject, "Package", fail)
    trial.run()
    assert trial.states == ["failed"]
    assert "it cannot be loaded: it vanished" in caplog.text


def test_after_the_weights_have_moved_it_is_loaded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch)
    trial.run()
    trial.forward.release()
    trial.run()
    assert (trial.loads, trial.by) == (2, ["eager", "package"])


def test_nothing_keeps_a_network_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = Trial(monkeypatch, there=False)
    install(trial.module, trial.forward)
    assert subject.compiled_forward(trial.module) is trial.forward
    module = ref(trial.module)
    del trial.module
    gc.collect()
    assert module() is None
