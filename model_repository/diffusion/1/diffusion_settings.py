"""The parameters of `diffusion/config.pbtxt`, typed. The README's table is compared with this class."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.request import Caps


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
        max_batch_rows: most rows of one denoiser forward; guidance takes two rows a picture.
        max_batch_pixels: most rows x pixels of one denoiser forward; 0 for no bound.
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
    drain_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dtype not in ("auto", "float32", "float16", "bfloat16"):
            raise ValueError(f"parameter dtype: {self.dtype!r} is not one of auto, float32, float16, bfloat16")
        if len(self.native_size_px) not in (0, 2):
            raise ValueError("parameter native_size_px: give width,height")
        for name in ("max_active_requests", "max_batch_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"parameter {name}: {getattr(self, name)} is not 1 or more")
        default = self.default_num_inference_steps
        if default is not None and not 1 <= default <= self.max_num_inference_steps:
            raise ValueError(f"parameter default_num_inference_steps: {default} is above max_num_inference_steps")
