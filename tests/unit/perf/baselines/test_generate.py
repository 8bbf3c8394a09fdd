"""Baselines generate equal requests together, and every client gets its own image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from PIL import Image

from checkpoint.random_checkpoint import make_checkpoint
from perf.baselines.generate import ADAPTERS, CHECKPOINT, CONTROL, BaselinePipeline, GenerateRequest, equal_groups
from perf.control_images import edges_png
from tests.unit.engine.adapters.made import write_adapter


def request(steps: int, seed: int = 0, guidance_scale: float = 7.5, size: str = "64x64") -> GenerateRequest:
    return GenerateRequest("a star", steps, guidance_scale, seed, size)


def difference(one: Image.Image, other: Image.Image) -> int:
    """Most levels by which two images of a size are apart."""
    assert one.size == other.size
    return max(abs(a - b) for a, b in zip(one.convert("RGB").tobytes(), other.convert("RGB").tobytes(), strict=True))


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


def test_requests_with_control_images_are_one_call_of_a_pipeline_that_shares_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setenv(CHECKPOINT, str(tmp_path / "checkpoint"))
    plain = BaselinePipeline()
    network = ControlNetModel.from_unet(plain._pipeline.unet)
    torch.manual_seed(0)
    reader = network.controlnet_cond_embedding
    for layer in (reader.conv_out, *network.controlnet_down_blocks):  # zeros before training
        torch.nn.init.normal_(layer.weight, std=0.1)
    for name, parameter in reader.named_parameters():  # else hardly anything comes through
        parameter.data.mul_(0 if name.endswith("bias") else 4)
    network.save_pretrained(tmp_path / "control")
    monkeypatch.setenv(CONTROL, str(tmp_path / "control"))
    pipeline = BaselinePipeline()
    assert pipeline._controlled.unet is pipeline._pipeline.unet
    edges = [base64.b64encode(edges_png(seed, 64)).decode() for seed in range(2)]
    requests = [replace(request(2), control_image=image) for image in (edges[0], "", edges[1], "")]
    assert equal_groups(requests) == [[0, 2], [1, 3]]
    files = pipeline.generate_batch(requests)
    first, free, second, other_free = (Image.open(io.BytesIO(file)) for file in files)
    assert min(difference(first, second), difference(first, free), difference(second, free)) > 2
    [alone] = plain.generate([request(2)])
    assert max(difference(free, alone), difference(other_free, alone)) <= 2
    reference = StableDiffusionControlNetPipeline.from_pipe(plain._pipeline, controlnet=network)
    [image] = reference(
        "a star",
        Image.open(io.BytesIO(base64.b64decode(edges[1]))),
        num_inference_steps=2,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(0),
    ).images
    assert difference(second, image) <= 2


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
        alone = Image.open(io.BytesIO(pipeline.generate_batch([one])[0]))
        assert alone.size == (64, 64)
        assert difference(Image.open(io.BytesIO(image)), alone) <= 2
