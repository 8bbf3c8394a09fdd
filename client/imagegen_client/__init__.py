"""Client of the image generation server: gRPC and HTTP, blocking and asyncio, one set of arguments.

Begin with `ImageClient("localhost:8001").generate("a red circle", n=2, seed=7)`.

A name's module is loaded when the name is first used, for whoever only wants the error table needs no gRPC library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagegen_client.arguments import GenerateArguments, Image, StreamArguments
    from imagegen_client.description import (
        EDITING,
        IMAGE_TO_IMAGE,
        INPAINTING,
        TASKS,
        TEXT_TO_IMAGE,
        ModelDescription,
    )
    from imagegen_client.error_codes import (
        CANCELLED,
        DEADLINE_EXCEEDED,
        ERROR_CODES,
        IMAGE_REJECTED,
        INTERNAL_ERROR,
        INVALID_ARGUMENT,
        NON_FINITE,
        STORAGE_FAILED,
        UNAVAILABLE,
        ErrorCode,
        Failure,
        FailureKind,
        classify,
    )
    from imagegen_client.errors import (
        Cancelled,
        DeadlineExceeded,
        ImageGenerationError,
        ImageRejected,
        InternalError,
        InvalidArgument,
        NonFinite,
        ServerUnreachable,
        StorageFailed,
        Unavailable,
    )
    from imagegen_client.over_grpc import AsyncImageClient, ImageClient
    from imagegen_client.over_http import AsyncHttpImageClient, HttpImageClient
    from imagegen_client.results import GenerateResult
    from imagegen_client.streaming import Preview, Progress

__all__ = [
    "CANCELLED",
    "DEADLINE_EXCEEDED",
    "EDITING",
    "ERROR_CODES",
    "IMAGE_REJECTED",
    "IMAGE_TO_IMAGE",
    "INPAINTING",
    "INTERNAL_ERROR",
    "INVALID_ARGUMENT",
    "NON_FINITE",
    "STORAGE_FAILED",
    "TASKS",
    "TEXT_TO_IMAGE",
    "UNAVAILABLE",
    "AsyncHttpImageClient",
    "AsyncImageClient",
    "Cancelled",
    "DeadlineExceeded",
    "ErrorCode",
    "Failure",
    "FailureKind",
    "GenerateArguments",
    "GenerateResult",
    "HttpImageClient",
    "Image",
    "ImageClient",
    "ImageGenerationError",
    "ImageRejected",
    "InternalError",
    "InvalidArgument",
    "ModelDescription",
    "NonFinite",
    "Preview",
    "Progress",
    "ServerUnreachable",
    "StorageFailed",
    "StreamArguments",
    "Unavailable",
    "classify",
]

_NAMES_OF_MODULES = {
    "arguments": ("GenerateArguments", "Image", "StreamArguments"),
    "description": ("EDITING", "IMAGE_TO_IMAGE", "INPAINTING", "TASKS", "TEXT_TO_IMAGE", "ModelDescription"),
    "errors": (
        "Cancelled",
        "DeadlineExceeded",
        "ImageGenerationError",
        "ImageRejected",
        "InternalError",
        "InvalidArgument",
        "NonFinite",
        "ServerUnreachable",
        "StorageFailed",
        "Unavailable",
    ),
    "over_grpc": ("AsyncImageClient", "ImageClient"),
    "over_http": ("AsyncHttpImageClient", "HttpImageClient"),
    "results": ("GenerateResult",),
    "streaming": ("Preview", "Progress"),
}
_MODULES = {name: module for module, names in _NAMES_OF_MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES.get(name, 'error_codes')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
