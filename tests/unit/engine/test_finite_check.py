"""Values that are not finite numbers never end in a black image that looks like a success."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from imagegen.api.errors import NonFinite
from imagegen.api.input_images import NO_IMAGES
from imagegen.api.request import ImageRequest
from imagegen.engine import Engine
from imagegen.engine.collate import forward
from imagegen.engine.pipeline_call import generate_image
from imagegen.metrics import Family
from imagegen.pipelines.checkpoint import describe_pipelines
from imagegen.pipelines.plan import make_plan
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS, image, levels, mask, pipelines, tiny_engine

CPU = torch.device("cpu")


def engine_of(pipeline: Any, **options: Any) -> Engine:
    return tiny_engine(pipelines=describe_pipelines(pipeline, SETTINGS, CPU), **options)


def damaged(find: Callable[[Any], torch.Tensor], value: float = float("nan")) -> Any:
    """Stable Diffusion with one wrong number among its weights."""
    pipeline = tiny.sd()
    with torch.no_grad():
        find(pipeline).view(-1)[0] = value
    return pipeline


def half_with_a_loud_vae() -> Any:
    """In float16, with a decoder that leaves its range though in float32 it would not."""
    pipeline = tiny.sd().to(torch.float16)
    with torch.no_grad():
        pipeline.vae.decoder.conv_in.weight *= 3e4
    return pipeline


class Overflowing(diffusers.DDIMScheduler):  # type: ignore[misc]
    """DDIM that loses its latents at the last step; not on a toy, which would show it before."""

    def step(self, model_output: Any, timestep: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
        result = super().step(model_output, timestep, sample, *args, **kwargs)
        if timestep == self.timesteps[-1] and sample.shape[-1] > 2:
            result[0].fill_(float("inf"))
        return result


@pytest.mark.parametrize(
    ("find", "stage"),
    [
        (lambda pipeline: pipeline.text_encoder.embeddings.position_embedding.weight, "encode"),
        (lambda pipeline: pipeline.unet.conv_out.bias, "denoise"),
        (lambda pipeline: pipeline.vae.decoder.conv_out.bias, "decode"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_wrong_number_is_an_error_that_names_the_stage_and_the_likely_cause(
    find: Callable[[Any], torch.Tensor], stage: str, value: float
) -> None:
    """Before, it was a black image and a 200."""
    with engine_of(damaged(find, value)) as engine, pytest.raises(NonFinite, match=rf"{stage}: .* usually") as caught:
        engine.generate("a red cat", seed=1)
    assert caught.value.stage == stage


def test_an_input_image_that_cannot_be_encoded_is_named() -> None:
    pipeline = damaged(lambda pipeline: pipeline.vae.encoder.conv_out.bias)
    with engine_of(pipeline) as engine:
        engine.generate("a red cat", seed=1)
        for options in ({}, {"mask": mask()}):
            with pytest.raises(NonFinite, match=r"encode: .* input image"):
                engine.generate("a red cat", seed=1, images=image(), **options)  # type: ignore[arg-type]


def test_a_scheduler_that_overflows_fails_its_own_request_alone() -> None:
    described = replace(pipelines(), schedulers=pipelines().schedulers | {"heun": Overflowing()})
    with tiny_engine(pipelines=described) as engine, ThreadPoolExecutor(2) as pool:
        alone = engine.generate("a red cat", seed=1).frames
        wrong = pool.submit(engine.generate, "a red cat", seed=1, scheduler="heun")
        right = pool.submit(engine.generate, "a red cat", seed=1)
        with pytest.raises(NonFinite, match="denoise"):
            wrong.result()
        assert levels(right.result().frames, alone) <= 1


def test_a_vae_that_overflows_alone_decodes_once_more_in_float32() -> None:
    """As Stable Diffusion XL's does in float16."""
    pipeline = half_with_a_loud_vae()
    with engine_of(pipeline) as engine:
        result = engine.generate("a red cat", seed=1, n=2)
    assert result.statistics.warnings == ("the VAE overflows in float16; the image was decoded in float32",)
    assert result.frames.std() > 1
    assert pipeline.vae.dtype == torch.float16, "the VAE itself stays as it is"


def test_an_image_may_be_handed_over_with_a_warning_where_a_deployment_wants_that() -> None:
    settings = SETTINGS.model_copy(update={"non_finite_images": "warning"})
    pipeline = damaged(lambda pipeline: pipeline.unet.conv_out.bias)
    with engine_of(pipeline, settings=settings) as engine:
        result = engine.generate("a red cat", seed=1)
    (warning,) = result.statistics.warnings
    assert warning.startswith("denoise: the model computed values that are not finite numbers")
    assert not result.frames.any()


class _Counts:
    """A metrics backend that adds up."""

    def __init__(self) -> None:
        self.totals: dict[tuple[str, ...], float] = {}

    def __call__(self, family: Family, labels: dict[str, str]) -> Any:
        key = (family.name, *sorted(labels.values()))
        totals = self.totals

        class Series:
            def increment(self, value: float) -> None:
                totals[key] = totals.get(key, 0) + value

            def set(self, value: float) -> None:
                totals[key] = value

            def observe(self, value: float) -> None: ...

        return Series()


@pytest.mark.parametrize(
    ("make", "stage", "outcome"),
    [
        (lambda: damaged(lambda pipeline: pipeline.unet.conv_out.bias), "denoise", "error"),
        (half_with_a_loud_vae, "decode", "delivered"),
    ],
)
def test_each_is_counted(make: Callable[[], Any], stage: str, outcome: str) -> None:
    counts = _Counts()
    with engine_of(make(), new_series=counts) as engine:
        try:
            engine.generate("a red cat", seed=1)
        except NonFinite:
            assert outcome == "error"
    assert counts.totals[("imagegen_diffusion_non_finite_total", *sorted((stage, outcome)))] == 1


class _Looks(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often values are looked at."""

    looks = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.looks += str(func).startswith(("aten.eq.Tensor", "aten.ne"))  # of which `isfinite` is made
        return func(*args, **(kwargs or {}))


def looks(steps: int) -> int:
    request = ImageRequest(prompt="a red cat", seeds=(1,), num_inference_steps=steps)
    plan = make_plan(request, NO_IMAGES, pipelines(), SETTINGS)
    counted: Any = _Looks()  # type: ignore[no-untyped-call]
    with torch.no_grad(), counted:
        generate_image(plan, 0, pipelines(), lambda call: forward([call])[0])
    return int(counted.looks)


def test_how_often_values_are_looked_at_does_not_depend_on_the_number_of_steps() -> None:
    assert looks(2) == looks(7) > 0


@pytest.mark.parametrize("family", [tiny.sdxl, tiny.sd3, tiny.flux, tiny.qwen_image, tiny.sana, tiny.lumina2])
def test_every_family_is_looked_at(family: Callable[[], Any]) -> None:
    pipeline = family()
    with torch.no_grad():
        for parameter in pipeline.vae.decoder.parameters():
            parameter.fill_(float("nan"))
    described = replace(describe_pipelines(pipeline, SETTINGS, CPU), native_size=(64, 64))
    with tiny_engine(pipelines=described) as engine, pytest.raises(NonFinite, match="decode"):
        engine.generate("a red cat", seed=1)
