"""Which model is served, by the names that OpenAI's API knows it under, and what it does."""

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

    def capabilities(self) -> dict[str, Any] | None:
        """What the model does, for /v1/models; None as long as it is not known of this checkpoint."""
        described = self._description
        if described is None or described.model != self._checkpoint:
            return None
        return {name: value for name, value in asdict(described).items() if name not in ("model", "quiet_s", "asleep")}

    def check(self, requested: str | None) -> None:
        """Accept the listed id, the checkpoint's name, `image_generation`, and None.

        Raises:
            NotFound: `requested` is another model.
        """
        if requested is not None and requested not in (MODEL_ID, self._configured_id, self._checkpoint):
            raise NotFound(f"model: {requested!r} is not served here; see /v1/models", "model", code="model_not_found")
