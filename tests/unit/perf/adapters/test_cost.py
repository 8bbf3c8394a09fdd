"""The cost of adapters is a ratio by round, outputs of all ways are compared, and the report has its targets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from perf.adapters import cost
from perf.adapters.cost import EACH, MASKED, NONE, SPANS, Found, Ratio, Settings, differences, ratio, section
from perf.adapters.networks import TimedNetwork
from perf.turns import Turn
from tests.unit import tiny_pipelines as tiny

COUNTS = (1, 2)
Turns = dict[str, list[Turn[list[torch.Tensor]]]]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = tiny.sd().unet

    def inputs(rows: int) -> dict[str, object]:
        text = torch.randn(rows, 7, tiny.WIDTH)
        return {
            "sample": torch.randn(rows, unet.config.in_channels, 8, 8),
            "timestep": 500,
            "encoder_hidden_states": text,
            "return_dict": False,
        }

    networks = {"sd-64": TimedNetwork("a small one", lambda: unet, inputs, 64)}
    monkeypatch.setattr(cost, "timed_networks", lambda _: networks)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("guidance", [False, True])
def test_all_ways_have_the_same_outputs(guidance: bool) -> None:
    settings = Settings(rounds=2, warmup=0, networks=("sd-64",), ranks=(2,), counts=(1, 3, 8), guidance=guidance)
    found = cost.measure(settings, Path())
    assert found.faults == []
    assert f"A forward of {16 if guidance else 8} rows" in found.paragraphs[0]
    [one] = found.raw["found"]
    assert list(one["ratios"]) == [SPANS, MASKED, EACH]
    assert list(one["ratios"][SPANS]) == [1, 3, 8]
    assert len(one["ratios"][MASKED][8]["rounds"]) == len(one["none_ms"]) == 2


def test_a_ratio_is_of_the_same_round() -> None:
    found = ratio([Turn(10.0, None), Turn(30.0, None), Turn(12.0, None)], [10.0, 20.0, 10.0])
    assert found.rounds == [1.0, 1.5, 1.2]
    assert str(found) == "1.20 (1.00 to 1.50)"


def turns() -> Turns:
    """Of outputs that differ only between with and without, and between images."""
    by_image = [torch.full((1,), float(number)) for number in range(1, 1 + cost.IMAGES)]
    made: Turns = {NONE: [Turn(1.0, [image * 0 for image in by_image])]}
    for count in COUNTS:
        made |= {f"{kind} {count}": [Turn(1.0, list(by_image))] for kind in (SPANS, MASKED)}
        made[f"{EACH} {count}"] = [Turn(1.0, [image for first in range(count) for image in by_image[first::count]])]
    return made


def test_outputs_are_compared_image_by_image() -> None:
    assert differences(turns(), COUNTS) == []
    wrong = turns()
    wrong[f"{MASKED} 2"][0].result[3] = torch.full((1,), float("nan"))
    wrong[f"{EACH} 1"][0].result.reverse()
    found = differences(wrong, COUNTS)
    assert [text.partition(": differs")[0] for text in found] == [
        "1 adapters, a forward each",
        "2 adapters, one forward, masked",
    ]


def test_adapters_that_change_nothing_are_a_fault() -> None:
    wrong = turns()
    wrong[NONE] = wrong[f"{SPANS} 1"]
    assert differences(wrong, (1,)) == ["1 adapters change nothing"]


def found_of(spans: float, rank: int = 16) -> Found:
    ratios = {kind: {8: Ratio([spans, spans, spans])} for kind in (SPANS, MASKED, EACH)}
    return Found("flux", rank, [5.0], ratios, [])


@pytest.mark.parametrize(("reached", "met"), [(1.04, True), (1.06, False)])
def test_the_target_is_that_of_eight_adapters_of_rank_16(reached: float, met: bool) -> None:
    settings = Settings(networks=("flux",), counts=(8,))
    [target] = section(settings, [found_of(reached), found_of(9.0, rank=64)], {"flux": "Flux-shaped"}).targets
    assert target.met is met
    assert target.meaning == "Flux-shaped: 8 adapters of rank 16 cost at most 1.05 times none"


def test_few_rounds_have_no_verdict() -> None:
    settings = Settings(networks=("flux",), counts=(8,), rounds=2)
    assert section(settings, [found_of(9.0)], {"flux": "Flux-shaped"}).targets[0].met is None
