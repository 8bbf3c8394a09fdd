from __future__ import annotations

import torch

from imagegen.engine.adapters.traced import TracedTensor, traced


def sources(tensor: torch.Tensor) -> set[str]:
    assert isinstance(tensor, TracedTensor)
    return set(tensor.sources)


def test_what_is_computed_has_the_sources_of_all_that_went_in() -> None:
    made = traced({"a": torch.ones(4, 2), "b": torch.ones(4, 2), "c": torch.tensor(2.0)})
    a, b, c = made.values()
    assert sources(a) == {"a"}
    assert sources(a * 2) == {"a"}
    assert sources(a * (c / 2)) == {"a", "c"}
    assert sources(torch.cat([a, b])) == {"a", "b"}
    assert [sources(part) for part in torch.split(a, [1, 3])] == [{"a"}, {"a"}]
    assert sources(a.chunk(2)[1].contiguous().T[:, 1:]) == {"a"}
    assert sources(torch.ones(2) + b[0]) == {"b"}


def test_computing_in_place_adds_sources() -> None:
    made = traced({"a": torch.ones(2), "c": torch.tensor(2.0)})
    made["a"] *= made["c"]
    assert sources(made["a"]) == {"a", "c"}


def test_numbers_come_out_as_ever() -> None:
    made = traced({"c": torch.tensor(3.0)})["c"]
    assert made.item() == 3.0
    assert tuple(made.shape) == ()
    assert bool(torch.all(made == 3))


def test_memory_is_shared() -> None:
    tensor = torch.ones(3)
    assert traced({"a": tensor})["a"].data_ptr() == tensor.data_ptr()
    assert not isinstance(tensor, TracedTensor)
