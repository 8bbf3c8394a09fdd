"""A pretend accelerator: a device of torch whose tensors lie in host memory, and which is as strict as a GPU.

    with device_on_this_thread():           this thread can use torch.device("pretend")
    engine_on_device(described(pipeline))   an engine on it
    DEVICE.counters, .memory, .clock        launches, synchronisations and copies by source line; bytes; idle time

It refuses operations that mix devices, counts what makes a GPU wait, and runs out of memory where a test wants it. What
is copied to the host without waiting holds nothing of use until an event behind it has passed.
"""

from tests.accelerator.clock import Clock
from tests.accelerator.counters import Counters, Kind
from tests.accelerator.device import DEVICE, NAME, TORCH_DEVICE, Event
from tests.accelerator.modes import device_on_this_thread
from tests.accelerator.placement import described, engine_on_device, move_pipeline
from tests.accelerator.tensor import PretendTensor, placed

__all__ = [
    "DEVICE",
    "NAME",
    "TORCH_DEVICE",
    "Clock",
    "Counters",
    "Event",
    "Kind",
    "PretendTensor",
    "described",
    "device_on_this_thread",
    "engine_on_device",
    "move_pipeline",
    "placed",
]
