"""The parameters of `diffusion/config.pbtxt`, typed. docs/operations.md is compared with it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imagegen.api.request import Caps


@dataclass(frozen=True)
class DiffusionSettings(Caps):
    """Configuration of one diffusion model, with the caps of `imagegen.request.Caps`.

    Attributes:
        model: folder of a diffusers checkpoint (a relative one starts at model.py's folder) or hub id.
        revision: git revision of a hub checkpoint.
        variant: weight file variant of the checkpoint, such as fp16.
        dtype: float32, float16 or bfloat16; auto is bfloat16 on a GPU and float32 on a CPU.
        device: a torch device; auto is the GPU of the instance, or the CPU.
        cpu_threads: threads of torch on a CPU; 0 leaves torch's own choice.
        default_num_inference_steps: steps of a request that names none; empty for the pipeline's default.
        default_guidance_scale: guidance of a request that names none; empty for the pipeline's default.
        native_size_px: width and height of size "auto", as 1024,1024; empty for the pipeline's own.
        max_active_requests: requests that are drawn at the same time; more wait in Triton's queue.
        max_batch_rows: most rows of one denoiser forward; guidance takes two rows an image.
        max_batch_pixels: most rows x pixels of one denoiser forward; 0 for no bound.
        row_buckets: row counts that forwards are padded to, ascending, as 2,4,8,16: results are then bitwise
            independent of who shares the batch, and a compiled denoiser meets few shapes; empty for no padding.
        prompt_cache_bytes: room for text encoder outputs of repeated prompts; 0 turns the cache off.
        image_cache_bytes: room for VAE encodings of repeated input images; 0 turns the cache off.
        warmup_sizes: sizes drawn before the model reports ready, as 512x512,1024x1024; none for no warmup; empty
            for the native size.
        channels_last: keep denoiser and VAE weights in channels-last order, which convolutions on GPUs like.
        attention_backend: attention implementation of diffusers, such as flash or _native_cudnn; empty for its default.
        compile: compile the denoiser with torch.compile; needs row_buckets.
        allow_tf32: let float32 products on the GPU use TF32: faster, about three decimal digits.
        waking_requests: most empty requests that wake Triton's queue at the same time (see queue_waker.py); below the
            thread-pool-size of the python backend, which is 32 unless set.
        drain_timeout_s: how long unloading waits for the requests that are being drawn.
    """

    model: str = "checkpoint"
    revision: str | None = None
    variant: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    cpu_threads: int = 0
    default_num_inference_steps: int | None = None
    default_guidance_scale: float | None = None
    native_size_px: tuple[int, ...] = ()
    max_active_requests: int = 16
    max_batch_rows: int = 16
    max_batch_pixels: int = 0
    row_buckets: tuple[int, ...] = ()
    prompt_cache_bytes: int = 256 * 2**20
    image_cache_bytes: int = 256 * 2**20
    warmup_sizes: tuple[str, ...] = ()
    channels_last: bool = False
    attention_backend: str | None = None
    compile: bool = False
    allow_tf32: bool = False
    waking_requests: int = 24
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise ValueError(f"parameter dtype: {self.dtype!r} is not one of auto, float32, float16, bfloat16")
        if len(self.native_size_px) not in (0, 2) or min(self.native_size_px, default=1) < 1:
            raise ValueError(f"parameter native_size_px: {self.native_size_px} is not width,height in pixels")
        for name in ("max_active_requests", "max_batch_rows", "waking_requests"):
            if getattr(self, name) < 1:
                raise ValueError(f"parameter {name}: {getattr(self, name)} is not 1 or more")
        if list(self.row_buckets) != sorted(set(self.row_buckets)) or min(self.row_buckets, default=1) < 1:
            raise ValueError(f"parameter row_buckets: {self.row_buckets} are not ascending row counts from 1")
        if self.row_buckets and self.row_buckets[-1] < self.max_batch_rows:
            raise ValueError(f"parameter row_buckets: the last one is below max_batch_rows, {self.max_batch_rows}")
        if self.compile and not self.row_buckets:
            raise ValueError("parameter compile: needs row_buckets, else each number of rows would compile anew")
        not_negative = ("prompt_cache_bytes", "image_cache_bytes", "max_batch_pixels", "cpu_threads")
        for name in (*not_negative, "drain_timeout_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"parameter {name}: {getattr(self, name)} is not 0 or more")
        default = self.default_num_inference_steps
        if default is not None and not 1 <= default <= self.max_num_inference_steps:
            raise ValueError(
                f"parameter default_num_inference_steps: {default} is outside 1..{self.max_num_inference_steps}"
            )
        guidance = self.default_guidance_scale
        if guidance is not None and not 0 <= guidance <= self.max_guidance_scale:
            raise ValueError(f"parameter default_guidance_scale: {guidance} is outside 0..{self.max_guidance_scale}")
