"""`python -m imagegen.engine.compiled.build FOLDER`: builds a package. Started by `PackageBuilder`, and ends with it.

A process of its own: a compiler takes minutes of Python, which would hold up every step of the engine's, needs memory,
and may crash. FOLDER has the job and gets the package; whatever the compiler leaves behind goes into it too.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim
from torch.export.graph_signature import InputKind

from imagegen.engine.adapters.update_inputs import LayerNames, dynamic_dimensions, examples, take_updates
from imagegen.engine.compiled.forward_shape import ForwardShape
from imagegen.engine.compiled.network import with_empty_weights
from imagegen.engine.compiled.package import NETWORK, Details, write_package
from imagegen.engine.worker.child import begin_child, end

JOB, PACKAGE, PROBLEM = "job", "package", "problem"
"""Names in the folder: a pickled `Job`, the file that is built, and a text that says why it could not be."""

_NICENESS = 10  # forwards go first
_EXAMPLE_ROWS = 2  # with 1, torch would take the number for a constant
_MOST_ROWS = 2**16  # for want of a bound
_WITH_WEIGHTS = {"freezing": True}
_WITHOUT_WEIGHTS = {
    "aot_inductor.package_constants_in_so": False,
    "always_keep_tensor_constants": True,  # else small ones are written into the code, by value
}


@dataclass(frozen=True)
class Job:
    """What to build.

    Attributes:
        key: of the package.
        network: as `without_weights` gives it.
        weights: by name, where the package is to have them.
        shape: of the forward.
        layers: whose updates by adapters are inputs; none for forwards without adapters.
        device: as torch names it.
        threads: of torch on a CPU.
        allow_tf32: for float32 products on a GPU.
        precision: of float32 products, as torch names it.
    """

    key: str
    network: bytes
    weights: Mapping[str, torch.Tensor] | None
    shape: ForwardShape
    layers: LayerNames
    device: str
    threads: int
    allow_tf32: bool
    precision: str


class _OnTensors(nn.Module):
    """A network that takes its tensors as a list, then those of adapters, and all else as when it was compiled."""

    def __init__(self, network: nn.Module, shape: ForwardShape, layers: LayerNames) -> None:
        super().__init__()
        self.add_module(NETWORK, network)
        self.shape = shape
        self.count = len(shape.has_rows())
        self.take = take_updates(network, layers)

    def forward(self, tensors: list[torch.Tensor]) -> Any:
        self.take(tensors[self.count :])
        return self.get_submodule(NETWORK)(**self.shape.with_tensors(tensors))


def build(job: Job, folder: Path) -> None:
    """Build the package of a job in a folder.

    Raises:
        Exception: the network cannot be exported or compiled, or there is no compiler, or no room.
    """
    device = torch.device(job.device)
    torch.set_num_threads(job.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = job.allow_tf32
    torch.set_float32_matmul_precision(job.precision)
    network = with_empty_weights(job.network, device)
    if job.weights is not None:
        network.load_state_dict(job.weights, strict=False, assign=True)  # buffers that are not saved are there
    tensors = job.shape.examples(_EXAMPLE_ROWS, device)
    dynamic: list[dict[int, Any]] = [{0: Dim.DYNAMIC} if has_rows else {} for has_rows in job.shape.has_rows()]
    if job.layers:
        tensors += examples(network, job.layers, _EXAMPLE_ROWS, device)
        dynamic += dynamic_dimensions(job.layers)
    with torch.no_grad():
        exported = torch.export.export(
            _OnTensors(network, job.shape, job.layers), (tensors,), dynamic_shapes=(dynamic,), strict=False
        )
    details = Details(_most_rows(exported), None if job.weights is not None else _lift(exported))
    config = _WITHOUT_WEIGHTS if job.weights is None else _WITH_WEIGHTS
    code = folder / "code.pt2"
    with torch.no_grad():  # else nothing is frozen
        torch._inductor.aoti_compile_and_package(exported, package_path=str(code), inductor_configs=config)
    write_package(folder / PACKAGE, job.key, code, details)


def _lift(exported: Any) -> dict[str, torch.Tensor]:
    """Have the constants of a program that are no part of the network named; without it AOTInductor renames them.

    Returns:
        those constants, by the names that the package will read them by.
    """
    lifted = {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind is InputKind.CONSTANT_TENSOR:
            spec.kind, spec.persistent = InputKind.BUFFER, False
            lifted[spec.target] = exported.constants[spec.target]
    return lifted


def _most_rows(exported: Any) -> int:
    """The largest number of rows that the code is for; the network itself may have a bound."""
    return min(
        (
            _MOST_ROWS if bounds.upper > _MOST_ROWS else int(bounds.upper)
            for bounds in exported.range_constraints.values()
        ),
        default=_EXAMPLE_ROWS,
    )


def main() -> None:
    """Build the job of a folder; exit status 1 where it cannot be."""
    begin_child()
    folder = Path(sys.argv[1])
    os.nice(_NICENESS)
    tempfile.tempdir = os.environ["TMPDIR"] = os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    try:
        with (folder / JOB).open("rb") as file:
            job = pickle.load(file)
        build(job, folder)
    except BaseException as error:
        (folder / PROBLEM).write_text(f"{type(error).__name__}: {error}")
        raise
    end(0)


if __name__ == "__main__":
    main()
