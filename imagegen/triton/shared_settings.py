"""What one model's configuration says to another model, through the server's run folder.

Each value is configured once, on the model that it belongs to:

    diffusion          RequestLimits, ModelDescription  ─┐
    image_postprocess  whether there is a store         ─┴─> image_preprocess, which checks every request first

The owner writes when it is initialized; the reader looks again with every request, which costs two `stat` calls. So the
order in which models are loaded does not matter, nor that one of them is loaded anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import Conditions, RequestLimits, RequestRules
from imagegen.api.loras import LoraChoice
from imagegen.pipelines.lora_catalog import NO_LORAS, LoraCatalog
from imagegen_client import ModelDescription

SUFFIX = ".shared.json"

Value = TypeVar("Value", bound=BaseModel)


class _DiffusionRules(BaseModel):
    model_config = ConfigDict(frozen=True)

    limits: RequestLimits
    description: ModelDescription | None = None
    catalog: LoraCatalog = NO_LORAS


class _StoreRules(BaseModel):
    model_config = ConfigDict(frozen=True)

    has_store: bool


def _conditions(description: ModelDescription) -> Conditions:
    return Conditions.model_construct(
        max_references=description.max_references,
        least_reference_px=description.least_reference_px,
        max_reference_ratio=description.max_reference_ratio,
        control_types=description.control_types,
        max_controls=description.max_controls,
        control_tasks=tuple(task for task, takes in description.tasks.items() if "control_image" in takes),
        has_control_end=description.has_control_end,
    )


def publish_diffusion(
    folder: Path, limits: RequestLimits, description: ModelDescription, catalog: LoraCatalog = NO_LORAS
) -> None:
    """Say what the diffusion model of a server allows and can do.

    Args:
        folder: the run folder of the server.
        limits: of requests; of a larger group of settings only these are published.
        description: of the checkpoint, once it is warmed up.
        catalog: of the adapters on offer; to be published again when it is another one.
    """
    own = RequestLimits(**{name: getattr(limits, name) for name in RequestLimits.model_fields})
    _publish(folder, "diffusion", _DiffusionRules(limits=own, description=description, catalog=catalog))


def publish_store(folder: Path, *, has_store: bool) -> None:
    """Say whether image_postprocess has a result store.

    Args:
        folder: the run folder of the server.
        has_store: whether response_format url is possible.
    """
    _publish(folder, "image_postprocess", _StoreRules(has_store=has_store))


class SharedRules:
    """Reads what the other models of a server allow. Safe from any thread.

    Args:
        folder: the run folder of the server.
    """

    def __init__(self, folder: Path) -> None:
        defaults = RequestRules()
        self._diffusion = _Shared(folder, "diffusion", _DiffusionRules(limits=defaults.limits))
        self._store = _Shared(folder, "image_postprocess", _StoreRules(has_store=defaults.has_store))

    def __call__(self) -> RequestRules:
        """What is allowed now; the defaults of `RequestRules` where nobody has said."""
        diffusion, store = self._diffusion.read(), self._store.read()
        if (description := diffusion.description) is None:
            return RequestRules.model_construct(limits=diffusion.limits, has_store=store.has_store)
        return RequestRules.model_construct(
            limits=diffusion.limits,
            granularity_px=description.granularity_px,
            model=description.model,
            tasks=tuple(description.tasks),
            conditions=_conditions(description),
            has_store=store.has_store,
        )

    def description(self) -> ModelDescription | None:
        """What the served checkpoint can do, with the adapters on offer now; None while nobody has said."""
        shared = self._diffusion.read()
        if shared.description is None or not shared.description.takes_loras:
            return shared.description
        return replace(shared.description, loras=shared.catalog.names())

    def check_loras(self, loras: Sequence[LoraChoice]) -> None:
        """Refuse adapters that are not on offer.

        Raises:
            InvalidArgument: it names the first, and those that are.
        """
        shared = self._diffusion.read()
        description = shared.description
        if description is not None and not description.takes_loras:
            raise InvalidArgument("lora", f"the model {description.model} takes no adapters")
        shared.catalog.check(loras)


class _Shared(Generic[Value]):
    """One shared value, read again when its file is another one."""

    def __init__(self, folder: Path, owner: str, default: Value) -> None:
        self._path = folder / (owner + SUFFIX)
        self._latest: tuple[tuple[int, int] | None, Value] = None, default

    def read(self) -> Value:
        """The latest value, or the default while there is none."""
        version, value = self._latest
        try:
            found = self._path.stat()
            if version != (found.st_ino, found.st_mtime_ns):
                value = type(value).model_validate_json(self._path.read_bytes())
                self._latest = (found.st_ino, found.st_mtime_ns), value
        except FileNotFoundError:
            pass
        return value


def _publish(folder: Path, owner: str, value: BaseModel) -> None:
    path = folder / (owner + SUFFIX)
    unfinished = path.with_name(f"{owner}.{os.getpid()}{SUFFIX}")
    unfinished.write_text(value.model_dump_json(), encoding="utf-8")
    unfinished.replace(path)  # at once, so that nobody reads half of it
