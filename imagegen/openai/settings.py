"""What a deployment sets, in one frozen object; the command line of `python -m imagegen.openai` fills it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MODEL_ID = "image_generation"


@dataclass(frozen=True)
class Settings:
    """How the frontend behaves.

    Attributes:
        triton_url: `host:port` of Triton's gRPC endpoint.
        triton_model: the Triton model that draws.
        model_id: the id that /v1/models lists; requests may name it, "image_generation", or no model.
        tokenizer: folder of a tokenizer, or of a checkpoint with one, or a hub id in the local cache, for counting
            prompt tokens; without it answers carry no usage.
        files_folder: the local folder of the result store, served below /v1/images/files; None for none.
        keys_file: file with one API key a line, `name:key` or `key`; the environment variable IMAGEGEN_API_KEYS may
            hold more, separated by commas. Without any key everybody is let in.
        max_concurrent_per_key: requests of one key that are drawn at the same time; 0 for no limit.
        max_body_bytes: most bytes of a request's body.
        max_image_bytes: most bytes of one uploaded image.
        body_timeout_s: longest time for a request's body to arrive.
        quality_steps: denoising steps of each value of `quality`; "auto" is the model's own number.
        variation_prompt: the prompt behind /v1/images/variations, which has none of its own.
        variation_strength: how far a variation moves away from its image, above 0, up to 1.
        probe_interval_s: longest time without an image before a tiny one is drawn, to know whether that still works.
        probe_steps: denoising steps of it.
        probe_size: its size, "WxH" or "auto".
        ready_within_s: how long one image counts as a proof of being ready.
        drain_timeout_s: how long requests under way may take to finish after TERM.
        cors_origins: origins whose pages may call the API from a browser; none by default.
        log_prompts: write prompts into the log.
    """

    triton_url: str = "localhost:8001"
    triton_model: str = "image_generation_stream"
    model_id: str = MODEL_ID
    tokenizer: str | None = None
    files_folder: Path | None = None
    keys_file: Path | None = None
    max_concurrent_per_key: int = 0
    max_body_bytes: int = 256_000_000
    max_image_bytes: int = 50_000_000
    body_timeout_s: float = 60.0
    quality_steps: dict[str, int] = field(
        default_factory=lambda: {"low": 10, "medium": 20, "high": 40, "standard": 20, "hd": 40}
    )
    variation_prompt: str = " "
    variation_strength: float = 0.6
    probe_interval_s: float = 30.0
    probe_steps: int = 1
    probe_size: str = "auto"
    ready_within_s: float = 90.0
    drain_timeout_s: float = 30.0
    cors_origins: tuple[str, ...] = ()
    log_prompts: bool = False

    def __post_init__(self) -> None:
        for name in ("max_body_bytes", "max_image_bytes", "probe_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is not 1 or more")
        for name in ("body_timeout_s", "probe_interval_s", "ready_within_s", "drain_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: {getattr(self, name)} is not above 0")
        if self.max_concurrent_per_key < 0:
            raise ValueError(f"max_concurrent_per_key: {self.max_concurrent_per_key} is not 0 or more")
        if "auto" in self.quality_steps or not self.quality_steps:
            raise ValueError('quality_steps: names values other than "auto", at least one')
        if any(steps < 1 for steps in self.quality_steps.values()):
            raise ValueError("quality_steps: steps are 1 or more")
