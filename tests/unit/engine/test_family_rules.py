"""What single families need so that their calls share forwards."""

from __future__ import annotations

import diffusers
import pytest
import torch

from imagegen.engine.family_rules import (
    PREPARE,
    QWEN_TEXT_BUCKET,
    SAME_AT_EVERY_STEP,
    SAMPLE_LENGTH_MULTIPLE,
    as_tuple,
    pad_qwen_text,
)


@pytest.mark.parametrize("name", [*PREPARE, *SAME_AT_EVERY_STEP, *(name for name, _ in SAMPLE_LENGTH_MULTIPLE)])
def test_the_classes_exist(name: str) -> None:
    assert issubclass(getattr(diffusers, name), torch.nn.Module)


@pytest.mark.parametrize(("tokens", "padded"), [(1, 64), (64, 64), (65, 128)])
@pytest.mark.parametrize("masked", [True, False])
def test_text_is_padded_to_a_bucket_and_masked(tokens: int, padded: int, masked: bool) -> None:
    text = torch.ones(2, tokens, 3)
    mask = torch.ones(2, tokens) if masked else None
    arguments = pad_qwen_text({"encoder_hidden_states": text, "encoder_hidden_states_mask": mask, "other": 1})
    assert arguments["encoder_hidden_states"].shape == (2, padded, 3)
    assert padded % QWEN_TEXT_BUCKET == 0
    assert arguments["encoder_hidden_states_mask"].dtype == torch.bool
    for name in ("encoder_hidden_states_mask", "encoder_hidden_states"):
        assert arguments[name].reshape(2, padded, -1)[..., 0].sum() == 2 * tokens
    assert arguments["other"] == 1


def test_what_is_no_text_is_left_alone() -> None:
    arguments = {"encoder_hidden_states": [1, 2]}
    assert pad_qwen_text(arguments) is arguments


def test_a_tuple_is_asked_for_whatever_the_pipeline_says() -> None:
    assert as_tuple({"t": 1}) == as_tuple({"t": 1, "return_dict": True}) == {"t": 1, "return_dict": False}
