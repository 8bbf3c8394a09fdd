"""The parameters of `diffusion/config.pbtxt`, typed: those of the engine, and what only Triton needs."""

from __future__ import annotations

from pydantic import Field

from imagegen.engine.settings import EngineSettings


class DiffusionSettings(EngineSettings):
    """Configuration of one diffusion model."""

    waking_requests: int = Field(
        default=24,
        ge=1,
        description="most empty requests that wake Triton's queue at the same time (see queue_waker.py); below the"
        " thread-pool-size of the python backend, which is 32 unless set",
    )
