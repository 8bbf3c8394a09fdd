"""A VAE that can be preempted does what the VAE does, is remembered as it is, and finds room where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import greenlet
import pytest
import torch

from imagegen.engine import preemption
from imagegen.engine.cached_encoders import CachedVae
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.module_proxy import unwrapped
from imagegen.engine.preemptible_vae import PreemptibleVae, with_preemption
from tests.unit.tiny_engine import pipelines

IMAGE = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All work is long, and gives way before each layer."""
    monkeypatch.setattr(preemption, "LONG_S", 0.0)
    monkeypatch.setattr(preemption, "SLICE_S", 0.0)
    with torch.no_grad():
        yield


def plain() -> Any:
    return pipelines().tasks["text-to-image"].pipeline.vae


def preemptible() -> PreemptibleVae:
    vae = with_preemption(pipelines()).tasks["text-to-image"].pipeline.vae
    assert issubclass(type(vae), PreemptibleVae)
    return vae  # type: ignore[no-any-return]


class Others:
    """What an executor's greenlet has; counts how often the device was given away.

    Attributes:
        gave_way: times.
        made_room: times.
    """

    def __init__(self) -> None:
        self.gave_way = self.made_room = 0

    def run(self, work: Any) -> Any:
        own: Any = greenlet.greenlet(work)
        own.give_way, own.make_room = self._give_way, self._make_room
        return own.switch()

    def _give_way(self, rest: Any) -> bool:
        self.gave_way += 1
        assert rest.used_s >= 0
        return True

    def _make_room(self) -> bool:
        self.made_room += 1
        return True


def test_it_gives_way_and_has_the_same_bits() -> None:
    others, vae = Others(), preemptible()
    encoded = others.run(lambda: vae.encode(IMAGE)).latent_dist.mean
    encoding = others.gave_way
    decoded = others.run(lambda: vae.decode(encoded, return_dict=False))[0]
    assert encoding > 10
    assert others.gave_way - encoding > 10
    assert torch.equal(encoded, plain().encode(IMAGE).latent_dist.mean)
    assert torch.equal(decoded, plain().decode(encoded).sample)
    assert torch.equal(vae(IMAGE).sample, plain()(IMAGE).sample)


def test_each_has_a_batch_key_of_its_own() -> None:
    keys: list[Any] = []
    vae = preemptible()
    for _ in range(2):
        own: Any = greenlet.greenlet(lambda: vae.encode(IMAGE))
        own.give_way = lambda rest: bool(keys.append(rest.batch_key))  # type: ignore[func-returns-value]
        own.switch()
    assert len(set(keys)) == 2


def test_the_pipelines_stay_as_they_are() -> None:
    made = with_preemption(pipelines())
    for name, task in made.tasks.items():
        given = pipelines().tasks[name].pipeline
        assert not issubclass(type(given.vae), PreemptibleVae)
        assert unwrapped(task.pipeline.vae) is given.vae
        assert task.pipeline.config == given.config


def test_what_can_be_preempted_is_still_remembered() -> None:
    others = Others()
    vae = CachedVae(preemptible(), ContentCache(1 << 20))
    first = others.run(lambda: vae.encode(IMAGE)).latent_dist.mean
    gave_way = others.gave_way
    assert gave_way
    assert torch.equal(others.run(lambda: vae.encode(IMAGE)).latent_dist.mean, first)
    assert others.gave_way == gave_way


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory")])
def test_without_memory_it_is_done_again_once_there_is_room(error: RuntimeError) -> None:
    others, vae = Others(), preemptible()
    errors = [error]

    def fail(*_: object) -> None:
        if errors:
            raise errors.pop()

    hook = plain().encoder.register_forward_pre_hook(fail)
    try:
        encoded = others.run(lambda: vae.encode(IMAGE)).latent_dist.mean
    finally:
        hook.remove()
    assert others.made_room == 1
    assert torch.equal(encoded, plain().encode(IMAGE).latent_dist.mean)


def test_outside_an_executor_there_is_no_room_to_make() -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA")

    hook = plain().encoder.register_forward_pre_hook(fail)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            preemptible().encode(IMAGE)
    finally:
        hook.remove()
