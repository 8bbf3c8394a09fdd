"""Step-level continuous batching of unmodified diffusers pipelines."""
