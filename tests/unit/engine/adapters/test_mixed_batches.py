"""Eight requests in shared forwards, each with its own adapters: as each alone by diffusers' own way with them."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from imagegen.engine import Engine, EngineSettings, GenerationResult
from imagegen.engine.options import parse_options
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.adapters.made import Reference, write_adapter
from tests.unit.tiny_engine import image, levels, mask, wait_until

FAMILIES: dict[str, Callable[[], Any]] = {
    "sd": tiny.sd,
    "sdxl": tiny.sdxl,
    "sd3": tiny.sd3,
    "flux": tiny.flux,
    "qwen-image": tiny.qwen_image,
    "z-image": tiny.z_image,
    "lumina2": tiny.lumina2,
    "sana": tiny.sana,
}
SIZE = "32x32"
NONE: dict[str, Any] = {}
ONE = {"lora": "one", "lora_scale": 0.8}
OTHER = {"lora": "other"}
BOTH = {"lora": ["one", "other"], "lora_scale": [0.3, 1.5]}
NEGATIVE = {"lora": ["other", "one", "text"], "lora_scale": [-0.7, 0.5]}
REQUESTS: list[dict[str, Any]] = [
    {"num_inference_steps": 3} | NONE,
    {"num_inference_steps": 5, "guidance_scale": 3.0} | ONE,
    {"num_inference_steps": 4} | OTHER,
    {"num_inference_steps": 6, "guidance_scale": 7.5} | BOTH,
    {"num_inference_steps": 3} | NEGATIVE,
    {"num_inference_steps": 4, "guidance_scale": 1.0} | {"lora": "text"},
    {"num_inference_steps": 5} | NONE,
    {"num_inference_steps": 4} | ONE,
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Trial:
    """A family's engine, its adapters, and what diffusers makes of the same requests."""

    def __init__(self, pipeline: Any, folder: Path, **settings: Any) -> None:
        self.settings = EngineSettings(
            model="tiny", max_active_requests=8, max_batch_rows=16, lora_folder=str(folder), **settings
        )
        self.plain = copy.deepcopy(pipeline)
        files = {"one": (1, 4, False), "other": (2, 2, False), "text": (3, 3, True)}
        self.files = {
            name: write_adapter(pipeline, folder / f"{name}.safetensors", seed, rank=rank, text=text)
            for name, (seed, rank, text) in files.items()
        }
        self.engine = Engine(self.settings, pipelines=self.described(pipeline))

    def described(self, pipeline: Any) -> Pipelines:
        return describe_pipelines(pipeline, self.settings, torch.device("cpu"))

    def together(self, requests: Sequence[dict[str, Any]], engine: Engine | None = None) -> list[GenerationResult]:
        """All at once: the first forward begins when all of them have come."""
        engine = engine or self.engine
        opened = threading.Event()
        with ThreadPoolExecutor(len(requests) + 1) as threads:
            held = threads.submit(engine._runner.run_on_device_thread, partial(held_up, opened))
            results = [threads.submit(engine.generate, **asked) for asked in requests]
            wait_until(lambda: engine.active_requests == len(requests) and not engine._runner._waiting)
            opened.set()
            held.result()
            return [result.result() for result in results]

    def by_diffusers(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        reference = Reference(self.plain, self.files, self.described)
        images = []
        for asked in requests:
            options = dict(asked)
            parsed, pixels, _ = parse_options(options.pop("prompt"), options, self.settings, 1)  # type: ignore[arg-type]
            images.append(reference.image(self.engine.plan(parsed, pixels)))
        return images


def held_up(opened: threading.Event) -> None:
    assert opened.wait(20)


def asked_of(requests: Sequence[dict[str, Any]], pipelines: Pipelines) -> list[dict[str, Any]]:
    """The requests with prompt, seed and size, and those of their options that the model knows."""
    takes = next(iter(pipelines.tasks.values())).takes()
    return [
        {"prompt": f"a red cat {'by the sea' * (number % 2)}", "seed": number, "size": SIZE}
        | {name: value for name, value in options.items() if name != "guidance_scale" or name in takes}
        for number, options in enumerate(requests)
    ]


# Padding knows nothing of families: both kinds of networks, UNets and transformers, meet it, and half of the families.
@pytest.mark.parametrize(
    ("family", "buckets"), [(family, ((), (4, 8, 16))[number % 2]) for number, family in enumerate(FAMILIES)]
)
def test_each_family(family: str, buckets: tuple[int, ...], tmp_path: Path) -> None:
    trial = Trial(FAMILIES[family](), tmp_path, row_buckets=buckets)
    plain = Engine(trial.settings, pipelines=trial.described(copy.deepcopy(trial.plain)))
    with trial.engine as engine, plain:
        requests = asked_of(REQUESTS, engine.pipelines)
        results = trial.together(requests)
        without = [{name: value for name, value in asked.items() if "lora" not in name} for asked in requests]
        never = trial.together(without, plain)
        for number, (result, expected) in enumerate(zip(results, trial.by_diffusers(requests), strict=True)):
            assert levels(result.frames[0], expected) <= 1, requests[number]
            same = levels(result.frames[0], never[number].frames[0]) == 0
            assert same == ("lora" not in requests[number]), "an adapter without effect, or with effect on others"
        assert engine._runner._forwards == plain._runner._forwards
        after = trial.together(without)
        assert [levels(one.frames, other.frames) for one, other in zip(after, never, strict=True)] == [0] * 8


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "qwen-image", "z-image"])
def test_tasks_and_schedulers(family: str, tmp_path: Path) -> None:
    trial = Trial(FAMILIES[family](), tmp_path)
    with trial.engine as engine:
        requests = asked_of(REQUESTS, engine.pipelines)
        for number in (1, 3, 4, 6):
            requests[number] |= {"images": image(number), "strength": 0.9, "size": None}
            if number in (3, 6):
                requests[number] |= {"mask": mask()} if "inpainting" in engine.pipelines.tasks else {}
        if family in ("sd", "sdxl"):
            for number, scheduler in ((0, "ddim"), (2, "euler"), (4, "dpmpp_2m"), (7, "euler_ancestral")):
                requests[number]["scheduler"] = scheduler
        results = trial.together(requests)
        for number, (result, expected) in enumerate(zip(results, trial.by_diffusers(requests), strict=True)):
            assert levels(result.frames[0], expected) <= 1, requests[number]
        assert engine._runner._forwards < sum(asked["num_inference_steps"] for asked in requests) / 2


@pytest.mark.parametrize("family", ["sd", "sd3", "flux", "qwen-image", "z-image"])
def test_forecasts_of_requests_with_adapters_are_those_of_each_alone(family: str, tmp_path: Path) -> None:
    """What a request learns from its earlier outputs has its own adapters in it, and nobody else's."""
    trial = Trial(FAMILIES[family](), tmp_path, row_buckets=(16,))
    with trial.engine as engine:
        requests = asked_of([NONE, ONE, BOTH, OTHER], engine.pipelines)
        for number, name in enumerate(("fine", "balanced", "fast", "off")):
            requests[number] |= {"num_inference_steps": 9, "step_cache": name}
        results = trial.together(requests)
        for asked, result in list(zip(requests, results, strict=True))[1:3]:
            assert levels(result.frames, engine.generate(**asked).frames) == 0, asked
        assert [result.statistics.computed_steps for result in results] == [8, 7, 7, 9]
        without = engine.generate(**requests[1] | {"lora": None, "lora_scale": None})
        assert levels(without.frames, results[1].frames) > 0


def test_adapters_of_a_text_encoder_are_in_the_key_of_its_cache(tmp_path: Path) -> None:
    trial = Trial(tiny.sd(), tmp_path)
    with trial.engine as engine:
        asked = {"prompt": "a red cat", "seed": 1, "size": SIZE, "num_inference_steps": 2}
        engine.generate(**asked, negative_prompt="a dog")  # type: ignore[arg-type]
        prompts = engine._caches.prompt
        misses = prompts.statistics.misses
        engine.generate(**asked, negative_prompt="a dog", lora="one")  # type: ignore[arg-type]
        assert prompts.statistics.misses == misses
        engine.generate(**asked, negative_prompt="a dog", lora="text")  # type: ignore[arg-type]
        assert prompts.statistics.misses > misses
        hits = prompts.statistics.hits
        engine.generate(**asked, negative_prompt="a dog", lora="text")  # type: ignore[arg-type]
        assert prompts.statistics.hits > hits


def test_the_report_names_them(tmp_path: Path) -> None:
    trial = Trial(tiny.sd(), tmp_path)
    with trial.engine as engine:
        result = engine.generate("a red cat", size=SIZE, num_inference_steps=2, **BOTH)  # type: ignore[arg-type]
    assert [(lora.name, lora.scale) for lora in result.statistics.loras] == [("one", 0.3), ("other", 1.5)]
