"""What a checkpoint is made of: its networks by configuration, its tokenizers, its scheduler, its pipeline."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from accelerate import init_empty_weights
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Network:
    """One network of a checkpoint, without weights.

    Attributes:
        model: its class, of diffusers or of transformers.
        config: what the class (diffusers) or its configuration's class (transformers) is called with.
        depths: keys of `config` that are numbers of layers, whole numbers or tuples of them; dots reach into inner
            mappings.
    """

    model: type[Any]
    config: Mapping[str, Any]
    depths: tuple[str, ...] = ()

    @property
    def layers(self) -> int:
        """Of its deepest part; 0 where nothing can be cut."""
        return max((max(_numbers(_at(self.config, path))) for path in self.depths), default=0)

    def cut(self, layers: int) -> Network:
        """The same with at most `layers` layers in each part."""
        config = copy.deepcopy(dict(self.config))
        for path in self.depths:
            *outer, last = path.split(".")
            inner = _at(config, ".".join(outer)) if outer else config
            numbers = tuple(min(number, layers) for number in _numbers(inner[last]))
            inner[last] = numbers if isinstance(inner[last], (tuple, list)) else numbers[0]
        return replace(self, config=config)

    def build(self) -> Any:
        """The network with parameters on the device `meta`, where they need no memory; buffers are real ones."""
        with init_empty_weights(include_buffers=False):
            if not issubclass(self.model, PreTrainedModel):
                return self.model(**self.config).eval()
            config_type: Any = self.model.config_class
            network: Any = self.model(config_type(**copy.deepcopy(dict(self.config))))
        network.tie_weights()  # what is shared was parted when it was put on the device
        return network.eval()


@dataclass(frozen=True)
class Architecture:
    """One model family in its published size.

    Attributes:
        pipeline: the diffusers pipeline.
        networks: by component.
        tokenizers: by component; each makes one.
        scheduler: makes the published one.
        options: what else the pipeline is made with.
    """

    pipeline: type[Any]
    networks: Mapping[str, Network]
    tokenizers: Mapping[str, Callable[[], Any]]
    scheduler: Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> int:
        """Of the deepest network."""
        return max(network.layers for network in self.networks.values())

    def cut(self, layers: int) -> Architecture:
        """The same widths with at most `layers` layers in each part: blocks of a UNet's stage, transformer layers.

        Raises:
            ValueError: no part has so many, or there would be none.
        """
        if not 1 <= layers <= self.layers:
            raise ValueError(f"layers: {layers} is not allowed; 1..{self.layers} is, as many as the deepest part has")
        return replace(self, networks={name: network.cut(layers) for name, network in self.networks.items()})


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value[key]
    return value


def _numbers(value: int | tuple[int, ...] | list[int]) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
