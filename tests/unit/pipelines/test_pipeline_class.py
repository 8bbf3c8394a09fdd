"""A row that says nothing else takes tensors, any number of steps, and no conditions."""

from __future__ import annotations

import dataclasses

import pytest

from imagegen.pipelines.pipeline_class import Control, Form, PipelineClass, References


def test_what_a_row_leaves_open() -> None:
    row = PipelineClass("APipeline", "weights", ("text-to-image",))
    assert (row.references, row.control, row.size, row.upscaling) == (None, None, None, None)
    assert (row.image, row.least_steps) == (Form.TENSOR_AT_SIZE, 1)
    assert not row.samples_unseeded
    assert not row.own_scheduler_only


def test_what_references_and_controls_leave_open() -> None:
    assert References(2, Form.PIL) == References(2, Form.PIL, least_px=1, size_of=0, keeps_size=False)
    control = Control("ControlNetModel")
    assert (control.component, control.image, control.end) == ("controlnet", "control_image", "control_guidance_end")
    assert (control.several, control.mode, control.modes) == (None, None, ())


def test_a_row_stays_as_it_is() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PipelineClass("APipeline", "weights", ()).name = "Other"  # type: ignore[misc]
