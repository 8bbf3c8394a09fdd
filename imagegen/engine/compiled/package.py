"""A package: a file with compiled code for one forward, with or without the network's weights; and the loaded code.

The file is a zip of two entries: what AOTInductor made, and what we have to know beside it. Zip has a checksum of each.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from imagegen.engine.compiled.network import constants

NETWORK = "network"
"""What the network is called in the code, before a dot and the names of its tensors."""

_CODE, _DETAILS = "code.pt2", "details.pt"
# What a torn file, or one that is no package, makes zipfile, torch.load and AOTInductor's loader raise.
_UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Details:
    """What has to be known of a package beside its code.

    Attributes:
        most_rows: that the code is for.
        lifted: constants that the code reads and the network does not have, by the code's own names; None of code
            that has the weights, and reads nothing of the network.
    """

    most_rows: int
    lifted: Mapping[str, torch.Tensor] | None


class PackageError(Exception):
    """A file is no whole package, or another one than its name says."""


def write_package(file: Path, key: str, code: Path, details: Details) -> None:
    """Write a package, not to its place yet.

    Args:
        file: which is made.
        key: of the package.
        code: what AOTInductor made.
        details: of it.
    """
    entry = io.BytesIO()
    torch.save({"key": key, "most_rows": details.most_rows, "lifted": details.lifted}, entry)
    with file.open("xb") as target:
        with zipfile.ZipFile(target, "w") as archive:
            archive.write(code, _CODE)
            archive.writestr(_DETAILS, entry.getvalue())
        target.flush()
        os.fsync(target.fileno())  # before it is renamed: else a machine that loses power has an empty file there


def check_package(file: Path, key: str) -> None:
    """Read a package from its beginning to its end.

    Raises:
        PackageError: it is torn, or not the one of this key.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            torn = archive.testzip()
            if torn is not None:
                raise PackageError(f"{torn} of it is torn")
            _details(archive, key, torch.device("cpu"))
    except _UNREADABLE as error:
        raise PackageError(str(error)) from error


class Package:
    """The loaded code of a package, which has the weights of a network or reads them where they are.

    They have to stay there: whoever moves them loads the package again.

    Args:
        file: the package.
        key: of it.
        module: the network.
        device: that it is on.

    Attributes:
        most_rows: that the code is for.

    Raises:
        PackageError: it cannot be loaded, or is for another network.
    """

    def __init__(self, file: Path, key: str, module: torch.nn.Module, device: torch.device) -> None:
        try:
            with zipfile.ZipFile(file) as archive:
                details = _details(archive, key, device)
                self._code = torch._inductor.aoti_load_package(
                    io.BytesIO(archive.read(_CODE)), device_index=device.index or 0 if device.type == "cuda" else -1
                )
            self.most_rows = details.most_rows
            if details.lifted is None:
                return
            known = {f"{NETWORK}.{name}": tensor for name, tensor in constants(module).items()} | dict(details.lifted)
            self._code.load_constants(
                # The parameters themselves: what is read of them is never freed, but their memory moves with them.
                {name: known[name] for name in self._code.get_constant_fqns()},
                check_full_update=True,
                user_managed=True,
            )
        except _UNREADABLE as error:
            raise PackageError(str(error)) from error

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Any:
        """The network's output for the tensors of a forward, in the order of its `ForwardShape`."""
        return self._code(list(tensors))


def _details(archive: zipfile.ZipFile, key: str, device: torch.device) -> Details:
    entry = torch.load(io.BytesIO(archive.read(_DETAILS)), weights_only=True, map_location=device)
    if entry["key"] != key:
        raise PackageError(f"it is {entry['key']}, not {key}")
    return Details(entry["most_rows"], entry["lifted"])
