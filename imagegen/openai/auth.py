"""API keys. Kept as digests, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path

from imagegen.openai.errors import KeyRefused

VARIABLE = "IMAGEGEN_API_KEYS"
ANONYMOUS = "anonymous"


class Keys:
    """The keys that are let in; all requests are when there is none.

    Args:
        digests: name by SHA-256 digest of the key.
    """

    def __init__(self, digests: Mapping[bytes, str]) -> None:
        self._digests = dict(digests)

    @classmethod
    def load(cls, keys_file: Path | None, environment: Mapping[str, str] = os.environ) -> Keys:
        """From a file with one `name:key` or `key` a line (`#` starts a comment) and from the environment.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file holds no key; it would otherwise let everybody in.
        """
        entries: list[str] = []
        if keys_file is not None:
            entries = [line.strip() for line in keys_file.read_text().splitlines()]
            entries = [line for line in entries if line and not line.startswith("#")]
            if not entries:
                raise ValueError("the key file holds no key")
        entries += [entry.strip() for entry in environment.get(VARIABLE, "").split(",") if entry.strip()]
        digests = {}
        for number, entry in enumerate(entries, start=1):
            name, colon, key = entry.partition(":")
            if not colon:
                name, key = f"key-{number}", entry
            if not key.strip():
                raise ValueError(f"API key {number} is empty")
            digests[_digest(key.strip())] = name.strip() or f"key-{number}"
        return cls(digests)

    def name(self, authorization: str | None) -> str:
        """The name of the key in an Authorization header; "anonymous" where no keys are asked for.

        Raises:
            KeyRefused: there is none, or it is not known.
        """
        if not self._digests:
            return ANONYMOUS
        given = _digest(bearer_key(authorization) or "")
        name = None
        for digest, known in self._digests.items():  # all of them: the time tells nothing
            if hmac.compare_digest(digest, given):
                name = known
        if name is None:
            raise KeyRefused
        return name


def bearer_key(authorization: str | None) -> str | None:
    """The key in an Authorization header; None where there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
