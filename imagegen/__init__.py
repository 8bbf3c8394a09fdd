"""Image generation on NVIDIA Triton: unmodified diffusers pipelines, batched step by step.

A package imports only those below it: openai, launch -> triton -> engine, images -> pipelines -> api.
"""

__version__ = "0.2.0"
