"""What a deployment sets about the checkpoint, as parameters of `diffusion`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from imagegen.api.limits import RequestLimits
from imagegen.api.parameter_types import CommaSeparated, TrueOrFalse
from imagegen.api.tensors import STEP_CACHES
from imagegen.pipelines.step_cadence import LONGEST_INTERVAL

AUTO = "auto"
"""Of a setting that the engine chooses by measuring."""

_FORMER_WORDS = {"true": "torch", "false": "off"}


def _as_word(value: Any) -> Any:
    """The word for `compile`; until 0.2 it was true or false."""
    return _FORMER_WORDS.get(str(value).lower(), value)


class PipelineSettings(RequestLimits):
    """Which checkpoint is loaded and how, and what a request gets that leaves something open."""

    model: str = Field(
        default="checkpoint",
        description="folder of a diffusers checkpoint (a relative one starts at model.py's folder) or hub id",
    )
    revision: str | None = Field(default=None, description="git revision of a hub checkpoint")
    variant: str | None = Field(default=None, description="weight file variant of the checkpoint, such as fp16")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        default="auto", description="float32, float16 or bfloat16; auto is bfloat16 on a GPU and float32 on a CPU"
    )
    device: str = Field(default="auto", description="a torch device; auto is the GPU of the instance, or the CPU")
    cpu_threads: int = Field(default=0, ge=0, description="threads of torch on a CPU; 0 leaves torch's own choice")
    default_num_inference_steps: int | None = Field(
        default=None, ge=1, description="steps of a request that names none; empty for the pipeline's default"
    )
    default_guidance_scale: float | None = Field(
        default=None, ge=0, description="guidance of a request that names none; empty for the pipeline's default"
    )
    default_step_cache: Literal["off", "fine", "balanced", "fast"] = Field(
        default="off", description="step_cache of a request that names none"
    )
    step_cache_intervals: Annotated[tuple[int, ...], CommaSeparated] = Field(
        default=(2, 3, 5), description="what fine, balanced and fast are: one of so many steps runs the denoiser, 2..5"
    )
    native_size_px: Annotated[tuple[int, ...], CommaSeparated] = Field(
        default=(), description='width and height of size "auto", as 1024,1024; empty for the pipeline\'s own'
    )
    channels_last: Annotated[Literal["auto"], BeforeValidator(str)] | TrueOrFalse = Field(
        default=False,
        description="keep denoiser and VAE weights in channels-last order, which convolutions on GPUs like; auto for"
        " what the denoiser is faster with, measured at the first start and remembered in the user's folder for caches",
    )
    attention_backend: str | None = Field(
        default=None,
        description="attention implementation of diffusers, such as flash or _native_cudnn; empty for its default; auto"
        " for the fastest of torch's own, as with channels_last",
    )
    lora_modules: Annotated[tuple[str, ...], CommaSeparated] = Field(
        default=(),
        description="LoRA adapters on offer, as NAME=FILE,NAME2=HUB_ID; each is read at the start, and a fault ends it",
    )
    lora_folder: str = Field(
        default="",
        description="folder, each *.safetensors of which is a LoRA adapter by its stem, also one that comes later"
        " (a relative one starts at model.py's folder)",
    )
    lora_prefixes: Annotated[tuple[str, ...], CommaSeparated] = Field(
        default=(),
        description="a request may name a file or hub id that begins with one of these, as /adapters/,my-org/; empty"
        " for names on offer alone",
    )
    controlnets: Annotated[tuple[str, ...], CommaSeparated] = Field(
        default=(),
        description="networks for control images, ControlNets and T2I-Adapters, as canny=FOLDER,depth=HUB_ID by the"
        " type that requests name; union=FOLDER for one of several types (a relative folder starts at model.py's)",
    )
    compile: Annotated[Literal["off", "aot", "torch"], BeforeValidator(_as_word)] = Field(
        default="off",
        description="how the denoiser is compiled: aot by packages that are built once, in the background of the first"
        " start, and kept in compile_cache; torch by torch.compile at every start, which needs row_buckets; off",
    )
    compile_cache: str = Field(
        default="",
        description="folder of packages for compile = aot, which servers of one owner share (a relative one starts at"
        " model.py's folder); empty for imagegen/compiled in the user's folder for caches",
    )
    allow_tf32: TrueOrFalse = Field(
        default=False, description="let float32 products on the GPU use TF32: faster, about three decimal digits"
    )

    def step_interval(self, step_cache: str) -> int:
        """One of so many steps runs the denoiser, by the name of a step cache; 1 for all."""
        return (1, *self.step_cache_intervals)[STEP_CACHES.index(step_cache)]

    @field_validator("lora_modules", "controlnets")
    @classmethod
    def _are_names_and_places(cls, modules: tuple[str, ...]) -> tuple[str, ...]:
        names = [module.partition("=")[0] for module in modules]
        if not all(all(module.partition("=")[::2]) for module in modules) or len(set(names)) < len(names):
            raise ValueError("they are NAME=FILE or NAME=HUB_ID, each name once")
        return modules

    @field_validator("step_cache_intervals")
    @classmethod
    def _are_three_intervals(cls, intervals: tuple[int, ...]) -> tuple[int, ...]:
        if len(intervals) != 3 or min(intervals) < 2 or max(intervals) > LONGEST_INTERVAL:
            raise ValueError(f"they are three whole numbers of 2..{LONGEST_INTERVAL}, of fine, balanced and fast")
        return intervals

    @field_validator("native_size_px")
    @classmethod
    def _is_width_and_height(cls, size: tuple[int, ...]) -> tuple[int, ...]:
        if len(size) not in (0, 2) or min(size, default=1) < 1:
            raise ValueError("it is width,height in pixels")
        return size

    @field_validator("default_num_inference_steps")
    @classmethod
    def _is_within_the_cap_of_steps(cls, steps: int | None, info: ValidationInfo) -> int | None:
        cap = info.data.get("max_num_inference_steps")
        if steps is not None and cap is not None and steps > cap:
            raise ValueError(f"it is 1..{cap}")
        return steps

    @field_validator("default_guidance_scale")
    @classmethod
    def _is_within_the_cap_of_guidance(cls, guidance: float | None, info: ValidationInfo) -> float | None:
        cap = info.data.get("max_guidance_scale")
        if guidance is not None and cap is not None and guidance > cap:
            raise ValueError(f"it is 0..{cap:g}")
        return guidance
