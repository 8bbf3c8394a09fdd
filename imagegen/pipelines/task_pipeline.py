"""A diffusers pipeline for one task, with what its call takes."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from imagegen.pipelines.pipeline_class import PipelineClass

_PLAIN = PipelineClass("DiffusionPipeline", "", ())


@dataclass(frozen=True)
class TaskPipeline:
    """A pipeline for one task.

    Attributes:
        pipeline: the diffusers pipeline; never called itself, copied for each image.
        accepts: the names of its call arguments.
        defaults: its call's default values by name.
        guidance_argument: the call argument that a request's guidance_scale is for.
        row: what is known of its class.
    """

    pipeline: Any
    accepts: frozenset[str]
    defaults: dict[str, Any]
    guidance_argument: str = "guidance_scale"
    row: PipelineClass = _PLAIN

    @classmethod
    def of(cls, pipeline: Any, row: PipelineClass) -> TaskPipeline:
        """A pipeline of diffusers, whose class has this row."""
        arguments = inspect.signature(pipeline.__call__).parameters
        defaults = {name: a.default for name, a in arguments.items() if a.default is not inspect.Parameter.empty}
        # Models not distilled with guidance ignore guidance_scale where there is a true_cfg_scale (Qwen-Image).
        transformer = getattr(pipeline, "transformer", None)
        distilled = transformer is not None and getattr(transformer.config, "guidance_embeds", False)
        true_guidance = "true_cfg_scale" in arguments and not distilled
        guidance_argument = "true_cfg_scale" if true_guidance else "guidance_scale"
        return cls(pipeline, frozenset(arguments), defaults, guidance_argument, row)

    def takes(self) -> tuple[str, ...]:
        """Those of the public inputs that not every pipeline takes."""
        arguments = {
            "negative_prompt": "negative_prompt",
            "guidance_scale": self.guidance_argument,
            "strength": "strength",
        }
        return tuple(public for public, argument in arguments.items() if argument in self.accepts)
