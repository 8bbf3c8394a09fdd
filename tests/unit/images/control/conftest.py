"""Tiny models of the very classes that are served, with random weights, written as `save_pretrained` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessorPil,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessorPil,
)

PERSON = 1
"""The label of people in the tiny detector."""


@pytest.fixture(autouse=True)
def _same_weights() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one_thread:
        yield one_thread


@pytest.fixture(scope="session")
def photo() -> npt.NDArray[np.uint8]:
    """Noise, uint8 RGB [96, 128, 3]."""
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.fixture
def depth_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a Depth Anything; takes options of its configuration."""

    def write(**options: Any) -> Path:
        stages: dict[str, Any] = {"out_features": ["stage1", "stage2"]}
        backbone = Dinov2Config(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
            **stages,
            reshape_hidden_states=False,
        )
        config = DepthAnythingConfig(
            backbone_config=backbone,
            reassemble_hidden_size=16,
            neck_hidden_sizes=[8, 8],
            reassemble_factors=[4, 1],
            fusion_hidden_size=8,
            head_hidden_size=8,
            **options,
        )
        model: Any = DepthAnythingForDepthEstimation(config)
        with torch.no_grad():
            model.head.conv3.bias.fill_(1.0)  # the last layer cuts off what is below 0, which all might be
        folder = Path(mkdtemp(prefix="depth", dir=tmp_path))
        model.save_pretrained(folder)
        size = {"height": 56, "width": 56}
        DPTImageProcessorPil(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def detector_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes an RT-DETR whose every box is a person for sure, at places of chance; takes how many, and their name."""

    def write(queries: int = 4, label: str = "person") -> Path:
        stages: dict[str, Any] = {"out_features": ["stage2", "stage3", "stage4"]}
        backbone = RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 8, 8],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            **stages,
        )
        config = RTDetrConfig(
            backbone_config=backbone,
            encoder_hidden_dim=16,
            encoder_in_channels=[8, 8, 8],
            encoder_ffn_dim=16,
            encoder_attention_heads=2,
            encoder_layers=1,
            d_model=16,
            decoder_in_channels=[16, 16, 16],
            decoder_ffn_dim=16,
            decoder_layers=1,
            decoder_attention_heads=2,
            num_queries=queries,
            id2label={0: "bicycle", PERSON: label},
        )
        model = RTDetrForObjectDetection(config)
        with torch.no_grad():
            for head in model.model.decoder.class_embed:
                head.bias[PERSON] = 5.0
        folder = Path(mkdtemp(prefix="detector", dir=tmp_path))
        model.save_pretrained(folder)
        RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def pose_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a ViTPose; takes the number of joints, and of experts as ViTPose++ has them."""

    def write(joints: int = 17, experts: int = 1) -> Path:
        stages: dict[str, Any] = {"out_features": ["stage1"]}
        labels: dict[str, Any] = {"num_labels": joints}
        backbone = VitPoseBackboneConfig(
            image_size=[64, 48],
            patch_size=[16, 16],
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_experts=experts,
            part_features=4,
            **stages,
        )
        config = VitPoseConfig(backbone_config=backbone, use_simple_decoder=True, **labels)
        model: Any = VitPoseForPoseEstimation(config)
        with torch.no_grad():
            model.head.conv.bias.fill_(1.0)  # each joint is there for sure
        folder = Path(mkdtemp(prefix="pose", dir=tmp_path))
        model.save_pretrained(folder)
        VitPoseImageProcessorPil(size={"height": 64, "width": 48}).save_pretrained(folder)
        return folder

    return write
