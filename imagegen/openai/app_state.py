"""What lives as long as the application and every request for images needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from imagegen.openai.concurrency import ConcurrencyLimiter
from imagegen.openai.health import Health
from imagegen.openai.metrics import FrontendMetrics
from imagegen.openai.triton_images import TritonImages
from imagegen.openai.usage import TokenCounter


@dataclass(frozen=True)
class AppState:
    """The parts of a running frontend that generate images.

    Attributes:
        triton: generates.
        limiter: bounds the requests of each API key.
        tokens: counts the tokens of prompts; None where no tokenizer can be read.
        health: told of each success.
        metrics: counts images.
        clock: seconds.
    """

    triton: TritonImages
    limiter: ConcurrencyLimiter
    tokens: TokenCounter | None
    health: Health
    metrics: FrontendMetrics
    clock: Callable[[], float] = time.monotonic
