"""Whole diffusers checkpoints in the true shapes of published models, with random weights: images are noise."""
