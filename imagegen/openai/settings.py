"""What a deployment sets, in one frozen object. The command line and the documented table are made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, CliVariadicArg, PydanticBaseSettingsSource, SettingsConfigDict

from imagegen.api.limits import DEFAULT_MAX_IMAGE_BYTES

DEFAULT_QUALITY_STEPS = {"low": 10, "medium": 20, "high": 40, "xhigh": 60, "max": 80, "standard": 20, "hd": 40}


class Settings(BaseSettings):
    """How the frontend behaves.

    Raises:
        pydantic.ValidationError: a ValueError that names the field, its value and what is allowed.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    triton_url: str = Field(default="localhost:8001", description="`host:port` of Triton's gRPC endpoint")
    triton_model: str = Field(default="image_generation_stream", description="the Triton model that generates")
    model_id: str | None = Field(
        default=None,
        description="the id that /v1/models lists; without it, the name of the served checkpoint, as the metadata of "
        "its images has it. Requests may name this id, the checkpoint, `image_generation`, or no model",
    )
    tokenizer: str | None = Field(
        default=None,
        description="folder of a tokenizer, or of a checkpoint with one, or a hub id in the local cache, for counting "
        "prompt tokens; without it responses carry no usage",
    )
    files_folder: Path | None = Field(
        default=None,
        description="the local folder of the result store, served below /v1/images/files; without it nothing is",
    )
    keys_file: Path | None = Field(
        default=None,
        description="file with one API key a line, `name:key` or `key`; the environment variable IMAGEGEN_API_KEYS may "
        "hold more, separated by commas. Without any key everybody is let in",
    )
    max_concurrent_per_key: int = Field(
        default=0, ge=0, description="requests of one key that are under way at the same time; 0 for no limit"
    )
    max_body_bytes: int = Field(default=256_000_000, ge=1, description="most bytes of a request's body")
    max_image_bytes: int = Field(default=DEFAULT_MAX_IMAGE_BYTES, ge=1, description="most bytes of one uploaded image")
    body_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="longest time for a request's head, and then for its body, to arrive; a client that reads less "
        "than 1000 bytes a second of its response for so long loses the connection",
    )
    quality_steps: CliVariadicArg[dict[str, Annotated[int, Field(ge=1)]]] = Field(
        default=DEFAULT_QUALITY_STEPS,
        min_length=1,
        description='denoising steps of each value of `quality`, as NAME=STEPS; "auto" is the model\'s own number',
    )
    variation_prompt: str = Field(
        default=" ", description="the prompt behind /v1/images/variations, which has none of its own"
    )
    variation_strength: float = Field(
        default=0.6, description="how far a variation moves away from its image, above 0, up to 1"
    )
    ready_within_s: float = Field(
        default=300.0,
        gt=0,
        description="longest time in which the engine, while it works, may finish no step and still count as ready",
    )
    drain_timeout_s: float = Field(
        default=30.0, gt=0, description="how long requests under way may take to finish after TERM"
    )
    cors_origins: CliVariadicArg[tuple[str, ...]] = Field(
        default=(), description="origins whose pages may call the API from a browser; none by default"
    )
    log_prompts: bool = Field(default=False, description="write prompts into the log")

    @field_validator("quality_steps")
    @classmethod
    def _auto_is_the_models(cls, steps: dict[str, int]) -> dict[str, int]:
        if "auto" in steps:
            raise ValueError('"auto" is the model\'s own number of steps and cannot be set')
        return steps

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing from the environment: a stray variable with the name of a field would change the behaviour."""
        return (init_settings,)
