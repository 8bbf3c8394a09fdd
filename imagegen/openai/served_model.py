"""Which model is served, with which adapters, by the names that OpenAI's API knows them under, and what it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from imagegen.openai.errors import NotFound
from imagegen_client import ModelDescription

MODEL_ID = "image_generation"
"""The Triton model's name: always accepted, and the id as long as nothing better is known."""


class ServedModel:
    """The one model behind this frontend.

    Args:
        configured_id: the id that the deployment set; None for the name of the served checkpoint.
    """

    def __init__(self, configured_id: str | None) -> None:
        self._configured_id = configured_id
        self._checkpoint: str | None = None
        self._description: ModelDescription | None = None

    @property
    def id(self) -> str:
        """The id that /v1/models lists."""
        return self._configured_id or self._checkpoint or MODEL_ID

    def learn(self, metadata: Mapping[str, Any]) -> None:
        """Take the checkpoint's name from the `metadata` of an image, which any checkpoint that is loaded later has."""
        name = metadata.get("model")
        if isinstance(name, str):
            self._checkpoint = name

    def learn_description(self, description: ModelDescription) -> None:
        """Take what the server says of the checkpoint that it serves."""
        self._checkpoint = description.model
        self._description = description

    @property
    def description(self) -> ModelDescription | None:
        """What the model does; None as long as it is not known of this checkpoint."""
        described = self._description
        return None if described is None or described.model != self._checkpoint else described

    def capabilities(self) -> dict[str, Any] | None:
        """What the model does, for /v1/models; None as long as it is not known of this checkpoint."""
        if (described := self.description) is None:
            return None
        return {name: value for name, value in asdict(described).items() if name not in ("model", "quiet_s", "asleep")}

    def listed(self, created_s: int) -> list[dict[str, Any]]:
        """The objects of /v1/models: the model, and then each adapter that is on offer, in the form of vLLM.

        Args:
            created_s: when, in seconds of Unix time.
        """
        common = {"object": "model", "created": created_s, "owned_by": "imagegen"}
        model = {"id": self.id, **common, "capabilities": self.capabilities()}
        return [model, *({"id": name, **common, "parent": self.id, "root": self.id} for name in self._loras())]

    def retrieved(self, name: str, created_s: int) -> dict[str, Any]:
        """The object of /v1/models that has this name.

        Raises:
            NotFound: there is none.
        """
        model, *adapters = self.listed(created_s)
        lora = self.lora_of(name)
        return model if lora is None else next(adapter for adapter in adapters if adapter["id"] == lora)

    def knows(self, requested: str) -> bool:
        """Whether a request may name this, as far as is known here; the server may offer an adapter since a moment."""
        return self._is_model(requested) or requested in self._loras()

    def lora_of(self, requested: str | None) -> str | None:
        """The adapter that a request means by its model; None for the model itself.

        That has the listed id, the checkpoint's name and `image_generation`, and no name goes before these.

        Raises:
            NotFound: `requested` is another model.
        """
        if requested is None or self._is_model(requested):
            return None
        if requested in self._loras():
            return requested
        raise NotFound(f"model: {requested!r} is not served here; see /v1/models", "model", code="model_not_found")

    def _is_model(self, requested: str) -> bool:
        return requested in (MODEL_ID, self._configured_id, self._checkpoint)

    def _loras(self) -> tuple[str, ...]:
        """The adapters on offer; one of the model's own name is not to be had by its name."""
        described = self.description
        return () if described is None else tuple(name for name in described.loras if not self._is_model(name))
