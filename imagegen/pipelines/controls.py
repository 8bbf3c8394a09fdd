"""The control networks of a checkpoint, by the types that requests name, and the pipelines that call them.

controlnets = canny=FOLDER,depth=HUB_ID,union=FOLDER ── load_controls ── Controls
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from imagegen.api.limits import MAX_CONTROLS, NO_CONDITIONS, Conditions
from imagegen.file_names import native
from imagegen.pipelines.class_table import rows_of_weights
from imagegen.pipelines.classes import derived
from imagegen.pipelines.denoisers import denoisers_of
from imagegen.pipelines.loading import load_network, network_class
from imagegen.pipelines.pipeline_class import Control, PipelineClass
from imagegen.pipelines.settings import PipelineSettings
from imagegen.pipelines.task_pipeline import TaskPipeline

_UNION = "union"


@dataclass(frozen=True)
class ControlType:
    """What a control image may show, and who reads it.

    Attributes:
        network: that reads it; others may share it.
        kind: name of the network's class.
        mode: number of the type, of a network that knows several.
    """

    network: Any
    kind: str
    mode: int | None = None


@dataclass(frozen=True)
class Controls:
    """All controls of a checkpoint.

    Attributes:
        types: by name.
        pipelines: those that call the networks, by task and by name of the network's class.
    """

    types: Mapping[str, ControlType] = field(default_factory=dict)
    pipelines: dict[tuple[str, str], TaskPipeline] = field(default_factory=dict)

    def pipeline_of(self, task: str, types: tuple[str, ...]) -> TaskPipeline | None:
        """The pipeline for a task with controls of these types; None where there is none for all of them together."""
        kinds = {self.types[name].kind for name in types}
        return self.pipelines.get((task, *kinds)) if len(kinds) == 1 else None  # type: ignore[arg-type]

    def of(self, types: tuple[str, ...]) -> list[ControlType]:
        """The types of these names."""
        return [self.types[name] for name in types]

    @property
    def granularity_px(self) -> int:
        """Both sides of an image are multiples of this: a T2I-Adapter makes one pixel of so many."""
        return math.lcm(*(getattr(each.network, "downscale_factor", 1) for each in self.types.values()))

    def with_pipelines(self, change: Callable[[Any], Any]) -> Controls:
        """The same controls, each pipeline as `change` makes it."""
        changed = {key: replace(task, pipeline=change(task.pipeline)) for key, task in self.pipelines.items()}
        return replace(self, pipelines=changed)

    def conditions(self) -> Conditions:
        """What a request may bring of them."""
        if not self.types:
            return NO_CONDITIONS
        controls = [task.row.control for task in self.pipelines.values() if task.row.control is not None]
        several = any(control.several or control.mode for control in controls)
        return Conditions(
            control_types=tuple(self.types),
            max_controls=MAX_CONTROLS if several else 1,
            control_tasks=tuple(dict.fromkeys(task for task, _ in self.pipelines)),
            has_control_end=any(control.end for control in controls),
        )


NO_CONTROLS = Controls()


def load_controls(
    base: Any, row: PipelineClass, tasks: Mapping[str, Any], settings: PipelineSettings, folder: Path
) -> Controls:
    """Load the control networks of `settings` for a loaded pipeline.

    Args:
        base: the loaded pipeline.
        row: of its class.
        tasks: that the checkpoint does.
        settings: which networks.
        folder: where relative folders start.

    Raises:
        OSError: there is no such network; it is named.
        ValueError: one does not fit the checkpoint, or gives a type that another one gives too; it is named.
    """
    rows = [each for each in rows_of_weights(row.weights) if each.control is not None and set(each.tasks) & set(tasks)]
    types = _load_types(base, {each.control.network: each.control for each in rows if each.control}, settings, folder)
    pipelines = {}
    for each in rows:
        assert each.control is not None
        network = next((one.network for one in types.values() if one.kind == each.control.network), None)
        if network is not None:
            made = TaskPipeline.of(derived(base, each, {each.control.component: network}), each)
            pipelines.update({(task, each.control.network): made for task in each.tasks if task in tasks})
    return Controls(types, pipelines)


def _load_types(
    base: Any, kinds: Mapping[str, Control], settings: PipelineSettings, folder: Path
) -> dict[str, ControlType]:
    """The types of all networks that are named; `kinds` are those that fit, by class."""
    denoiser: Any = next(iter(denoisers_of(base).values()))  # other components may be of another dtype
    types: dict[str, ControlType] = {}
    loaded: dict[str, Any] = {}  # a network may have several names
    for name, _, place in (each.partition("=") for each in settings.controlnets):
        parameter = f"parameter controlnets: {name}"
        source = folder / native(place)
        where = source if source.is_dir() else place
        if isinstance(where, str) and (where.startswith("/") or where.count("/") > 1):
            raise OSError(f"{parameter}={place} is neither a folder that is there nor a hub id")
        with _named(f"{parameter}={place}"):
            kind = network_class(where)
        if kind not in kinds:
            fitting = " or ".join(kinds) or "none"
            raise ValueError(f"{parameter} is of class {kind}; a {type(base).__name__} takes {fitting}")
        if place not in loaded:
            with _named(f"{parameter}={place}"):
                loaded[place] = load_network(kind, where, dtype=denoiser.dtype, device=denoiser.device)
        given = _types(name, loaded[place], kind, kinds[kind])
        if twice := given.keys() & types.keys():
            raise ValueError(f"parameter controlnets: {', '.join(sorted(twice))} of {name} is there already")
        types |= given
    return types


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Errors of files within the block say whose they are.

    Raises:
        OSError, ValueError: as the block.
    """
    try:
        yield
    except OSError as error:
        raise OSError(f"{what}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def _types(name: str, network: torch.nn.Module, kind: str, control: Control) -> dict[str, ControlType]:
    """The types that a network gives, by name.

    Raises:
        ValueError: it knows several, and its name says one.
    """
    known = _modes(network, control)
    if not known:
        return {name: ControlType(network, kind)}
    if name != _UNION:
        raise ValueError(f"parameter controlnets: {name} knows several types, {', '.join(known)}; name it {_UNION}")
    return {known_name: ControlType(network, kind, mode) for mode, known_name in enumerate(known)}


def _modes(network: Any, control: Control) -> tuple[str, ...]:
    """The types that a network of several knows, in the order of their numbers; empty for one of one type."""
    count = getattr(network.config, "num_control_type", None) or getattr(network.config, "num_mode", None)
    return control.modes[: int(count)] if count else ()
