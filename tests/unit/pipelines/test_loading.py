"""A checkpoint comes out as diffusers loads it, but network by network, the largest first."""

from __future__ import annotations

import json
import logging
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline, ModelMixin, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models import model_loading_utils

from imagegen.pipelines import mapped_weights
from imagegen.pipelines.loading import load_base
from imagegen.pipelines.mapped_weights import MappedWeights
from imagegen.pipelines.variant import check_variant
from tests.unit import tiny_pipelines as tiny

CPU = torch.device("cpu")


def weights(pipeline: Any) -> dict[str, torch.Tensor]:
    """All parameters and buffers by component and name."""
    return {
        f"{name}.{key}": tensor
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
        for key, tensor in [*part.named_parameters(), *part.named_buffers()]
    }


def saved(pipeline: Any, folder: Path, **options: Any) -> Path:
    pipeline.save_pretrained(folder, **options)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "make",
    [tiny.sd, tiny.sd_controlnet, tiny.sdxl, tiny.sd3, tiny.flux, tiny.pixart_sigma, tiny.sana, tiny.qwen_image],
)
def test_the_pipeline_is_that_of_diffusers(make: Callable[[], Any], dtype: torch.dtype, tmp_path: Path) -> None:
    saved(make(), tmp_path)
    expected = DiffusionPipeline.from_pretrained(str(tmp_path), dtype=dtype)
    loaded = load_base(tmp_path, variant=None, dtype=dtype, device=CPU)
    assert type(loaded) is type(expected)
    assert {name: type(part) for name, part in loaded.components.items()} == {
        name: type(part) for name, part in expected.components.items()
    }
    there, here = weights(expected), weights(loaded)
    assert {name: tensor.dtype for name, tensor in here.items()} == {name: t.dtype for name, t in there.items()}
    assert all(torch.equal(tensor, there[name]) for name, tensor in here.items())
    assert not any(part.training for part in loaded.components.values() if isinstance(part, torch.nn.Module))


def test_a_network_is_converted_before_the_next_is_read_and_the_largest_is_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tiny.sd(), tmp_path)
    steps: list[str] = []
    original = ModelMixin.from_pretrained.__func__

    def from_pretrained(kind: Any, *arguments: Any, **options: Any) -> Any:
        steps.append(f"read {options['subfolder']} of {options['dtype']}")
        model = original(kind, *arguments, **options)
        steps.append(f"has {next(model.parameters()).dtype}")
        return model

    monkeypatch.setattr(ModelMixin, "from_pretrained", classmethod(from_pretrained))
    with caplog.at_level(logging.INFO, "imagegen"):
        load_base(tmp_path, variant=None, dtype=torch.bfloat16, device=CPU)
    assert steps == [
        "read unet of torch.bfloat16",
        "has torch.bfloat16",
        "read vae of torch.bfloat16",
        "has torch.bfloat16",
    ]
    told = [record.getMessage().removeprefix("loading ").split(",")[0] for record in caplog.records]
    sizes = {name: sum(f.stat().st_size for f in (tmp_path / name).glob("*.safetensors")) for name in told}
    assert told == sorted(told, key=lambda name: -sizes[name])
    assert set(told) == {"unet", "vae", "text_encoder"}


def test_a_network_goes_straight_to_another_device_without_hooks(tmp_path: Path) -> None:
    """The whole model lay on the host before any of it was moved."""
    saved(tiny.sdxl(), tmp_path)
    loaded = load_base(tmp_path, variant=None, dtype=torch.bfloat16, device=torch.device("meta"))
    assert {tensor.device.type for tensor in weights(loaded).values()} == {"meta"}
    modules = [part for part in loaded.components.values() if isinstance(part, torch.nn.Module)]
    assert not any(hasattr(module, "_hf_hook") for part in modules for module in part.modules())


def test_of_a_network_for_another_device_the_host_holds_a_tensor_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tiny.sd(), tmp_path)
    read: list[weakref.ref[torch.Tensor]] = []
    held: list[int] = []

    class Spy(MappedWeights):
        def __getitem__(self, name: str) -> torch.Tensor:
            held.append(sum(reference() is not None for reference in read))
            tensor = super().__getitem__(name)
            read.append(weakref.ref(tensor))
            return tensor

    monkeypatch.setattr(mapped_weights, "MappedWeights", Spy)
    loaded = load_base(tmp_path, variant=None, dtype=torch.bfloat16, device=torch.device("meta"))
    assert len(read) == len(loaded.unet.state_dict()) + len(loaded.vae.state_dict())
    assert max(held) <= 1


def test_a_variant_is_taken_where_there_is_one(tmp_path: Path) -> None:
    saved(tiny.sd(), tmp_path)
    unet = UNet2DConditionModel.from_pretrained(str(tmp_path), subfolder="unet")
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.fill_(0.5)
    unet.save_pretrained(tmp_path / "unet", variant="fp16")
    found = [
        next(load_base(tmp_path, variant=variant, dtype=torch.float32, device=CPU).unet.parameters()).mean().item()
        for variant in ("fp16", None)
    ]
    assert found[0] == 0.5
    assert found[1] != 0.5


def test_weights_in_pickled_files_are_read(tmp_path: Path) -> None:
    saved(tiny.sd(), tmp_path, safe_serialization=False)
    assert load_base(tmp_path, variant=None, dtype=torch.float32, device=CPU).unet is not None


class KeepsList(StableDiffusionPipeline):  # type: ignore[misc]
    """Takes a list that names no component, as Krea 2's pipeline takes layers and Qwen-Image 2.1's sigmas."""

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any,
        feature_extractor: Any,
        image_encoder: Any = None,
        requires_safety_checker: bool = True,
        numbers: Any = None,
    ) -> None:
        parts = vae, text_encoder, tokenizer, unet, scheduler, safety_checker, feature_extractor, image_encoder
        super().__init__(*parts, requires_safety_checker)
        self.register_to_config(numbers=numbers)


@pytest.mark.parametrize("numbers", [list(range(12)), [1.0, 0.5], []], ids=str)
def test_a_list_that_names_no_component_is_an_argument_of_the_pipeline(
    numbers: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a library and a class, and the checkpoint was not loaded."""
    monkeypatch.setattr(diffusers, "KeepsList", KeepsList, raising=False)
    saved(tiny.sd(), tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "KeepsList", "numbers": numbers}))
    check_variant(tmp_path, None)
    loaded = load_base(tmp_path, variant=None, dtype=torch.float32, device=CPU)
    assert loaded.config.numbers == numbers
    assert loaded.unet is not None


def test_two_threads_load_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each replaces functions of diffusers meanwhile, and puts back what it found there."""
    saved(tiny.sd(), tmp_path)
    inside = [0]
    most = [0]
    original = DiffusionPipeline.from_pretrained.__func__

    def from_pretrained(kind: Any, *arguments: Any, **options: Any) -> Any:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        pipeline = original(kind, *arguments, **options)
        inside[0] -= 1
        return pipeline

    monkeypatch.setattr(DiffusionPipeline, "from_pretrained", classmethod(from_pretrained))
    reader = model_loading_utils.load_state_dict

    def load(_: int) -> Any:
        return load_base(tmp_path, variant=None, dtype=torch.bfloat16, device=CPU)

    with ThreadPoolExecutor(2) as pool:
        first, second = (weights(pipeline) for pipeline in pool.map(load, range(2)))
    assert most == [1]
    assert model_loading_utils.load_state_dict is reader
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_what_the_pipeline_does_not_take_is_not_loaded(tmp_path: Path) -> None:
    saved(tiny.sd(), tmp_path)
    index = tmp_path / "model_index.json"
    config = json.loads(index.read_text())
    config["unheard_of"] = ["diffusers", "AutoencoderKL"]
    index.write_text(json.dumps(config))
    (tmp_path / "unheard_of").mkdir()
    assert not hasattr(load_base(tmp_path, variant=None, dtype=torch.float32, device=CPU), "unheard_of")
