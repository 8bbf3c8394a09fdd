"""What one process says is what the other hears, arrays without a copy."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from imagegen.api.request import ImageRequest
from imagegen.engine.worker.messages import (
    Alive,
    Asleep,
    Cancel,
    Close,
    Closed,
    Counted,
    Failed,
    Generate,
    Images,
    ImageShapes,
    Left,
    Load,
    LoadFailed,
    Ready,
    Sleep,
    Told,
    Waiting,
    Wake,
    array,
    frames_of,
    message_from_worker,
    message_to_worker,
)
from imagegen_client import ModelDescription

REQUEST = ImageRequest(
    prompt="ein roter Kreis ⭕",
    negative_prompt="",
    n=2,
    size=(64, 32),
    guidance_scale=0.0,
    seeds=(2**63 - 2, 2**63 - 1),
)

DESCRIPTION = ModelDescription(
    model="tiny",
    tasks={"text-to-image": ("strength",)},
    native_size="64x64",
    granularity_px=8,
    upscaling=1,
    schedulers=("ddim",),
    scheduler="ddim",
    previews=False,
)


@pytest.mark.parametrize(
    "message",
    [
        Load("{}", os.fsencode("/some\udcc3where é"), None),
        Generate(
            3, REQUEST, ImageShapes((1, 8, 8, 3), None, ((4, 2, 3),), None), previews=2, streams=True, arrived_s=12.5
        ),
        Cancel(4),
        Waiting(True),
        Sleep(),
        Wake(),
        Close(),
    ],
)
def test_what_the_server_says_is_heard(message: Any) -> None:
    [header] = frames_of(message)
    assert message_to_worker(header) == message


@pytest.mark.parametrize(
    "message",
    [
        Ready(DESCRIPTION),
        LoadFailed("ValueError", "no"),
        Asleep(),
        Alive(),
        Told(1),
        Left(1),
        Images(1, (2, 8, 8, 3), (5, 2**63 - 1), b"{}"),
        Failed(1, "invalid_argument", "too large", "size"),
        Counted("imagegen_diffusion_forwards_total", {"task": "x"}, 1.5),
        Closed(),
    ],
)
def test_what_the_worker_says_is_heard(message: Any) -> None:
    [header] = frames_of(message)
    assert message_from_worker(header) == message


def test_the_bytes_of_an_array_are_shared() -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(1, 2, 4, 3)
    _, frame = frames_of(Left(1), pixels)
    assert np.shares_memory(array(frame, pixels.shape), pixels)
    assert (array(pixels.tobytes(), pixels.shape) == pixels).all()
