"""Puts pipelines on the device, and an engine whose device thread knows it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.device_thread import DeviceThread
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from tests.accelerator.device import TORCH_DEVICE
from tests.accelerator.modes import device_on_this_thread
from tests.accelerator.tensor import placed


def move_pipeline(pipeline: Any) -> Any:
    """The same pipeline with the weights of all its modules on the device. Weights that are shared stay shared."""
    moved: dict[int, torch.Tensor] = {}
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            for module in component.modules():
                _move(module._parameters, moved, is_parameter=True)
                _move(module._buffers, moved, is_parameter=False)
    return pipeline


def _move(tensors: Any, moved: dict[int, torch.Tensor], *, is_parameter: bool) -> None:
    """Put the device's tensors in place of the host's: a module's own `to` cannot."""
    for name, tensor in tensors.items():
        if tensor is None or tensor.device == TORCH_DEVICE:
            continue
        if id(tensor) not in moved:
            there: Any = placed(tensor.detach())
            if is_parameter:
                there._is_param = True
            moved[id(tensor)] = there
        tensors[name] = moved[id(tensor)]


def described(pipeline: Any, settings: EngineSettings) -> Pipelines:
    """A pipeline on the device, with all its tasks, as `load_pipelines` describes one."""
    return describe_pipelines(move_pipeline(pipeline), settings, TORCH_DEVICE)


@contextmanager
def engine_on_device(pipelines: Pipelines, settings: EngineSettings, **options: Any) -> Iterator[Engine]:
    """An engine whose device thread uses the device; one thread of torch, as in production."""
    run = DeviceThread._run

    def run_with_device(thread: DeviceThread) -> None:
        with device_on_this_thread():
            run(thread)

    with (
        mock.patch.object(DeviceThread, "_run", run_with_device),
        Engine(settings, pipelines=pipelines, **options) as engine,
    ):
        yield engine
