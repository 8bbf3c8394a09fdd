"""No request makes the others wait: nothing synchronises in a tick, and launches and copies keep to a table."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.events import Preview
from imagegen.engine import Engine, denoiser_proxy
from imagegen.engine.collate import describe, forward
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.previews import fit_projection
from tests.accelerator import DEVICE, Kind, device_on_this_thread, move_pipeline
from tests.on_accelerator import budgets
from tests.on_accelerator.costs import cost_of
from tests.on_accelerator.families import SIZE, denoiser, engine_of, on_device
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import Gate, image, mask, wait_until

HERE = Path(__file__)


@pytest.fixture(scope="module")
def stable_diffusion() -> Pipelines:
    return on_device("sd")


@pytest.fixture
def engine(stable_diffusion: Pipelines) -> Iterator[Engine]:
    with engine_of(stable_diffusion) as made:
        yield made


def test_every_scheduler_that_is_offered_keeps_its_budget(engine: Engine, stable_diffusion: Pipelines) -> None:
    module = denoiser(stable_diffusion)
    assert stable_diffusion.schedulers.keys() == budgets.SCHEDULERS.keys()
    over = {
        name: found
        for name, budget in budgets.SCHEDULERS.items()
        if (found := cost_of(engine, module, scheduler=name).over(budget))
    }
    assert over == {}


@pytest.mark.parametrize("family", budgets.FAMILIES)
def test_every_family_keeps_its_budget(family: str) -> None:
    pipelines = on_device(family)
    with engine_of(pipelines) as engine:
        assert cost_of(engine, denoiser(pipelines), size=SIZE).over(budgets.FAMILIES[family]) == []


@pytest.mark.parametrize("scheduler", budgets.SCHEDULERS)
def test_images_that_stand_at_the_same_step_do_it_as_one(
    engine: Engine, stable_diffusion: Pipelines, scheduler: str
) -> None:
    budget = budgets.SCHEDULERS[scheduler]
    cost = cost_of(engine, denoiser(stable_diffusion), scheduler=scheduler, n=4)
    launches = sum(cost.tick[Kind.LAUNCH].values())
    assert launches <= budget.launches + 3 * budgets.FURTHER_LAUNCHES * budget.calls
    assert sum(cost.tick[Kind.TO_DEVICE].values()) <= budget.noise + budget.calls
    assert cost.tick[Kind.SYNCHRONISATION] == {}


def test_the_table_has_no_more_than_is_right() -> None:
    for budget in (*budgets.SCHEDULERS.values(), *budgets.FAMILIES.values()):
        assert budget.launches <= budgets.MOST_LAUNCHES * budget.calls
        assert budget.noise <= 1


@pytest.mark.parametrize("scheduler", ["ddim", "unipc"])
def test_other_tasks_synchronise_no_tick_either(engine: Engine, stable_diffusion: Pipelines, scheduler: str) -> None:
    module = denoiser(stable_diffusion)
    for options in ({"images": image()}, {"images": image(), "mask": mask()}):
        cost = cost_of(engine, module, scheduler=scheduler, strength=1.0, **options)
        assert cost.tick[Kind.SYNCHRONISATION] == {}
        assert cost.tick[Kind.TO_HOST] == {}


def test_previews_synchronise_no_tick(stable_diffusion: Pipelines) -> None:
    with device_on_this_thread():
        projection = fit_projection(stable_diffusion.tasks["text-to-image"].pipeline)
    assert projection is not None
    with engine_of(replace(stable_diffusion, projection=projection)) as engine:
        list(engine.stream("a cat", seed=1, num_inference_steps=5, partial_images=3))
        gate = Gate()
        remove = gate.put_before(denoiser(stable_diffusion))
        gate.close()
        with ThreadPoolExecutor(2) as pool:
            long = pool.submit(engine.generate, "a cat", seed=2, num_inference_steps=12)
            assert gate.reached.wait(20)
            followed = pool.submit(list, engine.stream("a cat", seed=1, num_inference_steps=5, partial_images=3))
            wait_until(lambda: engine.active_requests == 2)
            DEVICE.counters.reset()
            gate.open()
            events = followed.result()
            long.result()
        remove()
    assert sum(isinstance(event, Preview) for event in events) == 3
    assert not [line for line in DEVICE.counters.by_line(Kind.SYNCHRONISATION) if line.startswith("imagegen/")]


def planted_synchronisation(latents: Any) -> None:
    latents.sum().item()  # planted


def planted_launches(latents: Any) -> None:
    [latents + number for number in range(20)]  # planted too


@pytest.mark.parametrize(("plant", "mark"), [(planted_synchronisation, "planted"), (planted_launches, "planted too")])
def test_what_is_put_into_the_engine_breaks_the_budget_with_its_line(
    engine: Engine, stable_diffusion: Pipelines, monkeypatch: pytest.MonkeyPatch, plant: Any, mark: str
) -> None:
    def planted(module: Any, args: Any, *rest: Any) -> Any:
        plant(args[0])
        return describe(module, args, *rest)

    monkeypatch.setattr(denoiser_proxy, "describe", planted)
    over = cost_of(engine, denoiser(stable_diffusion), scheduler="ddim").over(budgets.SCHEDULERS["ddim"])
    (line,) = [n for n, text in enumerate(HERE.read_text().splitlines(), 1) if text.endswith(f"# {mark}")]
    assert over
    assert all(f"{HERE.name}:{line}'" in problem for problem in over)


def test_an_image_that_is_finished_stops_nobody(engine: Engine, stable_diffusion: Pipelines) -> None:
    """Its pixels are copied while the others go on, and picked up later."""
    gate = Gate()
    remove = gate.put_before(denoiser(stable_diffusion))
    alone = [engine.generate("a cat", seed=seed, num_inference_steps=2 + 2 * seed) for seed in range(3)]
    gate.close()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(engine.generate, "a cat", seed=9, num_inference_steps=12)
        assert gate.reached.wait(20)
        others = [
            pool.submit(engine.generate, "a cat", seed=seed, num_inference_steps=2 + 2 * seed) for seed in range(3)
        ]
        wait_until(lambda: engine.active_requests == 4)
        DEVICE.counters.reset()
        gate.open()
        results = [other.result() for other in others]
        first.result()
    remove()
    waits = {line for line in DEVICE.counters.by_line(Kind.SYNCHRONISATION) if line.startswith("imagegen/")}
    assert waits == set()
    for result, expected in zip(results, alone, strict=True):
        assert np.abs(result.frames.astype(int) - expected.frames).max() <= 1


def test_the_timesteps_of_a_merged_forward_are_one_copy() -> None:
    unet = move_pipeline(tiny.sd()).unet
    with device_on_this_thread():
        latents, text = torch.ones(2, 4, 8, 8).to("pretend"), torch.ones(2, 5, 16).to("pretend")
        calls = [
            describe(unet, (latents, torch.tensor(timestep)), {"encoder_hidden_states": text}, 1) for timestep in (9, 5)
        ]
        DEVICE.counters.reset()
        with DEVICE.counters.forwards_of(unet):
            forward(calls)
        assert DEVICE.counters.total(Kind.TO_DEVICE) == 1
        assert DEVICE.counters.total(Kind.SYNCHRONISATION) == 0
