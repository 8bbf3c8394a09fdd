"""A process whose device is lost ends itself, and no other error does that."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from imagegen.engine.worker.device_faults import end_after_fatal_fault, is_fatal
from imagegen.engine.worker.messages import FATAL_DEVICE_FAULT


def caused_by(cause: BaseException) -> BaseException:
    try:
        try:
            raise cause
        except Exception as error:
            raise ValueError("a pipeline's own words") from error
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("error", "fatal"),
    [
        (torch.AcceleratorError("an illegal memory access was encountered"), True),
        (caused_by(torch.AcceleratorError("misaligned address")), True),
        (caused_by(RuntimeError("could not create a primitive")), True),
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (torch.OutOfMemoryError("out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (caused_by(KeyError("x")), False),
        (None, False),
    ],
)
def test_what_no_later_call_survives(error: BaseException | None, fatal: bool) -> None:
    assert is_fatal(error) is fatal


def test_what_is_survived_ends_nothing() -> None:
    assert end_after_fatal_fault(ValueError("no")) is None  # type: ignore[func-returns-value]


def test_the_process_ends_with_a_status_of_its_own() -> None:
    code = (
        "import torch; from imagegen.engine.worker.device_faults import end_after_fatal_fault as end;"
        "end(torch.AcceleratorError('illegal access'))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == FATAL_DEVICE_FAULT
    assert "the device is lost to this process: illegal access" in ended.stderr
