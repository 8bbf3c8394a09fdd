"""The store of an engine's adapters reads real files for its pipeline, within its bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.adapters.engine_adapters import (
    adapter_store,
    prepare_compiled,
    touched_layers,
    trial_updates,
    warm_up_updates,
)
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.lora_catalog import LoraCatalog
from tests.unit.engine.adapters.made import write_adapter
from tests.unit.engine.adapters.toys import Toy, inputs
from tests.unit.tiny_engine import pipelines


def settings(**values: object) -> EngineSettings:
    return EngineSettings.model_validate({"model": "tiny", **values})


def test_files_are_found_from_the_folder_and_read_for_the_pipeline(tmp_path: Path) -> None:
    write_adapter(pipelines().tasks["text-to-image"].pipeline, tmp_path / "a.safetensors", 1)
    took: list[float] = []
    store = adapter_store(settings(), pipelines(), tmp_path, took.append)
    store.check("a.safetensors")
    store.check("a.safetensors")
    assert len(took) == 1
    with pytest.raises(AdapterError, match="there is no such file"):
        store.check("b.safetensors")


def test_a_compiled_denoiser_has_room_for_a_rank(tmp_path: Path) -> None:
    write_adapter(pipelines().tasks["text-to-image"].pipeline, tmp_path / "a.safetensors", 1, rank=5)
    compiled = settings(compile="torch", row_buckets=(16,), max_lora_rank=4)
    with pytest.raises(AdapterError, match=r"a.safetensors: rank 5; 4 \(max_lora_rank\)"):
        adapter_store(compiled, pipelines(), tmp_path, lambda _: None).check("a.safetensors")


def test_the_rank_of_text_encoders_is_free(tmp_path: Path) -> None:
    """They are never compiled."""
    pipeline = pipelines().tasks["text-to-image"].pipeline
    write_adapter(pipeline, tmp_path / "denoiser.safetensors", 1, rank=2)
    write_adapter(pipeline, tmp_path / "both.safetensors", 1, rank=5, text=True)
    tensors = load_file(tmp_path / "both.safetensors")
    text = {name: tensor for name, tensor in tensors.items() if name.startswith("text_encoder")}
    save_file(load_file(tmp_path / "denoiser.safetensors") | text, tmp_path / "mixed.safetensors")
    compiled = settings(compile="torch", row_buckets=(16,), max_lora_rank=4)
    adapter_store(compiled, pipelines(), tmp_path, lambda _: None).check("mixed.safetensors")


def test_a_file_larger_than_the_device_may_hold_is_not_read(tmp_path: Path) -> None:
    write_adapter(pipelines().tasks["text-to-image"].pipeline, tmp_path / "a.safetensors", 1)
    with pytest.raises(AdapterError, match="1000 are allowed"):
        adapter_store(settings(lora_device_bytes=1000), pipelines(), tmp_path, lambda _: None).check("a.safetensors")


@pytest.mark.parametrize(("compiled", "hooks"), [(False, 0), (True, 1)])
def test_only_what_is_to_be_compiled_has_hooks_beforehand(compiled: bool, hooks: int) -> None:
    module = Toy()
    own = settings(compile="torch", row_buckets=(16,)) if compiled else settings()
    prepare_compiled(own, {"unet": module})
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    assert [len(layer._forward_hooks) for layer in layers] == [hooks] * len(layers)


def test_the_warm_up_adds_nothing() -> None:
    module = Toy()
    prepare_compiled(settings(compile="torch", row_buckets=(16,)), {"unet": module})
    updates = warm_up_updates({"unet": module})["unet"]
    with torch.no_grad(), applied(module, AdapterTable(2, ((0, 2, updates),), whole=True)):
        outputs = module(*inputs(2))
    assert all(torch.equal(output, expected) for output, expected in zip(outputs, Toy()(*inputs(2)), strict=True))


def test_layers_are_those_of_the_adapters_on_offer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """By name first, then of the folder, in which there may be anything."""
    pipeline = pipelines().tasks["text-to-image"].pipeline
    write_adapter(pipeline, tmp_path / "both.safetensors", 1, text=True)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    one = {name: tensor for name, tensor in load_file(tmp_path / "both.safetensors").items() if name.startswith("unet")}
    save_file(dict(sorted(one.items())[:2]), tmp_path / "one.safetensors")  # the pair of one layer
    store = adapter_store(settings(), pipelines(), tmp_path, lambda _: None)
    catalog = LoraCatalog(modules={"named": "one.safetensors"}, folder=str(tmp_path))
    [layers] = touched_layers(store, catalog, 1).values()
    assert len(layers) == 1
    found = touched_layers(store, catalog, 9)
    assert set(found) == {"unet", "text_encoder"}
    assert layers[0] in found["unet"]
    assert found["unet"] == tuple(sorted(found["unet"]))
    assert "no layers are compiled for the adapter broken: broken.safetensors" in caplog.text


def test_packages_are_tried_with_an_adapter_that_shows() -> None:
    module = Toy()
    updates = trial_updates(
        {"unet": module, "controlnet": module}, {"unet": ("conv", "linear"), "text_encoder": ("a",)}
    )
    assert set(updates) == {"unet"}
    with torch.no_grad(), applied(module, AdapterTable(2, ((0, 1, updates["unet"]),), whole=False)):
        outputs = module(*inputs(2))
        expected = Toy()(*inputs(2))
    for output, without in zip(outputs, expected, strict=True):
        assert float((output[0] - without[0]).abs().max()) > 0.01
        assert torch.equal(output[1], without[1])
