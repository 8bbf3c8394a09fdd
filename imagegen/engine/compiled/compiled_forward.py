"""A denoiser's merged forwards: by a package where there is one for their shape, eagerly everywhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary, ref

import torch
from torch.utils._pytree import tree_leaves

from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.adapters.update_inputs import LayerNames, UpdateInputs
from imagegen.engine.compiled.build import Job
from imagegen.engine.compiled.forward_shape import ForwardShape, forward_shape
from imagegen.engine.compiled.network import constants, without_weights
from imagegen.engine.compiled.package import Package, PackageError
from imagegen.engine.compiled.package_key import PackageKey, has_weights, network_text, package_key
from imagegen.engine.merge_rules import MergeRule

# Of the largest value: compiled code adds in another order, and rounds once where eager code rounds after each layer.
_TOLERANCE = {torch.float32: 1e-3}
_TOLERANCE_OF_HALF = 5e-2

_log = logging.getLogger(__name__)

State = Literal["building", "ready", "failed"]
Find = Callable[[PackageKey], Path | None]
Order = Callable[[PackageKey, Job, Callable[[Path | None], None]], None]


@dataclass(eq=False)
class _Entry:
    """What is known of the package of one shape, with adapters or without.

    Attributes:
        key: of the package.
        state: what it is at.
        file: of the package, once it is ready.
        package: what is loaded from it; None before, and while the engine sleeps.
        proved: for one row, and for several, whether a forward was compared with an eager one.
    """

    key: PackageKey
    state: State = "building"
    file: Path | None = None
    package: Package | None = None
    proved: set[bool] = field(default_factory=set)


class CompiledForward:
    """Runs the merged forwards of one denoiser, on the device's thread.

    Forwards in which rows have adapters have packages of their own, once it is known for which layers.

    The first forward of each package, and its first of one row, is compared with an eager one: a package that does not
    give the same is not used, nor is one that fails where the eager forward does not.

    Args:
        module: the denoiser.
        device: that it is on.
        find: looks for a package.
        order: has one built.
        changed: told that a state has changed, on any thread.
        ran: told by what a forward was run: "package" or "eager".

    Attributes:
        learns: whether a shape that is new gets a package; else its forwards run eagerly.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        device: torch.device,
        find: Find,
        order: Order,
        changed: Callable[[], None],
        ran: Callable[[str], None],
    ) -> None:
        self._reference = ref(module)  # it may end before this does
        self._device = device
        self._find = find
        self._order = order
        self._changed = changed
        self._ran = ran
        self._entries: dict[tuple[ForwardShape, LayerNames], _Entry] = {}
        self._layers: LayerNames = ()
        self._updates = UpdateInputs(())
        self._text: str | None = None
        self._network: bytes | None = None
        self.learns = True

    @property
    def _module(self) -> Any:
        module = self._reference()
        assert module is not None
        return module

    def states(self) -> dict[str, State]:
        """The state of each package, by its key."""
        return {str(entry.key): entry.state for entry in list(self._entries.values())}

    def take_updates(self, layers: LayerNames) -> None:
        """Say which layers' updates by adapters get packages; those of others run eagerly, and with none all do."""
        if layers != self._layers:
            self._layers, self._updates = layers, UpdateInputs(layers)

    def release(self) -> None:
        """Forget what is loaded: the weights are about to move. It is loaded again with the next forward."""
        self._updates.free()
        for entry in self._entries.values():
            entry.package = None

    def __call__(
        self, rules: Mapping[str, MergeRule], merged: dict[str, Any], rows: int, table: AdapterTable | None = None
    ) -> Any:
        """The module's output for merged arguments.

        Args:
            rules: by which they were merged.
            merged: the arguments by name.
            rows: of the forward.
            table: what adapters add to them.

        Raises:
            Exception: whatever the module raises, and `RowsNotFirstError`.
        """
        fits = table is None or (self._layers and self._updates.fit(table))
        shape = forward_shape(rules, merged) if fits else None
        entry = None if shape is None else self._entry(shape, () if table is None else self._layers)
        package = None if entry is None else self._package(entry)
        if shape is None or entry is None or package is None or rows > package.most_rows:
            return self._eagerly(merged, table)
        output, problem = None, ""
        try:
            updates = [] if table is None else self._updates.tensors(self._module, table)
            output = package([*shape.tensors(merged), *updates])
        except Exception as error:
            problem = f"it failed: {error}"
        if not problem and (rows == 1) in entry.proved:
            self._ran("package")
            return output
        expected = self._eagerly(merged, table)  # raises where the forward itself is at fault, as for want of memory
        if not problem:
            problem = _difference(output, expected)
        if problem:
            self._fail(entry, problem)
        elif _is_finite(expected):  # else nothing was compared
            entry.proved.add(rows == 1)
        return expected

    def _eagerly(self, merged: dict[str, Any], table: AdapterTable | None) -> Any:
        self._ran("eager")
        with applied(self._module, table):
            return self._module(**merged)

    def _entry(self, shape: ForwardShape, layers: LayerNames) -> _Entry | None:
        entry = self._entries.get((shape, layers))
        if entry is None and self.learns:
            try:
                entry = self._new_entry(shape, layers)
            except Exception as error:  # whatever a network holds that cannot be read, copied or sent
                _log.warning("there is no package for a forward, it runs eagerly: %s", error or repr(error))
                self.learns = False
        return entry

    def _new_entry(self, shape: ForwardShape, layers: LayerNames) -> _Entry:
        if self._text is None:
            self._text = network_text(self._module, self._device)
        entry = _Entry(package_key(self._text, shape, layers, self._device))
        entry.file = self._find(entry.key)
        if entry.file is not None:
            entry.state = "ready"
        else:
            self._have_built(entry, shape, layers)
        self._entries[shape, layers] = entry
        self._changed()
        return entry

    def _have_built(self, entry: _Entry, shape: ForwardShape, layers: LayerNames) -> None:
        def done(file: Path | None) -> None:
            entry.file, entry.state = file, "failed" if file is None else "ready"
            self._changed()

        if self._network is None:
            self._network = without_weights(self._module)
        job = Job(
            key=str(entry.key),
            network=self._network,
            weights=constants(self._module) if has_weights(self._device) else None,
            shape=shape,
            layers=layers,
            device=str(self._device),
            threads=torch.get_num_threads(),
            allow_tf32=torch.backends.cuda.matmul.allow_tf32,
            precision=torch.get_float32_matmul_precision(),
        )
        self._order(entry.key, job, done)

    def _package(self, entry: _Entry) -> Package | None:
        if entry.state != "ready":
            return None
        if entry.package is None:
            assert entry.file is not None
            try:
                entry.package = Package(entry.file, str(entry.key), self._module, self._device)
            except PackageError as error:
                self._fail(entry, f"it cannot be loaded: {error}")
        return entry.package

    def _fail(self, entry: _Entry, problem: str) -> None:
        _log.warning("the package %s is not used, its forwards run eagerly: %s", entry.key, problem)
        entry.state, entry.package = "failed", None
        self._changed()


def _difference(output: Any, expected: Any) -> str:
    """What is wrong with an output, compared with an eager one; empty for nothing. Waits for the device."""
    tensors = _tensors(output), _tensors(expected)
    if [tensor.shape for tensor in tensors[0]] != [tensor.shape for tensor in tensors[1]]:
        return "its output has another form"
    for given, wanted in zip(*tensors, strict=True):
        largest = float(wanted.abs().max()) or 1.0
        difference = float((given.float() - wanted.float()).abs().max()) / largest
        if wanted.isfinite().all() and not difference <= _TOLERANCE.get(wanted.dtype, _TOLERANCE_OF_HALF):
            return f"it differs from the eager forward by {difference:.2g} of the largest value"
    return ""


def _is_finite(output: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in _tensors(output))


def _tensors(output: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]


_forwards: WeakKeyDictionary[Any, CompiledForward] = WeakKeyDictionary()


def install(module: Any, forward: CompiledForward) -> None:
    """Have the merged forwards of a denoiser run by `forward`."""
    _forwards[module] = forward


def compiled_forward(module: Any) -> CompiledForward | None:
    """By what the merged forwards of a denoiser are run, if not by itself."""
    return _forwards.get(module)
