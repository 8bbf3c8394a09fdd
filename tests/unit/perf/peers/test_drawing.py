"""Peers draw equal requests together, and every client gets its own image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from checkpoint.random_checkpoint import make_checkpoint
from perf.peers.drawing import CHECKPOINT, SIDE_PX, DrawRequest, PeerPipeline, equal_groups


def request(steps: int, seed: int = 0, guidance_scale: float = 7.5) -> DrawRequest:
    return DrawRequest("a star", steps, guidance_scale, seed)


def test_requests_of_equal_steps_and_guidance_are_one_group() -> None:
    requests = [request(50), request(4), request(50), request(4, guidance_scale=1.0), request(4)]
    assert equal_groups(requests) == [[0, 2], [1, 4], [3]]
    assert equal_groups([]) == []


def test_a_batch_gives_the_images_of_its_requests_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setenv(CHECKPOINT, str(tmp_path / "checkpoint"))
    monkeypatch.setenv(SIDE_PX, "64")
    pipeline = PeerPipeline()
    calls: list[int] = []
    draw = pipeline.draw

    def counted(requests: Sequence[DrawRequest]) -> list[Image.Image]:
        calls.append(len(requests))
        return draw(requests)

    monkeypatch.setattr(pipeline, "draw", counted)
    requests = [request(1, seed=1), request(2, seed=2), request(1, seed=3)]
    together = pipeline.draw_batch(requests)
    assert calls == [2, 1]
    for image, one in zip(together, requests, strict=True):
        opened = Image.open(io.BytesIO(image)).convert("RGB")
        alone = Image.open(io.BytesIO(pipeline.draw_batch([one])[0])).convert("RGB")
        assert opened.size == (64, 64)
        differences = (abs(a - b) for a, b in zip(opened.tobytes(), alone.tobytes(), strict=True))
        assert max(differences) <= 2
