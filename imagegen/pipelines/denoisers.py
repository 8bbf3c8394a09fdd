"""Where diffusers pipelines keep the modules that they call at every step."""

DENOISERS = ("unet", "transformer", "transformer_2", "controlnet", "prior", "decoder")
"""Attributes of a pipeline; most have one or two of them."""
