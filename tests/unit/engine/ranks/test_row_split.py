"""A forward in parts is the forward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.ranks.row_split import even_spans, joined
from tests.unit.engine import test_families
from tests.unit.engine.family_cases import CASES
from tests.unit.engine.ranks.parts import Parts
from tests.unit.engine.test_families import Together, assert_same_as_alone


@pytest.mark.parametrize("rows", range(1, 12))
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_spans_cover_all_rows_evenly(rows: int, parts: int) -> None:
    spans = even_spans(rows, parts)
    assert [row for span in spans for row in range(rows)[span]] == list(range(rows))
    sizes = [span.stop - span.start for span in spans]
    assert len(sizes) == parts
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_what_cannot_be_joined_is_an_error() -> None:
    with pytest.raises(ValueError, match="int"):
        joined([1, 2], samples=False)
    assert joined([None, None], samples=False) is None
    assert joined([1], samples=False) == 1


@pytest.mark.parametrize("name", ["sd-euler-ancestral", "sd-controlnet", "sdxl", "sd3", "qwen-image", "z-image"])
def test_requests_that_share_parted_forwards_give_the_images_that_they_give_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parted(calls: Sequence[DenoiserCall], row_buckets: Sequence[int] = ()) -> list[Any]:
        return forward(calls, row_buckets, Parts())

    monkeypatch.setattr(test_families, "forward", parted)
    requests = CASES[name][0]()
    with torch.no_grad():
        together = Together(requests)
        assert_same_as_alone(requests, together.frames)
    assert max(map(len, together.forwards)) > 1
