"""What a deployment sets about the engine, as parameters of `diffusion`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from imagegen.api.parameter_types import CommaSeparated
from imagegen.engine.policy import Prefer
from imagegen.pipelines.settings import AUTO, PipelineSettings


class EngineSettings(PipelineSettings):
    """How requests share the device, with the settings of the checkpoint that they share."""

    devices: Annotated[tuple[str, ...], CommaSeparated] = Field(
        default=(),
        description="GPUs that share each forward, as 0,1,2,3, or cpu,cpu; each holds the denoisers; empty for one"
        " device",
    )
    parallelism: Literal["rows", "context"] = Field(
        default="rows",
        description="how devices share a forward: each computes some rows, or some tokens of each row (transformers for"
        " which diffusers has a plan; heads and tokens must divide by the number of devices)",
    )
    max_active_requests: int = Field(
        default=16, ge=1, description="requests that are generated at the same time; more wait in Triton's queue"
    )
    max_batch_rows: int = Field(
        default=16, ge=1, description="most rows of one denoiser forward; guidance takes two rows an image"
    )
    max_batch_pixels: int = Field(
        default=0, ge=0, description="most rows x pixels of one denoiser forward; 0 for no bound"
    )
    prefer: Prefer = Field(
        default="balanced",
        description="latency, balanced or throughput: how far long requests share the forwards of short ones while"
        " nobody waits for a slot; once somebody does, forwards are filled",
    )
    row_buckets: Annotated[tuple[int, ...], CommaSeparated] = Field(
        default=(),
        description="row counts that forwards are padded to, ascending, as 2,4,8,16: results are then bitwise"
        " independent of who shares the batch, and a compiled denoiser meets few shapes; empty for no padding",
    )
    prompt_cache_bytes: int = Field(
        default=256 * 2**20,
        ge=0,
        description="room for text encoder outputs of repeated prompts; 0 turns the cache off",
    )
    image_cache_bytes: int = Field(
        default=256 * 2**20, ge=0, description="room for VAE encodings of repeated input images; 0 turns the cache off"
    )
    max_loras: int = Field(
        default=8, ge=1, description="most different LoRA adapters on the device; requests with others wait for room"
    )
    max_lora_rank: int = Field(
        default=16,
        ge=1,
        description="largest rank of a LoRA adapter with compile = torch, where a denoiser has room of this rank for"
        " each of max_loras",
    )
    lora_device_bytes: int = Field(
        default=2**30, ge=0, description="most bytes of LoRA adapters on the device; those in use never leave"
    )
    lora_host_bytes: int = Field(
        default=2 * 2**30, ge=0, description="most bytes of LoRA adapters kept in the host's memory; 0 keeps none"
    )
    warmup_sizes: Annotated[tuple[str, ...], CommaSeparated] = Field(
        default=(),
        description="sizes generated before the model reports ready, as 512x512,1024x1024; none for no warmup; empty"
        " for the native size on a GPU, and for 64x64 and 256x256 at most on a CPU",
    )
    max_expected_s: float = Field(
        default=300.0,
        ge=0,
        description="longest that a request without timeout_ms may be expected to take by itself, by what images of its"
        " size were seen to take; more is refused at once, as is what would exceed its timeout_ms; 0 to refuse neither",
    )
    non_finite_images: Literal["error", "warning"] = Field(
        default="error",
        description="an image of values that are not finite numbers is an error, or handed over with a warning",
    )
    hang_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="longest that an engine in a process of its own may finish no step; then the process is ended, and"
        " another one started",
    )
    idle_sleep_s: float = Field(
        default=0.0,
        ge=0,
        description="how long an engine in a process of its own has nothing to do before it sleeps by itself; the next"
        " request wakes it, and waits for it; 0 for never",
    )
    idle_sleep_level: int = Field(
        default=1,
        ge=1,
        le=2,
        description="how deeply it sleeps then: 1 keeps the weights in the host's memory, 2 ends the process;"
        " always 2 with several devices",
    )
    drain_timeout_s: float = Field(
        default=30.0, ge=0, description="how long unloading waits for the requests that are being generated"
    )

    @field_validator("row_buckets")
    @classmethod
    def _are_ascending_up_to_the_largest_batch(cls, buckets: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if list(buckets) != sorted(set(buckets)) or min(buckets, default=1) < 1:
            raise ValueError("they are ascending row counts from 1")
        most = info.data.get("max_batch_rows")
        if buckets and most is not None and buckets[-1] < most:
            raise ValueError(f"the last one is below max_batch_rows, {most}")
        return buckets

    @model_validator(mode="after")
    def _devices_fit(self) -> Self:
        if self.devices and self.device != "auto":
            raise ValueError("parameter devices: it takes the place of device, which is auto then")
        if self.parallelism == "context" and len(self.devices) < 2:
            raise ValueError("parameter parallelism: context needs two devices or more")
        if self.parallelism == "context" and self.compile == "torch":
            raise ValueError("parameter compile: not with parallelism context")
        if self.parallelism == "context" and self.controlnets:  # what they hand over is not split with the tokens
            raise ValueError("parameter controlnets: not with parallelism context; rows takes them")
        if len(self.devices) > 1 and self.compile == "aot":
            raise ValueError("parameter compile: aot is for one device; several take torch or off")
        return self

    @property
    def chooses_by_measuring(self) -> bool:
        """Whether something is chosen by what a forward takes."""
        return AUTO in (self.channels_last, self.attention_backend)

    @model_validator(mode="after")
    def _auto_can_be_measured(self) -> Self:
        if self.chooses_by_measuring:
            name = "channels_last" if self.channels_last == AUTO else "attention_backend"
            if self.compile != "off" or len(self.devices) > 1:
                raise ValueError(f"parameter {name}: auto is for compile off and one device")
            if self.warmup_sizes == ("none",):
                raise ValueError(f"parameter {name}: auto is measured while warmup_sizes are warmed up, which are none")
        return self

    @model_validator(mode="after")
    def _compile_has_what_it_needs(self) -> Self:
        if self.compile == "torch" and not self.row_buckets:
            raise ValueError("parameter compile: needs row_buckets, else each number of rows would compile anew")
        if self.compile == "aot" and self.warmup_sizes == ("none",):
            raise ValueError("parameter compile: aot builds packages for warmup_sizes, which are none")
        return self
