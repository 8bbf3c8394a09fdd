"""What happens on the device is put to the line of our code, of diffusers or of transformers."""

from __future__ import annotations

import torch

from tests.accelerator import DEVICE, NAME, Kind, device_on_this_thread, move_pipeline
from tests.unit import tiny_pipelines as tiny


def test_a_pipelines_work_is_that_of_the_libraries_lines() -> None:
    pipeline = move_pipeline(tiny.sd())
    with device_on_this_thread():
        pipeline("a cat", num_inference_steps=1, output_type="pt", generator=torch.Generator().manual_seed(0))
    files = {line.partition(":")[0] for line in DEVICE.counters.by_line(Kind.LAUNCH, None)}
    assert all(file.startswith(("diffusers/", "transformers/")) for file in files)
    assert {"diffusers/models/resnet.py", "diffusers/schedulers/scheduling_ddim.py"} < files


def test_torchs_own_lines_are_passed_over() -> None:
    with device_on_this_thread():
        torch.nn.functional.one_hot(torch.zeros(1, dtype=torch.long).to(NAME), 3)
    (file,) = {line.partition(":")[0] for line in DEVICE.counters.by_line(Kind.LAUNCH)}
    assert file == "tests/on_accelerator/test_source_line.py"
