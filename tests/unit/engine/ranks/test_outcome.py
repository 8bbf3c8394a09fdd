"""What a forward of one rank gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter_table import adapter_table
from imagegen.engine.ranks.outcome import outcome_of, raise_first
from tests.unit.engine.adapters.toys import Toy, adapter, inputs, merged


def test_an_output_has_its_rows_updates() -> None:
    module, one = Toy(), adapter(1)
    with torch.no_grad():
        output = outcome_of(module, inputs(2), {}, adapter_table([(1, ()), (1, ((one, 1.0),))], 2))
    assert torch.equal(output[0][:1], Toy()(*inputs(2))[0][:1])
    torch.testing.assert_close(output[0][1:], merged(module, {one: 1.0})(*inputs(2))[0][1:])


def test_an_exception_is_an_outcome_and_the_first_is_raised() -> None:
    outcomes: list[Any] = [1, outcome_of(Toy(), (torch.zeros(1),), {}), ValueError("second")]
    assert isinstance(outcomes[1], Exception)
    with pytest.raises(TypeError):
        raise_first(outcomes)
    assert outcomes == []
    raise_first([1, 2])
