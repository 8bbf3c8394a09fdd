"""A client of `image_preprocess` alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

LONGEST_WAIT_S = 60  # far above every deadline of the server, so that only a hang reaches it


class Preprocess:
    """Sends requests to `image_preprocess` alone. Safe from any thread."""

    def __init__(self, client: triton_grpc.InferenceServerClient) -> None:
        self._client = client

    def __call__(self, *images: bytes | str, **texts: str) -> tuple[Any, dict[str, Any]]:
        """The pixels, None without images, and the report."""
        arrays: dict[str, list[bytes | str]] = {"prompt": ["x"], **{name: [text] for name, text in texts.items()}}
        if images:
            arrays["image"] = list(images)
        inputs = []
        for name, items in arrays.items():
            data = np.array([i.encode() if isinstance(i, str) else i for i in items], dtype=np.object_)
            tensor = triton_grpc.InferInput(name, list(data.shape), "BYTES")
            tensor.set_data_from_numpy(data)
            inputs.append(tensor)
        result = self._client.infer("image_preprocess", inputs, client_timeout=LONGEST_WAIT_S)
        return result.as_numpy("pixels"), json.loads(result.as_numpy("preprocess_report")[0])

    def refusal(self, *images: bytes | str) -> str:
        """The message of an INVALID_ARGUMENT."""
        with pytest.raises(InferenceServerException) as refused:
            self(*images)
        assert refused.value.status() == "StatusCode.INVALID_ARGUMENT", refused.value
        return str(refused.value.message()).partition("image_rejected: ")[2]
