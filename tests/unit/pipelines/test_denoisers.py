"""The denoisers of every family are where they are looked for."""

from __future__ import annotations

import pytest

from imagegen.pipelines.denoisers import DENOISERS
from tests.unit import tiny_pipelines as tiny


@pytest.mark.parametrize(
    ("family", "denoisers"),
    [
        ("sd", {"unet"}),
        ("sd_controlnet", {"unet", "controlnet"}),
        ("sd3", {"transformer"}),
        ("flux", {"transformer"}),
        ("qwen_image", {"transformer"}),
    ],
)
def test_they_are_found_by_name(family: str, denoisers: set[str]) -> None:
    components = getattr(tiny, family)().components
    assert {name for name in components if name in DENOISERS} == denoisers
