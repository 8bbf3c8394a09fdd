"""Baselines generate equal requests together, and every client gets its own image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from checkpoint.random_checkpoint import make_checkpoint
from perf.baselines.generate import ADAPTERS, CHECKPOINT, BaselinePipeline, GenerateRequest, equal_groups
from tests.unit.engine.adapters.made import write_adapter


def request(steps: int, seed: int = 0, guidance_scale: float = 7.5, size: str = "64x64") -> GenerateRequest:
    return GenerateRequest("a star", steps, guidance_scale, seed, size)


def test_each_request_gets_its_own_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setenv(CHECKPOINT, str(tmp_path / "checkpoint"))
    plain = BaselinePipeline()
    (tmp_path / "loras").mkdir()
    for seed, name in enumerate("ab"):
        write_adapter(plain._pipeline, tmp_path / "loras" / f"{name}.safetensors", seed, strength=1.0)
    monkeypatch.setenv(ADAPTERS, str(tmp_path / "loras"))
    pipeline = BaselinePipeline()
    requests = [replace(request(1), lora=name) for name in ("a", "b", "", "a")]
    assert equal_groups(requests) == [[0, 3], [1], [2]]
    files = pipeline.generate_batch(requests)
    assert len(set(files)) == 3
    assert files[0] == files[3]
    assert files[2] == plain.generate_batch([request(1)])[0]


def test_requests_of_equal_steps_guidance_and_size_are_one_group() -> None:
    requests = [request(50), request(4), request(50), request(4, guidance_scale=1.0), request(4)]
    requests.append(request(4, size="96x64"))
    assert equal_groups(requests) == [[0, 2], [1, 4], [3], [5]]
    assert equal_groups([]) == []


def test_a_batch_gives_the_images_of_its_requests_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setenv(CHECKPOINT, str(tmp_path / "checkpoint"))
    pipeline = BaselinePipeline()
    calls: list[int] = []
    generate = pipeline.generate

    def counted(requests: Sequence[GenerateRequest]) -> list[Image.Image]:
        calls.append(len(requests))
        return generate(requests)

    monkeypatch.setattr(pipeline, "generate", counted)
    requests = [request(1, seed=1), request(2, seed=2), request(1, seed=3)]
    together = pipeline.generate_batch(requests)
    assert calls == [2, 1]
    for image, one in zip(together, requests, strict=True):
        opened = Image.open(io.BytesIO(image)).convert("RGB")
        alone = Image.open(io.BytesIO(pipeline.generate_batch([one])[0])).convert("RGB")
        assert opened.size == (64, 64)
        differences = (abs(a - b) for a, b in zip(opened.tobytes(), alone.tobytes(), strict=True))
        assert max(differences) <= 2
