"""The parameters of `image_generation_stream/config.pbtxt`, typed."""

from __future__ import annotations

from pydantic import BaseModel, Field

from imagegen.api.parameter_types import SETTINGS_CONFIG


class StreamSettings(BaseModel):
    """Configuration of the streaming model."""

    model_config = SETTINGS_CONFIG

    max_streams: int = Field(
        default=256,
        ge=1,
        description="streams at the same time; more wait in Triton's queue. Each takes a thread of the python backend"
        " too, and events need some that are free: set its thread-pool-size, 32 unless set, to more than this",
    )
