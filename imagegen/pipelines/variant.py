"""Which variant of its weights a checkpoint's folder has: diffusers finds no file, and does not say why."""

from __future__ import annotations

import json
import re
from pathlib import Path

# As `save_pretrained` of diffusers and transformers name them, model.fp16-00001-of-00002.safetensors, and as older
# ones of diffusers did, model-00001-of-00002.fp16.safetensors, which it loads still.
_WEIGHTS = re.compile(
    r"(?:model|pytorch_model|diffusion_pytorch_model)(?:\.(\w+))?(?:-\d+-of-\d+(?:\.(\w+))?)?\.(?:safetensors|bin)",
    re.ASCII,
)


def check_variant(folder: Path, variant: str | None) -> None:
    """Check that the checkpoint in `folder` can be loaded with the parameter `variant`; None is the plain weights.

    Raises:
        ValueError: it has weights of other variants alone; says what to set.
    """
    variants = {part.name: _variants(part) for part in _components(folder)}
    others = {found for part in variants.values() for found in part if found is not None}
    if variant is None:
        for name, found in variants.items():
            if found and None not in found:
                named = " or ".join(sorted(map(str, found)))
                raise ValueError(
                    f"{folder / name} has only weights of the variant {named}; set the parameter variant to it"
                )
    elif variants and variant not in others:
        instead = f"it has {', '.join(sorted(others))}" if others else "leave the parameter variant empty"
        raise ValueError(f"{folder} has no weights of the variant {variant}; {instead}")


def weight_files(part: Path, variant: str | None) -> list[Path]:
    """The weight files of one component in one variant, None for the plain ones; safetensors where there are any."""
    files = [file for file in part.iterdir() if _is_weights(file) and _variant(file) == variant]
    return [file for file in files if file.suffix == ".safetensors"] or files


def _components(folder: Path) -> list[Path]:
    """The folders of what is loaded: a checkpoint may hold others, such as a safety checker that it does not use."""
    index = folder / "model_index.json"
    named = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else {}
    used = [folder / name for name, kind in named.items() if isinstance(kind, list) and kind[:1] != [None]]
    return [part for part in used if part.is_dir()]


def _variants(part: Path) -> set[str | None]:
    """The variants of one component; None is the plain weights."""
    return {_variant(file) for file in part.iterdir() if _is_weights(file)}


def _is_weights(file: Path) -> bool:
    return _WEIGHTS.fullmatch(file.name) is not None


def _variant(file: Path) -> str | None:
    """The variant in the name of a weight file."""
    match = _WEIGHTS.fullmatch(file.name)
    return (match[1] or match[2]) if match else None
