"""What cannot be shared by tokens is refused by the parameter's or the field's name."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.engine.ranks.context import check_context, check_tokens
from tests.on_accelerator.families import cached_flux
from tests.unit import tiny_pipelines as tiny


def test_transformers_with_a_plan_whose_heads_divide_are_fit() -> None:
    check_context({"transformer": tiny.flux().transformer}, 2)
    check_context({"transformer": tiny.qwen_image().transformer}, 2)


@pytest.mark.parametrize(
    ("denoisers", "ranks", "problem"),
    [
        (lambda: {"unet": tiny.sd().unet}, 2, "parameter parallelism: .*unet, UNet2DConditionModel; allowed is rows"),
        (lambda: {"transformer": tiny.sd3().transformer}, 2, "parameter parallelism: .*SD3.*; allowed is rows"),
        (lambda: {"transformer": tiny.flux().transformer}, 3, "parameter devices: 3 do not .* 2 heads .* are 1, 2"),
        (lambda: {"transformer": cached_flux().transformer}, 2, "parameter parallelism: a cache between steps"),
    ],
)
def test_others_are_refused(denoisers: Any, ranks: int, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_context(denoisers(), ranks)


def test_sizes_whose_tokens_do_not_divide_are_refused() -> None:
    check_tokens((64, 48), 16, 4)
    with pytest.raises(InvalidArgument, match=r"size: 48x48 has 9 tokens, .* multiple of 64 fits") as raised:
        check_tokens((48, 48), 16, 4)
    assert raised.value.field == "size"
