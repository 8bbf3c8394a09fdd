"""The table of pipelines against the installed diffusers: what is missing or has changed fails by name."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import pytest

from imagegen.pipelines.class_table import TABLE, row_of, rows_of_weights
from imagegen.pipelines.denoisers import DENOISERS
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

ALWAYS = {"prompt", "num_inference_steps", "generator", "output_type"}
BY_TASK = {TEXT_TO_IMAGE: set(), IMAGE_TO_IMAGE: {"image"}, INPAINTING: {"image", "mask_image"}, EDITING: {"image"}}
WITH_CONTROL = [name for name, row in TABLE.items() if row.control is not None]


def call_of(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(diffusers, name).__call__).parameters)


@pytest.mark.parametrize("name", TABLE)
def test_the_class_takes_what_its_row_says(name: str) -> None:
    row, arguments = TABLE[name], call_of(name)
    wanted = set(ALWAYS).union(*(BY_TASK[task] for task in row.tasks))
    if row.size is not None:
        wanted |= row.size(64, 64).keys()
    if row.control is not None:
        wanted |= {row.control.image, row.control.scale, *filter(None, (row.control.end, row.control.mode))}
    assert wanted - arguments.keys() == set()


@pytest.mark.parametrize("name", TABLE)
def test_nothing_is_required_that_no_request_carries(name: str) -> None:
    row = TABLE[name]
    carried = set(ALWAYS).union(*(BY_TASK[task] for task in row.tasks))
    carried |= set() if row.control is None else {row.control.image}
    required = {key for key, each in call_of(name).items() if each.default is each.empty and key != "self"}
    assert {key for key in required if call_of(name)[key].kind is not inspect.Parameter.VAR_KEYWORD} <= carried


@pytest.mark.parametrize("name", TABLE)
def test_what_can_be_left_out_is_left_out_of_no_task(name: str) -> None:
    """A task of editing that is also one of text has references that may be missing."""
    row = TABLE[name]
    if row.references is not None:
        assert EDITING in row.tasks
        assert (call_of(name)["image"].default is None) or TEXT_TO_IMAGE not in row.tasks
    else:
        assert EDITING not in row.tasks


@pytest.mark.parametrize("name", WITH_CONTROL)
def test_the_networks_of_a_control_are_there(name: str) -> None:
    control = TABLE[name].control
    assert control is not None
    assert hasattr(diffusers, control.network)
    assert control.component in inspect.signature(getattr(diffusers, name).__init__).parameters
    if control.several is not None:
        assert len(inspect.signature(getattr(diffusers, control.several).__init__).parameters) == 2  # self, networks


@pytest.mark.parametrize("name", TABLE)
def test_the_class_has_a_denoiser_and_a_scheduler(name: str) -> None:
    parts = inspect.signature(getattr(diffusers, name).__init__).parameters
    assert set(DENOISERS) & parts.keys()
    assert "scheduler" in parts


def test_classes_of_equal_weights_are_made_of_each_other() -> None:
    """Whatever a class needs beside its control network, the classes of its kind of checkpoint have."""
    for row in TABLE.values():
        own = {row.control.component} if row.control is not None else set()
        plain = [each for each in rows_of_weights(row.weights) if each.control is None]
        assert plain, row.weights
        for base in plain:
            assert _needs(row.name) - own <= _parts(base.name) | _optional(row.name), f"{row.name} of {base.name}"


def _parts(name: str) -> set[str]:
    return set(inspect.signature(getattr(diffusers, name).__init__).parameters)


def _optional(name: str) -> set[str]:
    return set(getattr(diffusers, name)._optional_components)


def _needs(name: str) -> set[str]:
    parameters = inspect.signature(getattr(diffusers, name).__init__).parameters.values()
    return {each.name for each in parameters if each.default is each.empty and each.name != "self"}


def test_two_rows_of_equal_weights_never_do_the_same_task_with_the_same_network() -> None:
    seen: dict[Any, str] = {}
    for row in TABLE.values():
        network = None if row.control is None else row.control.network
        for task in row.tasks:
            assert (row.weights, task, network) not in seen, row.name
            seen[row.weights, task, network] = row.name


def test_a_class_has_the_row_of_the_nearest_that_it_is_derived_from() -> None:
    derived = type("OwnPipeline", (diffusers.StableDiffusionXLImg2ImgPipeline,), {})
    assert row_of(derived) is TABLE["StableDiffusionXLImg2ImgPipeline"]
    assert row_of(diffusers.CogVideoXPipeline) is None
