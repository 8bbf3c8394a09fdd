"""A real package: built without the weights, it computes with whichever are there."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter_table import adapter_table
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.adapters.update_inputs import LayerNames, UpdateInputs
from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.forward_shape import ForwardShape, forward_shape
from imagegen.engine.compiled.network import constants, without_weights
from imagegen.engine.compiled.package import Package, PackageError
from imagegen.engine.compiled.package_builder import BuildError, build_in_process
from tests.unit.engine.adapters import toys as adapter_toys
from tests.unit.engine.compiled.toys import CPU, WIDTH, Toy, arguments, shape_of

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")

KEY = "forward/torch"


def job(**given: Any) -> Job:
    return job_of(Toy(), shape_of({**arguments(2), **given}))


def job_of(module: Any, shape: ForwardShape, layers: LayerNames = (), *, has_weights: bool = False) -> Job:
    return Job(
        key=KEY,
        network=without_weights(module),
        weights=constants(module) if has_weights else None,
        shape=shape,
        layers=layers,
        device="cpu",
        threads=torch.get_num_threads(),
        allow_tf32=False,
        precision="highest",
    )


@pytest.fixture(scope="module", autouse=True)
def _quickly() -> Iterator[None]:
    """Without trying what the processor and the compiler can, which takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_VEC_ISA_OK", "1")
        yield


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_in_process(job(**residuals(2)), tmp_path_factory.mktemp("build"), threading.Event())


@pytest.fixture
def loaded(package: Path) -> tuple[Package, Toy]:
    module = Toy(seed=5)
    return Package(package, KEY, module, CPU), module


def test_one_with_weights_and_inputs_for_adapters_is_for_whichever_come(tmp_path: Path) -> None:
    """For any number of adapters and rows, and for these weights alone."""
    module, given = adapter_toys.Toy(), _with_layers(2)
    layers = ("conv", "linear")
    job = job_of(module, shape_of_all(given), layers, has_weights=True)
    code = Package(build_in_process(job, tmp_path, threading.Event()), KEY, adapter_toys.Toy(), CPU)
    inputs = UpdateInputs(layers)
    one, other, large = (adapter_toys.adapter(seed, rank) for seed, rank in ((1, 1), (2, 4), (3, 9)))
    with torch.inference_mode():
        for calls in (
            [(1, ((one, 0.5),))],
            [(1, ()), (1, ((other, 1.0),))],
            [(2, ()), (1, ((one, 0.5),)), (3, ((one, 1.0), (other, -0.7), (large, 0.3))), (2, ((large, 1.0),))],
            [(16, ((large, 2.0),))],
        ):
            rows = sum(count for count, _ in calls)
            table, given = adapter_table(calls, rows), _with_layers(rows)
            assert table is not None
            outputs = code([*shape_of_all(given).tensors(given), *inputs.tensors(module, table)])
            with applied(module, table):
                torch.testing.assert_close(tuple(outputs), module(**given))


def _with_layers(rows: int) -> dict[str, Any]:
    return dict(zip(("tokens", "image"), adapter_toys.inputs(rows), strict=True))


def shape_of_all(given: dict[str, Any]) -> ForwardShape:
    shape = forward_shape({name: ("rows",) for name in given}, given)
    assert shape is not None
    return shape


def residuals(rows: int) -> dict[str, Any]:
    """As a UNet gets them from a ControlNet."""
    torch.manual_seed(rows)
    return {"down_block_additional_residuals": [torch.randn(rows, WIDTH), torch.randn(rows, WIDTH)]}


@pytest.mark.parametrize("rows", [1, 2, 3, 16])
def test_it_computes_what_the_network_does_for_any_rows_and_residuals(loaded: tuple[Package, Toy], rows: int) -> None:
    code, module = loaded
    given = {**arguments(rows), **residuals(rows)}
    with torch.inference_mode():
        (output,) = code(shape_of(given).tensors(given))
        (expected,) = module(**given)
    torch.testing.assert_close(output, expected)
    assert rows <= code.most_rows


def test_it_reads_the_weights_where_they_are(loaded: tuple[Package, Toy]) -> None:
    code, module = loaded
    given = {**arguments(3), **residuals(3)}
    with torch.inference_mode():
        module.scale.fill_(7.0)
        module.inner.bias.add_(1.0)
        torch.testing.assert_close(code(shape_of(given).tensors(given)), module(**given))


def test_another_network_s_package_is_refused(package: Path) -> None:
    with pytest.raises(PackageError, match=r"network\.\w+"):
        Package(package, KEY, torch.nn.Linear(2, 2), CPU)


def test_what_torch_cannot_export_is_a_build_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="not_there"):
        build_in_process(job(not_there=1), tmp_path, threading.Event())


def test_without_a_compiler_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no compiler"))
    monkeypatch.setitem(os.environ, "PATH", "/nowhere")
    with pytest.raises(BuildError, match=r"InvalidCxxCompiler|No working C\+\+ compiler"):
        build_in_process(job(), tmp_path, threading.Event())
