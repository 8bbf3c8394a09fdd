"""Step-level continuous batching of unmodified diffusers pipelines.

`Engine` is the door: it loads a checkpoint and generates images, from threads and from asyncio. See docs/engine.md.
"""

from imagegen.engine.engine import Engine
from imagegen.engine.generation import GenerationResult
from imagegen.engine.options import GenerationOptions
from imagegen.engine.settings import EngineSettings

__all__ = ["Engine", "EngineSettings", "GenerationOptions", "GenerationResult"]
