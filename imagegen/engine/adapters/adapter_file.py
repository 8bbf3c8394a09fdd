"""Reads a LoRA file: safetensors only, all bytes at once, so that what was hashed is what is parsed.

A pickle can run anything when it is loaded, so none is, whatever its name. Messages have the file's name and not its
folder, because they reach clients.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from imagegen.engine.adapters.adapter import AdapterError

_HEADER_SIZE_BYTES = (
    8  # the header's length, little endian; the header is JSON (https://github.com/huggingface/safetensors)
)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # how what torch.save writes begins, now and before 1.6
_SHOWN_CHARACTERS = 200  # of a key, of which real ones have half, or of what the parser says
_DIGEST_BYTES = 20


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """What a LoRA file holds, as it lies there.

    Attributes:
        name: of the file, for messages.
        digest: of its content, in hexadecimal; files with the same content have the same.
        tensors: by their keys, in the dtypes of the file, on the host.
        metadata: of the header, such as `lora_adapter_metadata`; empty when there is none.
    """

    name: str
    digest: str
    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]

    def refusal(self, key: str, why: str) -> AdapterError:
        """The error for a tensor that cannot be taken, naming the file and the tensor's key."""
        shown = key if key.isprintable() and len(key) <= _SHOWN_CHARACTERS else repr(key[:_SHOWN_CHARACTERS])
        return AdapterError(f"{self.name}: {shown} {why}")


def read_file(path: Path, max_bytes: int) -> AdapterFile:
    """Read a LoRA file, which may be replaced or cut off at any moment.

    Args:
        path: of the file; links are followed.
        max_bytes: the largest file that is read.

    Raises:
        AdapterError: it is missing, not readable, no regular file, too large, no safetensors, damaged, or it changed
            while it was read. The message has the file's name alone.
    """
    data = _read_stable(path, max_bytes)
    if not data:
        raise AdapterError(f"{path.name}: it is empty")
    if data.startswith((_ZIP, _PICKLE)) and not data[_HEADER_SIZE_BYTES:].startswith(b"{"):
        raise AdapterError(f"{path.name}: it is a pickle, which could run anything; only safetensors are read")
    try:
        tensors = safetensors.torch.load(data)
        metadata = _metadata(data)
    except Exception as error:  # of safetensors' own kind, or KeyError for a dtype that torch lacks, and others
        said = " ".join(str(error)[:_SHOWN_CHARACTERS].split())
        raise AdapterError(f"{path.name}: it is no intact safetensors file: {said}") from error
    digest = hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
    return AdapterFile(path.name, digest, tensors, metadata)


def _read_stable(path: Path, max_bytes: int) -> bytes:
    try:
        # A pipe without a writer would keep the thread for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise AdapterError(f"{path.name}: it is no regular file")
            if before.st_size > max_bytes:
                raise AdapterError(f"{path.name}: it has {before.st_size} bytes; {max_bytes} are allowed")
            data = _read_to_end(file.read, before.st_size)
            # The path too: a file that was replaced is not the one that the path names now.
            changed = _identity(before) != _identity(os.fstat(descriptor)) or _identity(before) != _identity(
                os.stat(path)
            )
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have, or an AdapterError
        if isinstance(error, AdapterError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise AdapterError(f"{path.name}: it cannot be read: {reason}") from error
    if changed or len(data) != before.st_size:
        raise AdapterError(f"{path.name}: it changed while it was read")
    return data


def _read_to_end(read: Callable[[int], bytes | None], size_bytes: int) -> bytes:
    """At most one byte more than there should be: a file that grows has no end."""
    parts, left = [], size_bytes + 1
    while left > 0 and (part := read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _metadata(data: bytes) -> dict[str, str]:
    size = int.from_bytes(data[:_HEADER_SIZE_BYTES], "little")
    header = json.loads(data[_HEADER_SIZE_BYTES : _HEADER_SIZE_BYTES + size])
    return dict(header.get("__metadata__") or {})
