"""The parameters of `image_postprocess/config.pbtxt`, typed."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class PostprocessSettings:
    """Configuration of image encoding.

    Attributes:
        request_threads: requests encoded at the same time; 0 for one a core.
    """

    request_threads: int = 0

    def __post_init__(self) -> None:
        if self.request_threads < 0:
            raise ValueError(f"parameter request_threads: {self.request_threads} is not 0 or more")

    @property
    def threads(self) -> int:
        """The number of request threads with 0 resolved."""
        return self.request_threads or os.cpu_count() or 1
