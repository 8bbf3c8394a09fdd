"""A request with forecasts skips the calls its cadence leaves out, and gets the same image in any company."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, PNDMScheduler

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.denoiser_proxy import attach
from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Limits
from imagegen.engine.step_forecast import CallForecast, StepForecast
from imagegen.pipelines.step_cadence import computed_steps
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.executor_toys import executor_of
from tests.unit.engine.family_cases import NEGATIVE, image

STEPS = 12
CFG: dict[str, Any] = {"negative_prompt": NEGATIVE, "guidance_scale": 3.0}
TRUE_CFG: dict[str, Any] = {"negative_prompt": NEGATIVE, "true_cfg_scale": 3.0, "max_sequence_length": 16}
SHORT = {"max_sequence_length": 16}
FAMILIES: dict[str, tuple[Callable[[], Any], dict[str, Any], int]] = {  # arguments, calls a step
    "sd": (tiny.sd, CFG, 1),
    "sd-controlnet": (tiny.sd_controlnet, {"image": image(1), "guidance_scale": 3.0}, 2),
    "sdxl": (tiny.sdxl, CFG, 1),
    "sd3": (tiny.sd3, CFG | SHORT, 1),
    "flux": (tiny.flux, SHORT, 1),
    "flux-true-cfg": (partial(tiny.flux, guidance_embeds=False), TRUE_CFG, 2),
    "qwen_image": (tiny.qwen_image, TRUE_CFG, 2),
    "z_image": (tiny.z_image, {"guidance_scale": 3.0} | SHORT, 1),
}


def run_at_once(call: DenoiserCall) -> Any:
    return forward([call])[0]


def counting(calls: list[DenoiserCall], run: Callable[[DenoiserCall], Any] = run_at_once) -> Any:
    def counted(call: DenoiserCall) -> Any:
        calls.append(call)
        return run(call)

    return counted


def generate(pipeline: Any, run_call: Any, interval: int, seed: int = 0, **arguments: Any) -> torch.Tensor:
    """One image, [1, 3, H, W]; all steps are computed at interval 1."""
    forecast = None if interval == 1 else StepForecast(interval)
    attached = attach(pipeline, run_call, tiny.SIDE_PX**2, forecast=forecast)
    given = {"prompt": "a red cat", "num_inference_steps": STEPS, "height": tiny.SIDE_PX, "width": tiny.SIDE_PX}
    output = attached(**given | arguments, generator=torch.Generator().manual_seed(seed), output_type="pt")
    return torch.as_tensor(output.images)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("interval", [2, 5])
def test_only_the_steps_of_the_cadence_are_computed(family: str, interval: int) -> None:
    make, arguments, per_step = FAMILIES[family]
    calls: list[DenoiserCall] = []
    made = generate(make(), counting(calls), interval, **arguments)
    assert len(calls) == per_step * computed_steps(STEPS, interval)
    assert made.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_has_the_same_bits_alone_and_among_others_with_and_without_forecasts(family: str) -> None:
    make, arguments, _ = FAMILIES[family]
    pipeline = make()
    intervals = (1, 3, 5, 2)
    buckets = (16,)  # what a row's bits are must not depend on how many rows there are
    alone = [
        generate(pipeline, lambda call: forward([call], buckets)[0], interval, seed, **arguments)
        for seed, interval in enumerate(intervals)
    ]
    executor = executor_of(lambda calls: forward(calls, buckets), Limits())
    together: dict[int, Any] = {}

    def ended(seed: int, result: Any, error: BaseException | None) -> None:
        together[seed] = error or result

    for seed, interval in enumerate(intervals):
        work = partial(generate, pipeline, executor.call, interval, seed, **arguments)
        executor.submit(PipelineRun(work, partial(ended, seed)))
    while executor.tick():
        pass
    for seed, expected in enumerate(alone):
        assert torch.equal(together[seed], expected), f"interval {intervals[seed]}"


def test_a_request_without_forecasts_does_not_notice_those_of_others() -> None:
    pipeline = tiny.sd()
    assert torch.equal(generate(pipeline, run_at_once, 1), generate(tiny.sd(), run_at_once, 1))
    assert not torch.equal(generate(pipeline, run_at_once, 5), generate(pipeline, run_at_once, 1))


@pytest.mark.parametrize("family", ["sd", "flux", "z_image"])
def test_a_denoiser_that_follows_the_line_gives_the_image_of_all_steps(family: str) -> None:
    """One that predicts the same noise everywhere: forecasts are exact then, whatever a family's conventions are."""
    make, arguments, _ = FAMILIES[family]
    pipeline = make()
    if family == "sd":
        pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, prediction_type="v_prediction")
    scheduler: dict[str, Any] = {}

    def exact(call: DenoiserCall) -> Any:
        """What a model that knows eps = 0.3 predicts."""
        output = run_at_once(call)
        own, index = scheduler["own"], scheduler["index"]
        samples = [call.args[0]] if call.args else [call.given["hidden_states"]]
        samples = list(samples[0]) if isinstance(samples[0], list) else samples
        if family == "sd":
            kept = float(own.alphas_cumprod[int(own.timesteps[index])])
            alpha, sigma = kept**0.5, (1 - kept) ** 0.5
            made = [alpha * 0.3 - sigma * (sample - sigma * 0.3) / alpha for sample in samples]
        else:
            noise = float(own.sigmas[index])
            sign = -1 if family == "z_image" else 1
            made = [
                sign * (0.3 - (sample - noise * 0.3) / (1 - noise)) if noise < 1 else torch.zeros_like(sample)
                for sample in samples
            ]
        assert len(made) in (1, len(output[0]))
        return (made if isinstance(output[0], list) else made[0], *output[1:])

    def image_of(interval: int) -> torch.Tensor:
        forecast = StepForecast(interval)
        attached = attach(pipeline, exact, 1, forecast=forecast)
        scheduler.update(own=attached.scheduler, index=0)
        stepped = forecast.stepped

        def noted(scheduler_of_image: Any, timestep: Any) -> None:
            stepped(scheduler_of_image, timestep)
            scheduler["index"] += 1

        vars(forecast)["stepped"] = noted
        given: dict[str, Any] = {"height": tiny.SIDE_PX, "width": tiny.SIDE_PX} | arguments
        output = attached(
            "a red cat",
            num_inference_steps=STEPS,
            generator=torch.Generator().manual_seed(1),
            output_type="latent",
            **given,
        )
        return torch.as_tensor(output.images)

    expected = image_of(1)
    assert torch.allclose(image_of(3), expected, atol=2e-3 * expected.abs().max().item())


def test_steps_from_the_middle_of_a_loop_have_their_own_cadence() -> None:
    calls: list[DenoiserCall] = []
    forecast = StepForecast(3)
    attached = attach(tiny.sd_image_to_image(), counting(calls), 1, forecast=forecast)
    attached("a red cat", image=image(1), strength=0.5, num_inference_steps=24, output_type="pt")
    assert (forecast.computed_steps, forecast.forecast_steps) == (len(calls), 12 - len(calls))
    assert len(calls) == computed_steps(12, 3)


def test_pndm_whose_first_place_is_computed_twice_has_the_cadence_of_all() -> None:
    pipeline = tiny.sd()
    pipeline.scheduler = PNDMScheduler.from_config(pipeline.scheduler.config, skip_prk_steps=True)
    calls: list[DenoiserCall] = []
    forecast = StepForecast(5)
    attached = attach(pipeline, counting(calls), 1, forecast=forecast)
    made = attached("a red cat", num_inference_steps=19, height=32, width=32, output_type="pt").images
    assert torch.as_tensor(made).isfinite().all()
    assert len(calls) == forecast.computed_steps == computed_steps(20, 5)
    assert forecast.forecast_steps == 20 - len(calls)


def test_a_controlnet_is_left_out_with_its_denoiser() -> None:
    pipeline = tiny.sd_controlnet()
    modules: list[Any] = []

    def run(call: DenoiserCall) -> Any:
        modules.append(call.module)
        return run_at_once(call)

    arguments: dict[str, Any] = {"image": image(1), "guidance_scale": 3.0}
    made = generate(pipeline, run, 3, **arguments)
    expected = computed_steps(STEPS, 3)
    assert made.isfinite().all()
    assert [modules.count(module) for module in (pipeline.unet, pipeline.controlnet)] == [expected, expected]


def test_a_controlnets_zeros_take_no_memory() -> None:
    forecast = StepForecast(2)
    control, denoiser = forecast.of_module("controlnet", None), forecast.of_module("unet", None)
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    sample, made = torch.ones(2, 4), []
    for timestep in scheduler.timesteps[:6]:
        made.append(control.output("", sample, lambda: ([torch.ones(2, 4)], torch.ones(2, 8))))
        denoiser.output("", sample, lambda: torch.ones(2, 4))
        forecast.stepped(scheduler, timestep)
    (down,), middle = made[-1]
    assert (down.shape, middle.shape) == ((2, 4), (2, 8))
    assert not down.any()
    assert down.untyped_storage().nbytes() == 4
    assert made[-2][1].all()


def test_a_controlnets_zeros_can_be_added_to() -> None:
    """MultiControlNetModel adds in place; requests with two controls and a step cache ended in a RuntimeError."""
    forecast = StepForecast(2)
    control, denoiser = forecast.of_module("controlnet", None), forecast.of_module("unet", None)
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(10)
    sample, middles = torch.ones(2, 4), []
    for timestep in scheduler.timesteps[:6]:
        _, middle = control.output("", sample, lambda: ([torch.ones(2, 4)], torch.ones(2, 8)))
        middles.append(middle.clone())
        middle += 1
        denoiser.output("", sample, lambda: torch.ones(2, 4))
        forecast.stepped(scheduler, timestep)
    assert [bool(middle.any()) for middle in middles].count(False) == forecast.forecast_steps > 0


def loop(forecast: StepForecast, scheduler: Any, call: Callable[[int], None], steps: int = STEPS) -> None:
    scheduler.set_timesteps(steps)
    for number, timestep in enumerate(scheduler.timesteps):
        call(number)
        forecast.stepped(scheduler, timestep)


def test_a_call_that_was_not_there_before_is_computed() -> None:
    forecast = StepForecast(2)
    denoiser = forecast.of_module("unet", None)
    assert isinstance(denoiser, CallForecast)
    computed: list[tuple[int, str]] = []

    def call(number: int) -> None:
        for name in ("cond", "uncond")[: 2 if number == 5 else 1]:
            rows = 1 if number == 7 else 2

            def compute(name: str = name, rows: int = rows) -> Any:
                computed.append((number, name))
                return (torch.ones(rows, 3),)

            assert denoiser.output(name, torch.ones(rows, 3), compute)[0].shape == (rows, 3)

    loop(forecast, DDIMScheduler(), call)
    assert (5, "cond") not in computed
    assert (5, "uncond") in computed
    assert (7, "cond") in computed


def test_a_controlnet_that_was_left_out_in_vain_is_an_error() -> None:
    forecast = StepForecast(2)
    control, denoiser = forecast.of_module("controlnet", None), forecast.of_module("unet", None)

    def call(number: int) -> None:
        control.output("", torch.ones(2, 3), lambda: torch.ones(2, 3))
        rows = 1 if number == 5 else 2
        denoiser.output("", torch.ones(rows, 3), lambda: torch.ones(rows, 3))

    with pytest.raises(RuntimeError, match="changed in the middle of the loop"):
        loop(forecast, DDIMScheduler(), call)


def test_fresh_noise_at_each_step_is_answered_by_the_model() -> None:
    """The forecast of a clean image keeps up with the sample that the scheduler added noise to."""
    forecast = StepForecast(2)
    denoiser = forecast.of_module("unet", None)
    scheduler = DDPMScheduler(prediction_type="epsilon")
    clean = torch.full((1, 3), 0.5)
    generator = torch.Generator().manual_seed(0)
    errors: list[float] = []

    def call(number: int) -> None:
        kept = float(scheduler.alphas_cumprod[int(scheduler.timesteps[number])])
        noise = torch.randn(1, 3, generator=generator)
        sample = kept**0.5 * clean + (1 - kept) ** 0.5 * noise
        errors.append((denoiser.output("", sample, lambda: noise) - noise).abs().max().item())

    loop(forecast, scheduler, call)
    assert forecast.forecast_steps == 3
    assert max(errors) < 1e-3


def test_nothing_of_an_image_is_kept_in_a_cycle() -> None:
    gc.collect()
    gc.disable()
    try:
        forecast = StepForecast(2)
        attached = attach(tiny.sd(), run_at_once, 1, forecast=forecast)
        attached("a red cat", num_inference_steps=9, height=32, width=32, output_type="pt")
        watched = [weakref.ref(forecast), weakref.ref(attached.unet)]
        del forecast, attached
        assert [reference() for reference in watched] == [None, None]
    finally:
        gc.enable()
