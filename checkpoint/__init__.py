"""The bundled checkpoint's room: the scenes it learned, how it was trained, and how it is checked."""

from pathlib import Path

BUNDLED = Path(__file__).resolve().parents[1] / "model_repository" / "diffusion" / "1" / "checkpoint"
"""The shipped weights, in diffusers' folder format."""
ADAPTERS = BUNDLED.parent / "loras"
"""The LoRA adapters shipped with them, a file each."""
CONTROLS = BUNDLED.parent / "controlnets"
"""The control models shipped with them, a folder each."""
EDIT = BUNDLED.parent / "edit_checkpoint"
"""The edit model: a denoiser of its own beside the checkpoint's text encoder, VAE and scheduler."""
