"""What lies on a straight line over the log-SNR is forecast exactly, whatever of it the model predicts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import Tensor

from imagegen.engine.forecast_line import ForecastLine, leaves, mapped, shapes_of
from imagegen.engine.noise_place import Place

SLOPE, BASE = torch.tensor([[0.2, -0.1], [0.3, 0.05]]), torch.tensor([[1.0, 0.5], [-0.5, 2.0]])


def noise_at(log_snr: float) -> Tensor:
    """eps of a toy denoiser: linear in the log-SNR, [2, 2]."""
    return BASE + SLOPE * log_snr


def predicted(kind: str, log_snr: float, sample: Tensor) -> tuple[Place, Tensor]:
    """The place, and what a model of this kind predicts there."""
    noise = noise_at(log_snr)
    alpha, sigma = (torch.tensor(sign * log_snr).sigmoid().sqrt().item() for sign in (1, -1))
    if kind == "epsilon":
        return Place(log_snr), noise
    if kind == "v_prediction":
        clean = (sample - sigma * noise) / alpha
        return Place(log_snr, sigma, alpha), alpha * noise - sigma * clean
    if kind == "sample":
        return Place(log_snr, 1 / sigma, -alpha / sigma), (sample - sigma * noise) / alpha
    part = 1 / (1 + math.exp(log_snr / 2))  # of noise in flow matching
    return Place(log_snr, 1.0, 1 - part), noise - (sample - part * noise) / (1 - part)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow_prediction"])
@pytest.mark.parametrize("sign", [1, -1])
def test_noise_on_a_straight_line_is_forecast_exactly(kind: str, sign: int) -> None:
    torch.manual_seed(0)
    samples = torch.randn(5, 2, 2)
    line = ForecastLine(samples[0], sign)
    for log_snr, sample in zip((-3.0, -2.2), samples, strict=False):
        place, output = predicted(kind, log_snr, sample)
        line.add(place, sample, sign * output)
    for log_snr, sample in zip((-1.9, -0.7, 0.4), samples[2:], strict=True):
        place, output = predicted(kind, log_snr, sample)
        assert line.reaches(place)
        assert torch.allclose(line.output_at(place, sample), sign * output, atol=2e-5)


def test_only_the_last_two_count_and_one_place_counts_once() -> None:
    sample = torch.zeros(2, 2)
    line = ForecastLine(sample)
    line.add(Place(-9.0), sample, torch.full((2, 2), 100.0))
    assert not line.reaches(Place(-3.0))
    line.add(Place(-3.0), sample, torch.full((2, 2), 100.0))
    line.add(Place(-2.0), sample, torch.full((2, 2), 50.0))
    line.add(Place(-2.0), sample, torch.full((2, 2), 0.0))  # PNDM computes a place twice
    assert not line.reaches(Place(-2.0))
    assert torch.equal(line.output_at(Place(-1.0), sample), torch.full((2, 2), -100.0))


@pytest.mark.parametrize(
    "form",
    [
        lambda tensor: tensor,
        lambda tensor: (tensor,),
        lambda tensor: UNet2DConditionOutput(sample=tensor),
        lambda tensor: {"sample": tensor, "nothing": None},
    ],
)
def test_a_forecast_has_the_form_and_kind_of_the_output(form: Any) -> None:
    sample = torch.randn(2, 2)
    line = ForecastLine(sample)
    for log_snr in (-3.0, -2.0):
        line.add(Place(log_snr, 0.5, 0.5), sample, form(noise_at(log_snr).bfloat16()))
    forecast = line.output_at(Place(-1.0, 0.5, 0.5), sample)
    expected = form(noise_at(-1.0).bfloat16())
    assert type(forecast) is type(expected)
    assert leaves(forecast)[0].dtype == torch.bfloat16
    assert torch.allclose(leaves(forecast)[0], leaves(expected)[0], atol=0.02)


def test_samples_in_a_list_are_each_their_outputs_own() -> None:
    samples = [torch.randn(2, 2), torch.randn(2, 2)]
    line = ForecastLine(samples)
    assert line.fits(samples)
    assert not line.fits(samples[:1])
    for log_snr in (-3.0, -2.0):
        found = [predicted("flow_prediction", log_snr, sample) for sample in samples]
        line.add(found[0][0], samples, ([output for _, output in found],))
    found = [predicted("flow_prediction", -1.0, sample) for sample in samples]
    (outputs,) = line.output_at(found[0][0], samples)
    for output, (_, expected) in zip(outputs, found, strict=True):
        assert torch.allclose(output, expected, atol=1e-5)


def test_an_output_of_another_shape_is_forecast_itself() -> None:
    """Learnt variances lie behind the prediction."""
    sample = torch.randn(1, 2)
    line = ForecastLine(sample)
    for log_snr in (-3.0, -2.0):
        line.add(Place(log_snr, 0.5, 0.5), sample, noise_at(log_snr))
    assert torch.allclose(line.output_at(Place(-1.0, 0.5, 0.5), sample), noise_at(-1.0), atol=1e-5)


def test_what_is_kept_is_no_part_of_a_whole_forwards_output() -> None:
    merged = torch.randn(16, 2)
    for place in (Place(-3.0), Place(-3.0, 0.5, 0.5)):
        line = ForecastLine(merged[:2])
        line.add(place, merged[:2], merged[2:4])
        assert line._values[0].untyped_storage().nbytes() == 4 * 4
    merged.zero_()
    assert line._values[0].any()


def test_forms_are_kept_when_values_are_mapped() -> None:
    value = {"a": [torch.ones(1), torch.ones(2)], "b": (None, "text", torch.ones(3))}
    assert shapes_of(value) == ((1,), (2,), (3,))
    doubled = mapped(value, lambda tensor: tensor * 2)
    assert [tensor.sum().item() for tensor in leaves(doubled)] == [2, 4, 6]
    assert doubled["b"][:2] == (None, "text")
