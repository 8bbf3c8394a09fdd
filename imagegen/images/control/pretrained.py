"""Loads a model of transformers for a setting, and says which setting it was where that fails.

Torch and transformers are imported here and in the modules that use them within functions: most servers need neither
in `image_preprocess`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_pretrained(parameter: str, source: str, kind: str) -> tuple[Any, Any]:
    """The image processor and the model, in float32 on the CPU.

    Args:
        parameter: of `image_preprocess`, for messages.
        source: a folder as `save_pretrained` writes it, or a hub id.
        kind: the class of transformers that loads it, such as AutoModelForDepthEstimation.

    Raises:
        ValueError: it is not there, is damaged, or is no such model. The message names the parameter and the source.
    """
    import torch
    import transformers

    if not Path(source).is_dir() and source.count("/") != 1:
        raise ValueError(f"parameter {parameter}: {source} is neither a folder that is there nor a hub id")
    safe: dict[str, Any] = {"trust_remote_code": False}  # else it may ask on a terminal
    try:
        # The one of two that is always there: results do not depend on whether torchvision is installed.
        processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil", **safe)
        model, report = getattr(transformers, kind).from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, **safe
        )
    except Exception as error:  # of many kinds: no such repository, no network, a damaged file, an unknown model
        raise ValueError(f"parameter {parameter}: {source} cannot be loaded: {error}") from error
    if report["missing_keys"]:  # transformers would go on with random numbers
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ValueError(f"parameter {parameter}: {source} lacks weights of its model: {missing}")
    return processor, model.eval()
