"""Where the model repository of the installed package is, and how it is told to serve another checkpoint."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "model_repository"

MODEL_REPOSITORY = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "model_repository"
"""The folder with the configuration of each model and the bundled weights; in a checkout that at its top."""

BUNDLED_CHECKPOINT = MODEL_REPOSITORY / "diffusion" / "1" / "checkpoint"
"""The small checkpoint that is served unless another one is named."""


def other_checkpoint(model: str) -> dict[str, str]:
    """Parameters that serve `model`, a folder or hub id, with its pipeline's own default steps and guidance, the usual
    limits of its size, and none of the bundled checkpoint's adapters and controls.

    Returns:
        `{"model.parameter": value}`, as `EmbeddedServer` takes them.
    """
    folder = Path(model)
    return {
        "diffusion.model": str(folder.resolve()) if folder.is_dir() else model,
        "diffusion.default_num_inference_steps": "",
        "diffusion.default_guidance_scale": "",
        "diffusion.max_area_px": "",
        "diffusion.lora_folder": "",
        "diffusion.controlnets": "",
    }
