"""Tuning does what is configured, and the images stay the same on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from imagegen.pipelines.settings import PipelineSettings
from imagegen.pipelines.tuning import tune
from tests.unit import tiny_pipelines as tiny

CPU = torch.device("cpu")
SETTINGS = PipelineSettings(model="tiny")


@pytest.fixture(autouse=True)
def global_switches() -> Iterator[None]:
    threads = torch.get_num_threads()
    switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = switches


def image(settings: PipelineSettings) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    pipeline = tiny.sd()
    tune(pipeline, settings, CPU)
    seed = torch.Generator().manual_seed(1)
    images = pipeline("a cat", num_inference_steps=2, height=32, width=32, generator=seed, output_type="np").images
    return np.asarray(images)


def test_channels_last_changes_the_layout_and_not_the_image() -> None:
    pipeline = tiny.sd()
    tune(pipeline, SETTINGS.model_copy(update=dict(channels_last=True)), CPU)
    for module in (pipeline.unet, pipeline.vae):
        weights = [p for p in module.parameters() if p.ndim == 4]
        assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    assert np.abs(image(SETTINGS) - image(SETTINGS.model_copy(update=dict(channels_last=True)))).max() < 1e-4


def test_attention_backend_is_set_and_an_unknown_one_is_refused() -> None:
    assert np.abs(image(SETTINGS) - image(SETTINGS.model_copy(update=dict(attention_backend="native")))).max() < 1e-5
    with pytest.raises(ValueError, match="no_such_backend"):
        tune(tiny.sd(), SETTINGS.model_copy(update=dict(attention_backend="no_such_backend")), CPU)


def test_switches_of_the_device() -> None:
    tune(tiny.sd(), SETTINGS.model_copy(update=dict(cpu_threads=1, allow_tf32=True)), CPU)
    assert torch.get_num_threads() == 1
    assert torch.backends.cuda.matmul.allow_tf32
    tune(tiny.sd(), SETTINGS, CPU)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # of torch's own compiler
def test_compile_is_armed_in_place_so_that_the_class_stays() -> None:
    pipeline = tiny.sd()
    kind = type(pipeline.unet)
    tune(pipeline, SETTINGS.model_copy(update=dict(compile="torch", row_buckets=(16,))), CPU)
    assert type(pipeline.unet) is kind
    assert pipeline.unet._compiled_call_impl is not None
