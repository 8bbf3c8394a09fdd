"""Starts servers: stages a model repository, runs and supervises Triton and the frontend, and the demo."""
