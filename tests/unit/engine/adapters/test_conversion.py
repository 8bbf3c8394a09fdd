from __future__ import annotations

import json
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter import Adapter, AdapterError
from imagegen.engine.adapters.adapter_file import read_file
from imagegen.engine.adapters.conversion import to_adapter
from imagegen.engine.module_proxy import ModuleProxy
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.adapters.formats import diffusers_linear_layers, diffusers_processors, kohya
from tests.unit.engine.adapters.reference import (
    FILE_NAME,
    MAX_BYTES,
    Tensors,
    assert_as_diffusers,
    assert_same,
    deltas_of,
    file_of,
    tensors_of,
    trained,
    written,
)

UNET = (
    *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
    *("conv1", "conv2", "conv_shortcut", "time_emb_proj", "conv_in", "conv_out"),
)
TRANSFORMER = ("to_q", "to_k", "to_v", "to_out.0", "add_k_proj", "proj_out", "linear", "linear_1", "net.2")
TEXT_ENCODER = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
TARGETS = {
    "unet": UNET,
    "transformer": TRANSFORMER,
    "text_encoder": TEXT_ENCODER,
    "text_encoder_2": TEXT_ENCODER,
}
FAMILIES = (
    *("sd", "sd_image_to_image", "sd_inpainting", "sdxl", "sd3"),
    *("flux", "flux_kontext", "qwen_image", "z_image", "sana", "lumina2"),
)
KOHYA_SD = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
KOHYA_SDXL = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


@cache
def pipeline(family: str) -> Any:
    """No test changes it for good."""
    return getattr(tiny, family)()


def targets(family: str) -> dict[str, tuple[str, ...]]:
    return {component: TARGETS[component] for component in type(pipeline(family))._lora_loadable_modules}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """For a family, the file of an adapter for all kinds of its layers, as diffusers writes it."""

    @cache
    def made(family: str) -> Path:
        return trained(pipeline(family), targets(family), tmp_path_factory.mktemp(family))

    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_is_what_diffusers_makes_of_it(saved: Callable[[str], Path], family: str) -> None:
    adapter = assert_as_diffusers(pipeline(family), saved(family))
    assert adapter.components.keys() == targets(family).keys()
    assert adapter.rank == 3
    assert adapter.warnings == ()


@pytest.mark.parametrize("family", ["sd", "flux", "z_image"])
@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": 7},
        {"lora_alpha": 5, "use_rslora": True},
        {"lora_alpha": 5, "rank_pattern": {"to_k": 2, "to_v": 4}, "alpha_pattern": {"to_k": 1, "to_out.0": 6}},
    ],
    ids=["alpha", "rslora", "patterns"],
)
def test_the_header_says_how_strong_it_is(tmp_path: Path, family: str, config: dict[str, Any]) -> None:
    denoiser = type(pipeline(family))._lora_loadable_modules[0]
    path = trained(
        pipeline(family), {denoiser: ("to_q", "to_k", "to_v", "to_out.0")}, tmp_path, with_metadata=True, **config
    )
    assert json.loads(read_file(path, MAX_BYTES).metadata["lora_adapter_metadata"])
    assert_as_diffusers(pipeline(family), path)


def test_the_header_of_a_text_encoder_counts_for_it_alone(tmp_path: Path) -> None:
    path = trained(pipeline("sd"), {"text_encoder": TEXT_ENCODER}, tmp_path, with_metadata=True, lora_alpha=9)
    assert_as_diffusers(pipeline("sd"), path)


@pytest.mark.parametrize("layers", [("q_proj",), ("fc2",), ("out_proj", "fc1")])
def test_a_text_encoder_may_have_pairs_of_a_few_kinds_alone(
    saved: Callable[[str], Path], layers: tuple[str, ...]
) -> None:
    tensors = {
        key: tensor
        for key, tensor in tensors_of(saved("sd")).items()
        if key.startswith("text_encoder.") and any(f".{layer}." in key for layer in layers)
    }
    whole = deltas_of(to_adapter(read_file(saved("sd"), MAX_BYTES), pipeline("sd")))["text_encoder"]
    for form in (tensors, diffusers_processors(tensors), diffusers_linear_layers(tensors)):
        found = deltas_of(to_adapter(file_of(form), pipeline("sd")))
        expected = {name: delta for name, delta in whole.items() if name.endswith(layers)}
        assert_same(found, {"text_encoder": expected})


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("form", [diffusers_processors, diffusers_linear_layers])
def test_older_names_of_diffusers_are_known(
    saved: Callable[[str], Path], tmp_path: Path, family: str, form: Callable[[Tensors], Tensors]
) -> None:
    assert_as_diffusers(pipeline(family), written(form(tensors_of(saved(family))), tmp_path))


@pytest.mark.parametrize(("family", "prefixes"), [("sd", KOHYA_SD), ("sdxl", KOHYA_SDXL)])
def test_kohyas_names_and_alphas_are_known(
    saved: Callable[[str], Path], tmp_path: Path, family: str, prefixes: dict[str, str]
) -> None:
    tensors = kohya(tensors_of(saved(family)), prefixes, lambda _: 1.5)
    assert_as_diffusers(pipeline(family), written(tensors, tmp_path))


@pytest.mark.parametrize(("family", "prefixes"), [("sd", KOHYA_SD), ("sdxl", KOHYA_SDXL)])
def test_each_layer_has_its_own_alpha(saved: Callable[[str], Path], family: str, prefixes: dict[str, str]) -> None:
    # Not compared with diffusers, which gives attention's layers and text encoders the alpha that most layers have.
    def alpha(name: str) -> float:
        return 1.0 if name.endswith(("to_q", "q_proj", "conv1")) else 6.0

    plain = deltas_of(to_adapter(read_file(saved(family), MAX_BYTES), pipeline(family)))
    found = deltas_of(to_adapter(file_of(kohya(tensors_of(saved(family)), prefixes, alpha)), pipeline(family)))
    expected = {
        part: {name: delta * (alpha(name) / 3) for name, delta in layers.items()} for part, layers in plain.items()
    }
    assert_same(found, expected)


def test_names_with_an_adapters_name_in_between_are_known(saved: Callable[[str], Path]) -> None:
    tensors = tensors_of(saved("sd"))
    named = {key.replace(".weight", ".default.weight"): tensor for key, tensor in tensors.items()}
    assert_same(
        deltas_of(to_adapter(file_of(named), pipeline("sd"))), deltas_of(to_adapter(file_of(tensors), pipeline("sd")))
    )


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_a_denoisers_own_file_has_no_component_in_its_names(saved: Callable[[str], Path], family: str) -> None:
    denoiser = type(pipeline(family))._lora_loadable_modules[0]
    tensors = {key: tensor for key, tensor in tensors_of(saved(family)).items() if key.startswith(f"{denoiser}.")}
    metadata = {"lora_adapter_metadata": json.dumps({"r": 3, "lora_alpha": 6})}
    bare = {key.removeprefix(f"{denoiser}."): tensor for key, tensor in tensors.items()}
    found = deltas_of(to_adapter(file_of(bare, metadata), pipeline(family)))
    plain = deltas_of(to_adapter(file_of(tensors), pipeline(family)))
    assert_same(found, {denoiser: {name: 2 * delta for name, delta in plain[denoiser].items()}})


def test_components_may_be_proxies(saved: Callable[[str], Path]) -> None:
    wrapped = tiny.sd()
    expected = to_adapter(read_file(saved("sd"), MAX_BYTES), wrapped)
    # As the engine does for as long as a request runs.
    wrapped.register_modules(
        unet=ModuleProxy(wrapped.unet), text_encoder=ModuleProxy(ModuleProxy(wrapped.text_encoder))
    )
    assert_same(deltas_of(to_adapter(read_file(saved("sd"), MAX_BYTES), wrapped)), deltas_of(expected))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_matrices_have_the_dtype_of_their_layers(saved: Callable[[str], Path], dtype: torch.dtype) -> None:
    half = tiny.sd()
    half.unet.to(dtype)
    half.unet.conv_in.to(torch.float32)
    adapter = to_adapter(read_file(saved("sd"), MAX_BYTES), half)
    kinds = {name: {layer.down.dtype, layer.up.dtype} for name, layer in adapter.components["unet"].items()}
    assert kinds.pop("conv_in") == {torch.float32}
    assert set().union(*kinds.values()) == {dtype}
    assert all(layer.up.dtype == torch.float32 for layer in adapter.components["text_encoder"].values())


def test_pairs_of_fused_projections_move_into_them(saved: Callable[[str], Path]) -> None:
    fused = tiny.sd()
    separate = to_adapter(read_file(saved("sd"), MAX_BYTES), fused)
    fused.fuse_qkv_projections()
    adapter = to_adapter(read_file(saved("sd"), MAX_BYTES), fused)
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    assert f"{name}.to_q" not in adapter.components["unet"]
    parts = [deltas_of(separate)["unet"][f"{name}.{part}"] for part in ("to_q", "to_k", "to_v")]
    torch.testing.assert_close(deltas_of(adapter)["unet"][f"{name}.to_qkv"], torch.cat(parts))


def test_neither_the_file_nor_the_pipeline_changes(saved: Callable[[str], Path]) -> None:
    tensors = kohya(tensors_of(saved("sd")), KOHYA_SD, lambda _: 1.0)
    before = {key: tensor.clone() for key, tensor in tensors.items()}
    names = list(pipeline("sd").unet.state_dict())
    to_adapter(file_of(tensors), pipeline("sd"))
    assert tensors.keys() == before.keys()
    assert all(torch.equal(tensors[key], tensor) for key, tensor in before.items())
    assert list(pipeline("sd").unet.state_dict()) == names


def test_many_threads_may_convert_at_once(saved: Callable[[str], Path]) -> None:
    file = read_file(saved("sd"), MAX_BYTES)
    expected = deltas_of(to_adapter(file, pipeline("sd")))
    found: list[Adapter] = []
    threads = [threading.Thread(target=lambda: found.append(to_adapter(file, pipeline("sd")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for adapter in found:
        assert_same(deltas_of(adapter), expected)


def test_a_pipeline_that_takes_no_lora_in_diffusers_says_so(saved: Callable[[str], Path]) -> None:
    with pytest.raises(AdapterError, match=f"^{FILE_NAME}: PixArtSigmaPipeline takes no LoRA in diffusers$"):
        to_adapter(read_file(saved("sd"), MAX_BYTES), tiny.pixart_sigma())
