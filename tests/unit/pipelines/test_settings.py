"""Settings of the checkpoint: what is out of range is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from imagegen.pipelines.settings import PipelineSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_side_px", 0),
        ("dtype", "int8"),
        ("cpu_threads", -1),
        ("native_size_px", (512,)),
        ("native_size_px", (512, 0)),
        ("default_num_inference_steps", 0),
        ("default_num_inference_steps", 101),
        ("default_step_cache", "slow"),
        ("step_cache_intervals", (2, 3)),
        ("step_cache_intervals", (1, 3, 5)),
        ("step_cache_intervals", (2, 3, 6)),
        ("default_guidance_scale", -0.5),
        ("default_guidance_scale", 30.5),
        ("default_guidance_scale", float("nan")),
    ],
)
def test_a_setting_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        PipelineSettings(**{name: value})
    assert [error["loc"][0] for error in caught.value.errors()] == [name]


def test_defaults_may_go_up_to_the_deployments_own_caps() -> None:
    settings = PipelineSettings(max_num_inference_steps=200, default_num_inference_steps=200)
    assert settings.default_num_inference_steps == 200


def test_settings_do_not_change() -> None:
    settings = PipelineSettings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.model = "another"
