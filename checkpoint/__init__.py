"""The bundled checkpoint's room: the scenes it learned, how it was trained, and how it is checked."""

from pathlib import Path

BUNDLED = Path(__file__).resolve().parents[1] / "model_repository" / "diffusion" / "1" / "checkpoint"
"""The shipped weights, in diffusers' folder format."""
ADAPTERS = BUNDLED.parent / "loras"
"""The LoRA adapters shipped with them, a file each."""
