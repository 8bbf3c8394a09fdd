"""What an administrator may ask of the engines, as the inputs of the model `image_generation_admin`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imagegen.api import values
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import check_sleep_level
from imagegen.api.tensors import Arrays

SLEEP, WAKE, STATUS = COMMANDS = ("sleep", "wake", "status")


@dataclass(frozen=True)
class AdminRequest:
    """One command.

    Attributes:
        command: one of `COMMANDS`.
        level: of a sleep, 1 or 2.
    """

    command: str
    level: int = 1


def parse_admin_request(arrays: Arrays) -> AdminRequest:
    """The command in the inputs `command` and `level`; the key is not looked at.

    Raises:
        InvalidArgument: names the input that is missing or not allowed.
    """
    command = values.choice(arrays, "command", COMMANDS)
    if command is None:
        raise InvalidArgument("command", f"missing; it is one of {', '.join(COMMANDS)}")
    level: Any = values.one(arrays, "level")
    level = 1 if level is None else int(level)
    check_sleep_level(level)
    return AdminRequest(command, level)
