"""Step-level continuous batching of unmodified diffusers pipelines.

`Engine` is the door: it loads a checkpoint and generates images, from threads and from asyncio. `EngineProcess` does
the same in a process of its own, the end of which its user survives. See docs/engine.md.
"""

from typing import TYPE_CHECKING, Any

from imagegen.engine.generation_result import GenerationResult
from imagegen.engine.options import GenerationOptions
from imagegen.engine.settings import EngineSettings
from imagegen.engine.worker.engine_process import EngineProcess

if TYPE_CHECKING:
    from imagegen.engine.engine import Engine

__all__ = ["Engine", "EngineProcess", "EngineSettings", "GenerationOptions", "GenerationResult"]


def __getattr__(name: str) -> Any:
    """`Engine`, once it is asked for: it brings torch and diffusers, which a user of `EngineProcess` does without."""
    if name == "Engine":
        from imagegen.engine.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
