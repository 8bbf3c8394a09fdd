"""What `perf.gpu` asks of a GPU before it times anything, asked of the pretend one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from perf.gpu.correctness import at_once_on, cancel, little_memory, mixed_as_alone
from perf.gpu.requests import by_engine
from tests.accelerator import DEVICE
from tests.on_accelerator.families import engine_of, on_cpu, on_device
from tests.unit.tiny_engine import SETTINGS

MEMORY = DEVICE.memory
SIDE_PX = 32
COUNT = 8


def test_mixed_requests_are_as_alone_and_a_cancelled_one_leaves() -> None:
    settings = SETTINGS.model_copy(update={"max_active_requests": COUNT})
    with engine_of(on_device("sd", settings), settings) as engine, engine_of(on_cpu("sd"), settings) as other:
        found = mixed_as_alone(engine, by_engine(other), SIDE_PX, COUNT)
        assert found["mixed_max"] <= 1 >= found["plain_max"]
        assert found["different_images"] == COUNT
        assert found["forwards_together"] < found["forwards_alone"]
        gone = cancel(engine, SIDE_PX)
        assert (gone["next_max"], gone["still_active"]) == (0, 0)


def test_where_memory_is_short_forwards_are_halved_and_nobody_fails() -> None:
    settings = SETTINGS.model_copy(update={"max_active_requests": COUNT, "max_batch_rows": 2 * COUNT})
    with engine_of(on_device("sd", settings), settings) as engine:
        held_bytes = MEMORY.live_bytes
        MEMORY.reset_peak()
        at_once_on(engine, SIDE_PX, COUNT)
        peak_bytes = MEMORY.peak_bytes

        @contextmanager
        def limited() -> Iterator[None]:
            MEMORY.limit_bytes = held_bytes + (peak_bytes - held_bytes) // 2
            yield
            MEMORY.limit_bytes = None

        found = little_memory(engine, limited, SIDE_PX, COUNT)
        assert found["max"] <= 1
        assert found["retries"] > 0
        assert found["row_limit"] < found["rows"]
