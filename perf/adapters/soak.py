"""The part `soak`: thousands of requests with stacks of adapters, far more of them than there is room for.

Each gets exactly one outcome, and the right one; memory does not grow; what the stores may hold is never exceeded.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from transformers.utils import logging as transformers_logging

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.adapters.placed_adapter import PlacedAdapter
from imagegen.engine.options import parse_options
from imagegen.pipelines.checkpoint import describe_pipelines
from perf.adapters.soak_asks import Pixels, Wanted, random_asks, random_wanted
from perf.adapters.soak_files import SoakFiles, write_files
from perf.adapters.soak_run import Soak, Tally
from perf.adapters.watch import Gaps, Held, Watch, gaps, resident_bytes, sampled
from perf.progress import quiet_progress
from perf.report import Section, Target, table
from perf.torch_threads import torch_threads
from tests.unit.engine.adapters.made import Reference

MAX_RSS_GROWTH_PERCENT = 3.0
_LEAST_FOR_VERDICT = 2000  # requests
_EARLY_SHARE = 0.25
_IDLE_TIMEOUT_S = 10.0
_MIB = 2**20
_HOST_SHARE = 0.4  # of all good files' bytes that the host keeps: the others are read again


@dataclass(frozen=True)
class Settings:
    """How much is asked.

    Attributes:
        requests: of all clients; below 2000 there is no verdict on memory.
        clients: more than the engine has slots for requests.
        staying, moving: files that are always on offer, and those that come and go.
        known: different images that are compared with diffusers' own.
        side_px: width and height of images.
        max_loras: slots on the device.
        seed: of everything.
    """

    requests: int = 10_000
    clients: int = 20
    staying: int = 54
    moving: int = 10
    known: int = 200
    side_px: int = 64
    max_loras: int = 8
    seed: int = 1


QUICK = Settings(requests=200, staying=10, moving=3, known=20)


@dataclass(frozen=True)
class Found:
    """What a soak is made of.

    Attributes:
        tally: what everybody got.
        held: the most that the stores held.
        bounds: of them, by the attributes of `Held`.
        rss_bytes: after a quarter of the requests, and after all.
        gaps: between forwards.
        seconds: that the requests took.
        left: what was still held when all had ended.
    """

    tally: Tally
    held: Held
    bounds: Mapping[str, int]
    rss_bytes: tuple[int, int]
    gaps: Gaps
    seconds: float
    left: Sequence[str]


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Write the files, have diffusers make the images that are known, and send the requests."""
    with torch_threads(1), tempfile.TemporaryDirectory(prefix="imagegen-adapters-") as folder:
        return section(settings, _soak(settings, checkpoint, Path(folder)))


def _soak(settings: Settings, checkpoint: Path, folder: Path) -> Found:
    plain = DiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    files = write_files(plain, folder, settings.staying, settings.moving)
    dice = random.Random(settings.seed)
    wanted = [random_wanted(dice, files) for _ in range(settings.known)]
    with _engine(settings, checkpoint, files) as engine:
        images = _expected(engine, plain, files, wanted, settings.side_px)
        del plain
        asks = random_asks(dice, files, wanted, settings.requests)
        early = round(len(asks) * _EARLY_SHARE)
        tally, watch = Tally(), Watch(engine)
        soak = Soak(engine, files, images, settings.side_px, tally)
        rss_bytes = []
        started_s = time.monotonic()
        with sampled(engine) as held, quiet_progress() as progress:
            bar = progress.add_task("soak: requests", total=len(asks))
            for number, part in enumerate((asks[:early], asks[early:])):
                soak.run(part, settings.clients, number, lambda: progress.update(bar, advance=1, refresh=True))
                rss_bytes.append(resident_bytes())
        seconds = time.monotonic() - started_s
        bounds = {
            "adapters": engine.settings.max_loras,
            "device_bytes": engine.settings.lora_device_bytes,
            "host_bytes": engine.settings.lora_host_bytes,
        }
        found = gaps(watch.forwards, watch.readings)
        return Found(tally, held, bounds, (rss_bytes[0], rss_bytes[1]), found, seconds, _left(engine))


def _engine(settings: Settings, checkpoint: Path, files: SoakFiles) -> Engine:
    size_bytes = sum(file.stat().st_size for file in files.good.values())
    return Engine(
        EngineSettings(
            model=str(checkpoint),
            dtype="float32",
            device="cpu",
            cpu_threads=1,
            warmup_sizes=("none",),
            max_num_inference_steps=1000,
            max_expected_s=0,
            prompt_cache_bytes=_MIB,  # adapters of text encoders are in its keys: full before memory is looked at
            lora_folder=str(files.folder),
            max_loras=settings.max_loras,
            lora_device_bytes=files.device_bytes,
            lora_host_bytes=round(_HOST_SHARE * size_bytes),
        )
    )


def _expected(
    engine: Engine, plain: Any, files: SoakFiles, wanted: Sequence[Wanted], side_px: int
) -> dict[Wanted, Pixels]:
    """The images as diffusers makes them, one after the other, with `load_lora_weights` and `set_adapters`."""
    offering = Engine(
        engine.settings.model_copy(
            update={"lora_modules": tuple(f"{name}={file}" for name, file in files.moving.items())}
        ),
        pipelines=engine.pipelines,
    )
    with offering, quiet_progress() as progress:
        bar = progress.add_task("soak: images by diffusers", total=len(wanted))
        said = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity_error()  # it takes an adapter's matrices for missing weights
        reference = Reference(
            plain, files.good, lambda pipeline: describe_pipelines(pipeline, engine.settings, torch.device("cpu"))
        )
        transformers_logging.set_verbosity(said)
        images = {}
        for one in wanted:
            options: Any = one.options(side_px)
            asked, *_ = parse_options(one.prompt, options, engine.settings, engine.granularity_px)
            images[one] = reference.image(offering.plan(asked))
            progress.update(bar, advance=1, refresh=True)
    return images


def _left(engine: Engine) -> list[str]:
    """What is still held though all requests have ended."""
    deadline_s = time.monotonic() + _IDLE_TIMEOUT_S
    while engine.active_requests and time.monotonic() < deadline_s:
        time.sleep(0.01)
    left = {
        "requests that are being generated": engine.active_requests,
        "requests that wait": engine.waiting_requests,
        "requests that wait for adapters": len(engine._runner._waiting),
    }
    engine._adapters.leave_device()
    left["adapters in use"] = engine._adapters.statistics()["lora_device"].entries
    resident_bytes()  # collects garbage
    left["adapters in memory that are not in use"] = _alive(PlacedAdapter)
    return [f"{count} {what} when all had ended" for what, count in left.items() if count]


def _alive(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


def section(settings: Settings, found: Found) -> Section:
    """What the report says about it."""
    tally, held = found.tally, asdict(found.held)
    exceeded = [
        f"{name}: {held[name]} of {bound} at most" for name, bound in found.bounds.items() if held[name] > bound
    ]
    early, late = found.rss_bytes
    growth = 100 * (late / early - 1)
    rows = [(name, held[name], bound) for name, bound in found.bounds.items()]
    between = found.gaps
    return Section(
        title="Soak with adapters",
        settings=settings,
        paragraphs=[
            f"{sum(tally.outcomes.values())} requests in {found.seconds:.0f} s with stacks of up to two of"
            f" {settings.staying + settings.moving} adapters, {settings.max_loras} slots; outcomes: "
            + ", ".join(f"{name} {count}" for name, count in sorted(tally.outcomes.items()))
            + f"; {tally.wrong} wrong. During {tally.changed} of them an adapter came or went, by {tally.commands}"
            " commands. An image that is known is compared with what diffusers makes of the request alone with"
            " `set_adapters`: at most 1 level.",
            table(("held at most", "seen", "bound"), rows),
            f"Memory {early / _MIB:.1f} MiB after a quarter of the requests, {late / _MIB:.1f} MiB after all, free"
            f" memory given back: {growth:+.2f} %.",
            f"{between.forwards} forwards, the longest {between.longest_forward:.0f} ms; {between.readings} files read."
            f" Longest time between two forwards, in which images are decoded, and all may wait for their files:"
            f" {between.longest_reading:.0f} ms while a file was read, {between.longest_other:.0f} ms while none was."
            " `loads` measures that of a request that has its adapters.",
        ],
        raw={
            "outcomes": dict(tally.outcomes),
            "wrong": tally.wrong,
            "held": held,
            "bounds": dict(found.bounds),
            "rss_bytes": list(found.rss_bytes),
            "gaps": asdict(between),
        },
        targets=[
            Target(
                "adapters: every request gets one outcome, the right one",
                f"{tally.wrong} wrong of {sum(tally.outcomes.values())}",
                not tally.wrong,
            ),
            Target("adapters: no bound of the stores exceeded", "; ".join(exceeded) or "none", not exceeded),
            Target(
                f"adapters: memory grows by less than {MAX_RSS_GROWTH_PERCENT:g} % behind the first quarter",
                f"{growth:+.2f} %",
                None if settings.requests < _LEAST_FOR_VERDICT else growth < MAX_RSS_GROWTH_PERCENT,
            ),
        ],
        faults=[*tally.faults, *exceeded, *found.left],
    )
