"""Control networks are loaded by type, and each task has the pipeline that calls them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.api.limits import NO_CONDITIONS
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from imagegen.pipelines.controls import NO_CONTROLS
from imagegen.pipelines.settings import PipelineSettings
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_pipelines import control_networks as nets

pytestmark = pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")


def loaded(folder: Path, base: Any, **networks: Callable[[], Any]) -> Pipelines:
    for name, make in networks.items():
        make().save_pretrained(folder / name)
    settings = PipelineSettings(controlnets=tuple(f"{name}={name}" for name in networks))
    return describe_pipelines(base, settings, torch.device("cpu"), folder)


def test_each_type_has_its_network_and_each_task_its_pipeline(tmp_path: Path) -> None:
    base = tiny.sd()
    pipelines = loaded(tmp_path, base, canny=nets.sd_net, depth=nets.sd_net)
    controls = pipelines.controls
    assert list(controls.types) == ["canny", "depth"]
    assert controls.types["canny"].network is not controls.types["depth"].network
    made = {task: controls.pipeline_of(task, ("canny", "depth")) for task in pipelines.tasks}
    assert {task: each and type(each.pipeline).__name__ for task, each in made.items()} == {
        TEXT_TO_IMAGE: "StableDiffusionControlNetPipeline",
        IMAGE_TO_IMAGE: "StableDiffusionControlNetImg2ImgPipeline",
        INPAINTING: "StableDiffusionControlNetInpaintPipeline",
    }
    assert all(each is not None and each.pipeline.unet is base.unet for each in made.values())
    conditions = pipelines.conditions
    assert conditions.control_types == ("canny", "depth")
    assert conditions.max_controls == 4
    assert conditions.has_control_end


def test_a_network_of_several_types_gives_each_by_its_number(tmp_path: Path) -> None:
    controls = loaded(tmp_path, tiny.sdxl(), union=nets.sdxl_union).controls
    names = ["pose", "depth", "scribble", "canny", "normal", "segment"]
    assert {name: each.mode for name, each in controls.types.items()} == {name: i for i, name in enumerate(names)}
    assert len({id(each.network) for each in controls.types.values()}) == 1


def test_networks_of_several_kinds_are_never_in_one_call(tmp_path: Path) -> None:
    pipelines = loaded(tmp_path, tiny.sd_for_adapters(), canny=nets.sd_net, sketch=nets.sd_adapter)
    assert pipelines.controls.pipeline_of(TEXT_TO_IMAGE, ("canny", "sketch")) is None
    assert pipelines.controls.pipeline_of(IMAGE_TO_IMAGE, ("sketch",)) is None
    assert pipelines.conditions.control_tasks == (TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING)


def test_a_class_that_takes_one_says_so(tmp_path: Path) -> None:
    conditions = loaded(tmp_path, tiny.z_image(), canny=nets.z_image_net).conditions
    assert conditions.max_controls == 1
    assert not conditions.has_control_end


@pytest.mark.parametrize(
    ("base", "networks", "message"),
    [
        (tiny.sd, {"canny": nets.sd3_net}, "canny is of class SD3ControlNetModel; .* takes ControlNetModel or T2IAda"),
        (tiny.lumina2, {"canny": nets.sd_net}, "canny is of class ControlNetModel; a Lumina2Pipeline takes none"),
        (tiny.flux, {"canny": nets.flux_union}, "canny knows several types, canny, tile, depth, blur; name it union"),
    ],
)
def test_a_network_that_does_not_fit_is_named(base: Any, networks: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"parameter controlnets: {message}"):
        loaded(tmp_path, base(), **networks)


def test_a_network_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        describe_pipelines(
            tiny.sd(), PipelineSettings(controlnets=("canny=no/nowhere/at/all",)), torch.device("cpu"), tmp_path
        )


def test_changed_pipelines_are_those_of_the_controls_too(tmp_path: Path) -> None:
    pipelines = loaded(tmp_path, tiny.sd(), canny=nets.sd_net)
    changed = pipelines.with_pipelines(lambda pipeline: ("changed", pipeline))
    found = changed.controls.pipeline_of(TEXT_TO_IMAGE, ("canny",))
    assert found is not None
    assert found.pipeline[0] == "changed"
    assert sum(1 for _ in pipelines.all_pipelines()) == 6


def test_without_networks_there_is_nothing_to_ask_for() -> None:
    assert NO_CONTROLS.conditions() is NO_CONDITIONS
    assert NO_CONTROLS.pipeline_of(TEXT_TO_IMAGE, ()) is None
