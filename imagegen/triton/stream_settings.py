"""The parameters of `image_generation_stream/config.pbtxt`, typed. docs/operations.md is compared with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamSettings:
    """Configuration of the streaming model.

    Attributes:
        max_streams: streams at the same time; more wait in Triton's queue. Each takes a thread of the python backend
            too, and events need some that are free: set its thread-pool-size, 32 unless set, to more than this
    """

    max_streams: int = 256

    def __post_init__(self) -> None:
        if self.max_streams < 1:
            raise ValueError(f"parameter max_streams: {self.max_streams} is not 1 or more")
