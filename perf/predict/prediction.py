"""How long a tick takes, from its kernels: a roofline for the device, and a price for each launch on the host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from perf.gpu.flops import peak_tflops
from perf.predict.kernels import Kernel
from perf.predict.tick import Tick


@dataclass(frozen=True)
class Device:
    """A GPU by its data sheet.

    Attributes:
        name: of the product.
        flops: floating-point operations a second in bf16, dense.
        bytes: that its memory moves a second.
    """

    name: str
    flops: float
    bytes: float


def _device(name: str, terabytes_per_s: float) -> Device:
    tflops = peak_tflops(name)
    assert tflops is not None
    return Device(name, 1e12 * tflops, 1e12 * terabytes_per_s)


DEVICES = (_device("H100", 3.35), _device("H200", 4.8))
"""SXM, from NVIDIA's data sheets."""


@dataclass(frozen=True)
class Assumptions:
    """What is not counted but assumed.

    Attributes:
        flops_share: of the device's arithmetic that matrix products and convolutions reach, above 0 and up to 1.
        bandwidth_share: of the memory's bandwidth that all else reaches, above 0 and up to 1.
        kernel_us: the shortest time of a kernel on the device, in microseconds.
        launch_us: of the host to launch a kernel, Python and torch's dispatcher included, in microseconds.
        graph_us: of the host to launch a forward that was captured as a CUDA graph, in microseconds.
        request_us: of the engine's and the pipeline's Python, by request and tick, in microseconds.
    """

    flops_share: float = 0.6
    bandwidth_share: float = 0.8
    kernel_us: float = 1.5
    launch_us: float = 5.0
    graph_us: float = 20.0
    request_us: float = 150.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            allowed, text = (0 < value <= 1, "above 0, up to 1") if "share" in field.name else (value >= 0, "0 or more")
            if not allowed:
                raise ValueError(f"{field.name}: {value} is not allowed; it is {text}")


@dataclass(frozen=True)
class Prediction:
    """A tick of one kind of execution on a device.

    Attributes:
        device_s: seconds that the device computes.
        host_s: seconds that the host launches; it does so while the device computes.
        images_per_s: of all requests together, steps and the VAE, without text encoders.
    """

    device_s: float
    host_s: float
    images_per_s: float

    @property
    def tick_s(self) -> float:
        """From one tick to the next: the slower of the two sets the pace."""
        return max(self.device_s, self.host_s)

    @property
    def idle_share(self) -> float:
        """Of the tick, that the device waits."""
        return 1 - self.device_s / self.tick_s


def predict(tick: Tick, steps: int, device: Device, assumed: Assumptions, graphs: bool) -> Prediction:
    """Predict a tick, and with it the images that are made in a second.

    Args:
        tick: its kernels.
        steps: of an image.
        device: the GPU.
        assumed: what is not counted.
        graphs: whether the merged forward is one CUDA graph; what is beside it, and the VAE, are not.
    """
    device_s = tick.total(lambda kernel: kernel_s(kernel, device, assumed))
    launched = tick.launches - len(tick.forward) if graphs else tick.launches
    host_us = launched * assumed.launch_us + tick.requests * assumed.request_us + graphs * assumed.graph_us
    decode_s = max(_device_s(tick.decode, device, assumed), len(tick.decode) * assumed.launch_us / 1e6)
    tick_s = max(device_s, host_us / 1e6)
    image_s = steps * tick.calls_per_step * tick_s / tick.requests + decode_s
    return Prediction(device_s, host_us / 1e6, 1 / image_s)


def kernel_s(kernel: Kernel, device: Device, assumed: Assumptions) -> float:
    """Seconds of a kernel: by its arithmetic or by its bytes, whichever takes longer."""
    return max(
        kernel.flops / (device.flops * assumed.flops_share),
        kernel.bytes / (device.bytes * assumed.bandwidth_share),
        assumed.kernel_us / 1e6,
    )


def _device_s(kernels: Iterable[Kernel], device: Device, assumed: Assumptions) -> float:
    return sum(kernel_s(kernel, device, assumed) for kernel in kernels)
