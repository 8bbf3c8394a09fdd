"""The key that opens what is for administrators: one variable for Triton's restricted APIs and for our own commands."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping

from imagegen.api import values
from imagegen.api.errors import InvalidArgument
from imagegen.api.tensors import Arrays

ADMIN_KEY_VARIABLE = "IMAGEGEN_ADMIN_KEY"
_FIELD = "admin_key"
_LONGEST_CHARACTERS = 1024


class AdminKey:
    """The configured key, kept as a digest and compared in constant time; without one nobody is let in.

    Args:
        environment: where the variable is.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        key = environment.get(ADMIN_KEY_VARIABLE, "")
        self._digest = _digest(key) if key else None

    def check(self, arrays: Arrays) -> None:
        """Let in who gives the key in the input `admin_key`.

        Raises:
            InvalidArgument: it is missing or another one, or this server has none.
        """
        if self._digest is None:
            raise InvalidArgument(_FIELD, f"this server has none; start it with the variable {ADMIN_KEY_VARIABLE}")
        given = values.text(arrays, _FIELD, 0, _LONGEST_CHARACTERS)
        if given is None or not hmac.compare_digest(_digest(given), self._digest):
            raise InvalidArgument(_FIELD, "not the administrator's key")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
