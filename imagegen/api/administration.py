"""What an administrator may ask of the engines, as the inputs of the model `image_generation_admin`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imagegen.api import values
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import MAX_LORA_NAME_CHARACTERS, check_sleep_level
from imagegen.api.tensors import Arrays

SLEEP, WAKE, STATUS, LOAD_LORA, UNLOAD_LORA = COMMANDS = ("sleep", "wake", "status", "load_lora", "unload_lora")
MAX_LORA_PATH_CHARACTERS = 2048


@dataclass(frozen=True)
class AdminRequest:
    """One command.

    Attributes:
        command: one of `COMMANDS`.
        level: of a sleep, 1 or 2.
        lora_name: of `LOAD_LORA` and `UNLOAD_LORA`: what requests call the adapter.
        lora_path: of `LOAD_LORA`: a file or folder on the server, or a hub id.
    """

    command: str
    level: int = 1
    lora_name: str = ""
    lora_path: str = ""


def parse_admin_request(arrays: Arrays) -> AdminRequest:
    """The command in the inputs `command`, `level`, `lora_name` and `lora_path`; the key is not looked at.

    Raises:
        InvalidArgument: names the input that is missing or not allowed.
    """
    command = values.choice(arrays, "command", COMMANDS)
    if command is None:
        raise InvalidArgument("command", f"missing; it is one of {', '.join(COMMANDS)}")
    level: Any = values.one(arrays, "level")
    level = 1 if level is None else int(level)
    check_sleep_level(level)
    name = values.text(arrays, "lora_name", 1, MAX_LORA_NAME_CHARACTERS)
    path = values.text(arrays, "lora_path", 1, MAX_LORA_PATH_CHARACTERS)
    if name is None and command in (LOAD_LORA, UNLOAD_LORA):
        raise InvalidArgument("lora_name", f"missing; {command} needs it")
    if path is None and command == LOAD_LORA:
        raise InvalidArgument("lora_path", f"missing; {command} needs it")
    return AdminRequest(command, level, name or "", path or "")
