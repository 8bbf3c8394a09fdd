"""One request on its way through the engine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from imagegen.api.events import Event
from imagegen.api.reports import ControlReport, GenerationReport, LoraReport
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.generation_result import GenerationResult
from imagegen.engine.pipeline_call import GeneratedImage
from imagegen.engine.response_claim import ResponseClaim, deadline_s
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.plan import Plan


@dataclass(eq=False)
class Generation:
    """One request, from its plan to its end.

    Attributes:
        plan: from `Engine.plan`.
        respond: called exactly once, from any thread, with the result or an error; never if submitting it raised.
        token: cancels the request.
        arrived_s: when it came to the engine, on the clock of `time.monotonic`: its deadline counts from then.
        entered_s: when it came to the server, maybe earlier: a cancel by name that came later than this counts.
        publish: takes progress, previews and `Ended`, on the device thread; None for nobody.
        previews: previews of each image that are published.
        left: called, once or more, when it has ended and its slot is free.
    """

    plan: Plan
    respond: Callable[[GenerationResult | None, BaseException | None], None]
    token: CancelToken = field(default_factory=CancelToken)
    arrived_s: float = field(default_factory=time.monotonic)
    entered_s: float = math.inf
    publish: Callable[[Event], None] | None = None
    previews: int = 0
    left: Callable[[], None] = lambda: None
    claim: ResponseClaim = field(default_factory=ResponseClaim, init=False, repr=False)

    @property
    def deadline_s(self) -> float | None:
        """When it has to be finished, on the clock of `time.monotonic`; None for no deadline."""
        return deadline_s(self.arrived_s, self.plan.timeout_ms)

    def claim_response(self) -> bool:
        """Whether the caller is the one who responds; true for the first alone."""
        return self.claim.take()

    def stage_seconds(self, images: Sequence[GeneratedImage]) -> dict[str, float]:
        """Seconds by stage up to now, those of the image that was finished last: queue to decode add up to diffusion.

        Before its run starts, an image waits for a slot and for the forward that is under way: that is queue too.
        """
        last = max(images, key=lambda image: image.started_s + image.encode_s + image.denoise_s + image.decode_s)
        whole_s = time.monotonic() - self.arrived_s
        seconds = {
            "queue": last.started_s - self.arrived_s,
            "encode": last.encode_s,
            "denoise": last.denoise_s,
        }
        return seconds | {"decode": max(0.0, whole_s - sum(seconds.values())), "diffusion": whole_s}

    def result(
        self, images: Sequence[GeneratedImage], seconds: dict[str, float], pipelines: Pipelines
    ) -> GenerationResult:
        """The result, from the images in order and the seconds by stage."""
        plan = self.plan
        forwards = sum(image.forwards for image in images)
        rows = sum(image.batch_rows for image in images)
        statistics = GenerationReport(
            model=pipelines.name,
            task=plan.task,
            size=f"{plan.size[0]}x{plan.size[1]}",
            num_inference_steps=plan.num_inference_steps,
            computed_steps=max((image.computed_steps for image in images), default=0),
            step_cache=plan.step_cache,
            guidance_scale=plan.guidance_scale,
            strength=plan.strength,
            scheduler=plan.scheduler or pipelines.scheduler_name,
            loras=tuple(LoraReport(name=lora.name, scale=lora.scale) for lora in plan.loras),
            references=len(plan.references),
            controls=tuple(ControlReport(type=each.type, scale=each.scale, end=each.end) for each in plan.controls),
            mean_batch_rows=round(rows / forwards, 2) if forwards else 0,
            warnings=(*plan.warnings, *dict.fromkeys(warning for image in images for warning in image.warnings)),
            milliseconds={stage: round(value * 1000, 2) for stage, value in seconds.items()},
        )
        return GenerationResult(np.stack([image.frame for image in images]), plan.seeds, statistics)
