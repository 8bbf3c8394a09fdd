"""How strong an adapter is by what PEFT says of it in the file's header, `lora_adapter_metadata`.

diffusers gives these words to PEFT's `LoraConfig`; here they are read without PEFT, which is not needed to serve.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_file import AdapterFile

_HEADER_ENTRY = "lora_adapter_metadata"
_DEFAULT_RANK = _DEFAULT_ALPHA = 8  # of LoraConfig
# With any of these an adapter is more, or other, than its pairs.
_REFUSED = (
    *("use_dora", "use_qalora", "use_bdlora", "layer_replication", "modules_to_save", "target_parameters"),
    *("trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"),
)
# These start by changing the weights of the base model; their pairs are for what is left of it.
_CHANGING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
_NAME = re.compile(r"\^?[\w-]+(?:\\?\.[\w-]+)*")  # of a layer or the end of it, as it is or as an expression for itself


@dataclass(frozen=True)
class PeftScale:
    """The scale of each layer of one component.

    Attributes:
        config: what PEFT's `LoraConfig` would be made of.
        file: for messages.
    """

    config: Mapping[str, Any]
    file: AdapterFile

    def of(self, names: Sequence[str], rank: int, key: str) -> float:
        """What a layer's pair is to be multiplied by.

        Args:
            names: of the layer, as the component and as the file has it.
            rank: of its matrices.
            key: that it has in the file.

        Raises:
            AdapterError: the header has another rank for it, or an alpha that is no number.
        """
        said = self._value("r", "rank_pattern", names, _DEFAULT_RANK)
        if said != rank:
            raise self.file.refusal(key, f"has rank {rank}, and {said} by the file's header")
        alpha = self._value("lora_alpha", "alpha_pattern", names, _DEFAULT_ALPHA)
        return float(alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank))

    def _value(self, entry: str, pattern_entry: str, names: Sequence[str], default: int) -> float:
        value = self.config.get(entry, default)
        patterns = self.config.get(pattern_entry) or {}
        matching = {spelling for name in names for spelling in _spellings(name) if spelling in patterns}
        if matching:  # PEFT takes the first that matches, in the order of the file
            value = patterns[next(iter(matching)) if len(matching) == 1 else next(p for p in patterns if p in matching)]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _wrong(self.file, entry)
        return value


def peft_scales(file: AdapterFile) -> dict[str, PeftScale]:
    """For each component that the header says something of, its scales; "" is for names without a component.

    Raises:
        AdapterError: it is not what diffusers writes, or says that the adapter is more than its pairs.
    """
    configs: dict[str, dict[str, Any]] = {}
    for key, value in _entries(file).items():
        component, _, entry = key.rpartition(".")
        configs.setdefault(component, {})[entry] = value
    for config in configs.values():
        _check(file, config)
    return {component: PeftScale(config, file) for component, config in configs.items()}


def _entries(file: AdapterFile) -> Mapping[str, Any]:
    text = file.metadata.get(_HEADER_ENTRY)
    if not text:
        return {}
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(file, "its text") from error
    if not isinstance(entries, dict):
        raise _wrong(file, "its text")
    return entries


def _check(file: AdapterFile, config: Mapping[str, Any]) -> None:
    for entry in _REFUSED:
        if config.get(entry):
            raise file.refusal(_HEADER_ENTRY, f"has {entry}, which is not supported")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(_CHANGING_STARTS):
        raise file.refusal(
            _HEADER_ENTRY, f"has init_lora_weights {start[:20]}, for which the base model is changed too"
        )
    for entry in ("rank_pattern", "alpha_pattern"):
        patterns = config.get(entry) or {}
        if not isinstance(patterns, dict):
            raise _wrong(file, entry)
        for pattern in patterns:
            # As names they cost nothing to look up; as expressions they could take for ever.
            if not _NAME.fullmatch(pattern):
                raise file.refusal(_HEADER_ENTRY, f"has an expression in {entry}; names of layers are supported")


def _spellings(layer: str) -> Iterator[str]:
    """What in a pattern means a layer: its name from its beginning, or the end of it from any dot."""
    parts = layer.split(".")
    for dot in (".", r"\."):  # as a name, and as an expression for it
        yield "^" + dot.join(parts)
        yield from (dot.join(parts[at:]) for at in range(len(parts)))


def _wrong(file: AdapterFile, what: str) -> AdapterError:
    return file.refusal(_HEADER_ENTRY, f"is not what diffusers writes: {what}")
