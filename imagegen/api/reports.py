"""What one model says of a request to the next one, as JSON in a tensor that no client sends.

image_preprocess -> PreprocessReport -> diffusion -> GenerationReport -> image_postprocess -> ImageMetadata -> client
"""

from __future__ import annotations

import json
from typing import Self

from pydantic import BaseModel, ConfigDict, Field


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    def to_json(self) -> bytes:
        """The report as ASCII JSON, fields in the order in which they are defined."""
        return json.dumps(self.model_dump()).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The report that `to_json` wrote.

        Raises:
            ValueError: it is none.
        """
        return cls.model_validate_json(text)


class PreprocessReport(_Report):
    """What `image_preprocess` did with a request.

    The clock is the host's (`time.monotonic`), so the diffusion model knows how long the request then waited in its
    queue, and whether a cancel came before it or after.
    """

    started_s: float = Field(description="when the request came to the server")
    finished_s: float = Field(description="when it was passed on")
    milliseconds: dict[str, float] = Field(default={}, description="time by stage")
    warnings: tuple[str, ...] = Field(default=(), description="for the client")
    input_paths: dict[str, str] = Field(default={}, description="where input images are kept, by field")


class LoraReport(_Report):
    """An adapter that was applied."""

    name: str = Field(description="as the request named it")
    scale: float = Field(description="as the request had it")


class ControlReport(_Report):
    """A control that was applied."""

    type: str = Field(description="what its image shows")
    scale: float = Field(description="how strongly it counted")
    end: float = Field(description="until which part of the steps it counted")


class GenerationReport(_Report):
    """What the diffusion model did with a request: the public metadata, but for the output format."""

    model: str = Field(description="name of the checkpoint")
    task: str = Field(description="text-to-image, image-to-image, inpainting or editing")
    size: str = Field(description='"WxH" in pixels')
    num_inference_steps: int = Field(description="steps of the whole denoising loop")
    computed_steps: int = Field(description="steps that ran the denoiser: those that were done, without forecast ones")
    step_cache: str = Field(default="off", description="of tensors.STEP_CACHES what was applied")
    guidance_scale: float | None = Field(description="None for a pipeline that takes none")
    strength: float | None = Field(description="None unless the task starts from an image")
    scheduler: str | None = Field(description="public name of the scheduler, None for one that has none")
    loras: tuple[LoraReport, ...] = Field(default=(), description="adapters that were applied")
    references: int = Field(default=0, description="reference images that conditioned the images")
    controls: tuple[ControlReport, ...] = Field(default=(), description="control images that were followed")
    mean_batch_rows: float = Field(description="rows of a denoiser forward on average, with those of other requests")
    warnings: tuple[str, ...] = Field(description="for the client")
    milliseconds: dict[str, float] = Field(description="time by stage")
    input_paths: dict[str, str] = Field(default={}, description="where input images are kept, by field")

    def completed(self, output_format: str, milliseconds: dict[str, float]) -> ImageMetadata:
        """The public metadata.

        Args:
            output_format: of the images.
            milliseconds: of further stages.
        """
        fields = dict(self) | {"milliseconds": self.milliseconds | milliseconds}
        return ImageMetadata(**fields, output_format=output_format)


class ImageMetadata(GenerationReport):
    """The public output `metadata`."""

    output_format: str = Field(description="one of tensors.OUTPUT_FORMATS")

    def to_json(self) -> bytes:
        """The metadata as ASCII JSON; `input_paths` only where input images are kept."""
        return json.dumps(self.model_dump(exclude=None if self.input_paths else {"input_paths"})).encode()
