"""The diffusion model has the engine's settings, and those that only Triton needs."""

from __future__ import annotations

import json

import pytest

from imagegen.engine.settings import EngineSettings
from imagegen.triton.diffusion_settings import DiffusionSettings
from imagegen.triton.parameters import read_parameters


def test_it_has_all_of_the_engine_and_of_the_limits() -> None:
    assert set(EngineSettings.model_fields) < set(DiffusionSettings.model_fields)
    assert "max_side_px" in DiffusionSettings.model_fields


def test_no_waking_request_is_no_choice() -> None:
    config = json.dumps({"parameters": {"waking_requests": {"string_value": "0"}}})
    with pytest.raises(ValueError, match=r"^parameter waking_requests: '0' is not allowed; "):
        read_parameters(config, DiffusionSettings)


def test_an_instance_has_its_gpu_and_one_that_names_its_devices_has_no_other() -> None:
    alone, sharing = DiffusionSettings(model="x"), DiffusionSettings(model="x", devices=("0", "1"))
    assert alone.instance_device("GPU", "3") == "cuda:3"
    assert alone.instance_device("CPU", "0") == "cpu"
    assert sharing.instance_device("MODEL", "0") == "cpu"
    with pytest.raises(ValueError, match=r"parameter devices: .* KIND_MODEL, count: 1"):
        sharing.instance_device("GPU", "0")
