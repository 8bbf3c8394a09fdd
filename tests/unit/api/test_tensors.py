"""The public tensors are well formed, and every `config.pbtxt` says the same as the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imagegen.api import limits, tensors
from imagegen.api.tensors import INPUTS, OUTPUTS, STREAM_INPUTS, STREAM_OUTPUTS, PublicTensor
from imagegen.launch.staging import read_model_config

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
MODELS = ("diffusion", "image_generation", "image_generation_stream", "image_postprocess", "image_preprocess")


def declared(model: str, side: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and dims of the inputs or outputs of a model, by name, in the order of its configuration."""
    return {t.name: _declaration(t) for t in getattr(read_model_config(REPOSITORY / model / "config.pbtxt"), side)}


def _declaration(tensor: Any) -> tuple[str, tuple[int, ...]]:
    kind = type(tensor).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[tensor.data_type].name
    return kind.removeprefix("TYPE_"), tuple(tensor.dims)


def documented(table: tuple[PublicTensor, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {tensor.name: (tensor.data_type, tensor.dims) for tensor in table}


def test_names_are_unique_and_lower_case() -> None:
    names = [tensor.name for tensor in INPUTS + OUTPUTS]
    assert len(set(names)) == len(names)
    assert names == [name.lower() for name in names]
    assert tuple(names[: len(INPUTS)]) == tensors.INPUT_NAMES


def test_types_are_those_that_the_request_parser_reads() -> None:
    assert {tensor.data_type for tensor in INPUTS} == {"STRING", "INT32", "INT64", "FP32", "BOOL"}
    assert {tensor.dims for tensor in INPUTS + OUTPUTS} == {(1,), (-1,)}


def test_every_input_has_a_documented_default_and_rule_and_only_the_prompt_is_required() -> None:
    assert all(tensor.default and tensor.rule for tensor in INPUTS)
    assert [tensor.name for tensor in INPUTS if tensor.default == "required"] == ["prompt"]


def test_the_rules_quote_the_limits() -> None:
    rules = {tensor.name: tensor.rule for tensor in INPUTS}
    assert rules["prompt"].startswith(f"1..{limits.MAX_PROMPT_CHARACTERS} ")
    assert rules["image"].startswith(f"1..{limits.MAX_IMAGES} ")
    assert rules["n"].startswith(f"1..{limits.MAX_N} ")
    assert rules["timeout_ms"].startswith(f"1..{limits.MAX_TIMEOUT_MS},")
    assert rules["user"].startswith(f"1..{limits.MAX_USER_CHARACTERS} ")
    assert rules["seed"].startswith("0..2^63-1;")
    assert limits.MAX_SEED == 2**63 - 1


@pytest.mark.parametrize("model", ["image_generation", "image_preprocess"])
def test_the_entry_models_take_the_public_inputs_in_the_order_of_the_table(model: str) -> None:
    assert list(declared(model, "input").items()) == list(documented(INPUTS).items())


@pytest.mark.parametrize("model", ["image_generation", "image_postprocess"])
def test_the_last_models_give_the_public_outputs(model: str) -> None:
    assert list(declared(model, "output").items()) == list(documented(OUTPUTS).items())


def test_the_stream_takes_and_gives_what_its_tables_say() -> None:
    assert list(declared("image_generation_stream", "input").items()) == list(documented(STREAM_INPUTS).items())
    assert list(declared("image_generation_stream", "output").items()) == list(documented(STREAM_OUTPUTS).items())
    assert STREAM_INPUTS[: len(INPUTS)] == INPUTS
    assert {tensor.name for tensor in OUTPUTS} <= {tensor.name for tensor in STREAM_OUTPUTS}


@pytest.mark.parametrize("model", MODELS)
def test_a_public_name_means_the_same_in_every_model(model: str) -> None:
    public = documented(STREAM_INPUTS + STREAM_OUTPUTS)
    for name, declaration in (declared(model, "input") | declared(model, "output")).items():
        assert public.get(name, declaration) == declaration, name


@pytest.mark.parametrize("model", MODELS)
def test_every_public_input_is_optional_so_that_our_own_error_names_a_missing_prompt(model: str) -> None:
    config = read_model_config(REPOSITORY / model / "config.pbtxt")
    public = [tensor for tensor in config.input if tensor.name in tensors.INPUT_NAMES]
    assert public
    assert all(tensor.optional for tensor in public)


@pytest.mark.parametrize("model", MODELS)
def test_each_folder_is_named_as_its_model_and_does_not_batch_in_triton(model: str) -> None:
    config = read_model_config(REPOSITORY / model / "config.pbtxt")
    assert config.name == model
    assert config.max_batch_size == 0


@pytest.mark.parametrize("model", ["image_preprocess", "image_postprocess", "image_generation_stream"])
def test_only_diffusion_has_queue_policies(model: str) -> None:
    """A model with them sleeps up to half a second on a wakeup that Triton 24.10 loses."""
    assert not read_model_config(REPOSITORY / model / "config.pbtxt").HasField("dynamic_batching")


def test_the_ensemble_hands_every_input_to_each_step_that_knows_it() -> None:
    ensemble = read_model_config(REPOSITORY / "image_generation" / "config.pbtxt")
    for step in ensemble.ensemble_scheduling.step:
        takes = declared(step.model_name, "input")
        if step.model_name == "diffusion":
            takes = {name: tensor for name, tensor in takes.items() if name not in ("stream_id", "partial_images")}
        assert set(step.input_map) == set(takes), f"{step.model_name} misses an input"
        gives = set(declared(step.model_name, "output")) - {tensors.DESCRIPTION_OUTPUT}
        assert set(step.output_map) == gives, step.model_name
        for name in takes:
            if name in tensors.INPUT_NAMES:
                assert step.input_map[name] == name


@pytest.mark.parametrize(
    ("model", "readers"),
    [("diffusion", tensors.DIFFUSION_INPUTS), ("image_postprocess", tensors.POSTPROCESS_INPUTS)],
)
def test_a_model_takes_the_public_inputs_that_say_it_reads_them(model: str, readers: tuple[str, ...]) -> None:
    assert tuple(name for name in declared(model, "input") if name in tensors.INPUT_NAMES) == readers


@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        ("image_preprocess", (*tensors.PREPROCESS_OUTPUTS, tensors.DESCRIPTION_OUTPUT)),
        ("diffusion", tensors.DIFFUSION_OUTPUTS),
    ],
)
def test_a_models_outputs_are_those_that_the_stream_asks_for(model: str, outputs: tuple[str, ...]) -> None:
    assert tuple(declared(model, "output")) == outputs


def test_tensors_between_the_steps_have_one_type() -> None:
    ensemble = read_model_config(REPOSITORY / "image_generation" / "config.pbtxt")
    made: dict[str, tuple[str, tuple[int, ...]]] = documented(INPUTS)
    for step in ensemble.ensemble_scheduling.step:
        for name, flow in step.input_map.items():
            (kind, dims), (made_kind, made_dims) = declared(step.model_name, "input")[name], made[flow]
            assert kind == made_kind, f"{step.model_name}.{name}"
            # The postprocessor takes any number of channels.
            pairs = zip(dims, made_dims, strict=True)
            assert all(taken in (made_dim, -1) for taken, made_dim in pairs), f"{step.model_name}.{name}"
        made |= {flow: declared(step.model_name, "output")[name] for name, flow in step.output_map.items()}
