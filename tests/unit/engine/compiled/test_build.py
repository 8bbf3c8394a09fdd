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

from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.network import constants, without_weights
from imagegen.engine.compiled.package import Package, PackageError
from imagegen.engine.compiled.package_builder import BuildError, build_in_process
from tests.unit.engine.compiled.toys import CPU, Toy, arguments, shape_of

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")

KEY = "forward/torch"


def job(*, has_weights: bool = False, **given: Any) -> Job:
    module = Toy()
    return Job(
        key=KEY,
        network=without_weights(module),
        weights=constants(module) if has_weights else None,
        shape=shape_of({**arguments(2), **given}),
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
    return build_in_process(job(), tmp_path_factory.mktemp("build"), threading.Event())


@pytest.fixture
def loaded(package: Path) -> tuple[Package, Toy]:
    module = Toy(seed=5)
    return Package(package, KEY, module, CPU), module


def test_one_with_weights_is_for_these_alone(tmp_path: Path) -> None:
    code = Package(build_in_process(job(has_weights=True), tmp_path, threading.Event()), KEY, Toy(seed=5), CPU)
    with torch.inference_mode():
        for rows in (1, 2, 16):
            given = arguments(rows)
            torch.testing.assert_close(code(shape_of(given).tensors(given)), Toy()(**given))


@pytest.mark.parametrize("rows", [1, 2, 3, 16])
def test_it_computes_what_the_network_does_for_any_number_of_rows(loaded: tuple[Package, Toy], rows: int) -> None:
    code, module = loaded
    given = arguments(rows)
    with torch.inference_mode():
        (output,) = code(shape_of(given).tensors(given))
        (expected,) = module(**given)
    torch.testing.assert_close(output, expected)
    assert rows <= code.most_rows


def test_it_reads_the_weights_where_they_are(loaded: tuple[Package, Toy]) -> None:
    code, module = loaded
    given = arguments(3)
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
