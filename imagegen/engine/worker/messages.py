"""What the process of a server and its engine's process say to each other.

A message is a header, msgpack of one of the classes here, and for some of them frames with the bytes of arrays behind
it. Both ends are of one release, and each trusts the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen_client import ModelDescription

FATAL_DEVICE_FAULT = 70
"""Exit status, the last message, of a worker that its device has failed."""

RANK_LOST = 71
"""Exit status of a worker that has lost one of its ranks."""

Shape: TypeAlias = tuple[int, ...]
Frames: TypeAlias = Sequence[Any]
"""Header and arrays, each an object with a buffer."""


class Load(msgspec.Struct, frozen=True, tag=True):
    """To the worker, first: load the checkpoint.

    Attributes:
        settings: an `EngineSettings` as JSON.
        folder: where a relative model path starts, as the file system has it.
        device: of the setting "auto", as torch names it; None for a GPU where there is one.
        loras: where the adapters on offer by name lie, where that is no longer what the settings say; else those are
            read and checked.
    """

    settings: str
    folder: bytes
    device: str | None
    loras: dict[str, str] | None = None


class ImageShapes(msgspec.Struct, frozen=True):
    """Shapes of the input images of a request, as `imagegen.api.input_images.InputImages` has them.

    Attributes:
        images: of those to start from, or None.
        mask: of the mask, or None.
        references: of each reference.
        controls: of the control images, or None.
    """

    images: Shape | None
    mask: Shape | None
    references: tuple[Shape, ...]
    controls: Shape | None


class Generate(msgspec.Struct, frozen=True, tag=True):
    """To the worker: generate a request. Behind it the bytes of its input images.

    Attributes:
        number: of the request, from here on.
        request: what is asked for.
        images: shapes of its input images.
        previews: of each image.
        streams: whether it wants events.
        arrived_s: when it came, on the clock of `time.monotonic`, which all processes of a host share.
    """

    number: int
    request: ImageRequest
    images: ImageShapes
    previews: int
    streams: bool
    arrived_s: float


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """To the worker: nobody waits for a request any more."""

    number: int


class Waiting(msgspec.Struct, frozen=True, tag=True):
    """To the worker: whether requests wait until it has finished one."""

    anybody: bool


class LoadLora(msgspec.Struct, frozen=True, tag=True):
    """To the worker: read an adapter, and offer it.

    Attributes:
        number: of the reply.
        name: by which requests name it.
        where: a file, a folder or a hub id.
    """

    number: int
    name: str
    where: str


class UnloadLora(msgspec.Struct, frozen=True, tag=True):
    """To the worker: offer an adapter no more."""

    name: str


class Sleep(msgspec.Struct, frozen=True, tag=True):
    """To the worker: finish what has begun, give the device's memory back, and keep the weights."""


class Wake(msgspec.Struct, frozen=True, tag=True):
    """To the worker: take the device's memory again."""


class Close(msgspec.Struct, frozen=True, tag=True):
    """To the worker: finish what has begun, refuse the rest, and end."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """From the worker: the checkpoint is loaded and warmed up, or back on its device after a sleep.

    Attributes:
        description: what whoever sends requests may know of it.
    """

    description: ModelDescription


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """From the worker, its last words: the checkpoint could not be loaded, or not be brought back to its device.

    Attributes:
        kind: name of the exception's class.
        problem: its text.
    """

    kind: str
    problem: str

    @classmethod
    def of(cls, error: Exception) -> LoadFailed:
        """The message of an exception."""
        return cls(type(error).__name__, str(error))

    def error(self, where: str = "") -> Exception:
        """The exception to be raised where it is heard, its text behind `where`."""
        kinds: dict[str, type[Exception]] = {"ValueError": ValueError, "OSError": OSError}
        return kinds.get(self.kind, RuntimeError)(where + self.problem)


class Asleep(msgspec.Struct, frozen=True, tag=True):
    """From the worker: it sleeps."""


class Alive(msgspec.Struct, frozen=True, tag=True):
    """From the worker: a round of steps is done, or there is nothing to do."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """From the worker: an event of a request. Behind it the two frames of `imagegen.api.events.encode_event`."""

    number: int


class Left(msgspec.Struct, frozen=True, tag=True):
    """From the worker: a request holds no part of the device any more."""

    number: int


class Images(msgspec.Struct, frozen=True, tag=True):
    """From the worker: what a request gave. Behind it the bytes of its frames.

    Attributes:
        number: of the request.
        shape: of the frames, uint8 [n, H, W, 3].
        seeds: one an image.
        report: an `imagegen.api.reports.GenerationReport` as JSON.
    """

    number: int
    shape: Shape
    seeds: tuple[int, ...]
    report: bytes


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From the worker: why a request gave nothing.

    Attributes:
        number: of the request.
        code: of the table of errors.
        problem: the text behind the code.
        subject: the field or the stage that is named in it; None for none.
    """

    number: int
    code: str
    problem: str
    subject: str | None = None


class LoraReply(msgspec.Struct, frozen=True, tag=True):
    """From the worker: what became of a `LoadLora`.

    Attributes:
        number: of it.
        failed: why it is not on offer; None where it is.
    """

    number: int
    failed: Failed | None


class Counted(msgspec.Struct, frozen=True, tag=True):
    """From the worker: a number for the metrics.

    Attributes:
        family: name of one of `imagegen.engine.metric_families.FAMILIES`.
        labels: of the series.
        value: added to a counter, set on a gauge, observed by a histogram.
    """

    family: str
    labels: dict[str, str]
    value: float


class Closed(msgspec.Struct, frozen=True, tag=True):
    """From the worker, its last word: it has finished."""


ToWorker: TypeAlias = Load | Generate | Cancel | Waiting | LoadLora | UnloadLora | Sleep | Wake | Close
FromWorker: TypeAlias = (
    Ready | LoadFailed | Asleep | Alive | Told | Left | Images | Failed | LoraReply | Counted | Closed
)

_encode = msgspec.msgpack.Encoder().encode
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def frames_of(message: ToWorker | FromWorker, *arrays: Any) -> Frames:
    """A message on the wire, with what comes behind it: bytes, or arrays whose bytes lie in order."""
    return [_encode(message), *arrays]


def message_to_worker(header: Any) -> ToWorker:
    """The message of a header that the worker got."""
    return _to_worker.decode(header)


def message_from_worker(header: Any) -> FromWorker:
    """The message of a header that the server's process got."""
    return _from_worker.decode(header)


def image_shapes(images: InputImages) -> ImageShapes:
    """The shapes of input images, whose bytes follow as `InputImages.present` has them."""
    single = (None if pixels is None else pixels.shape for pixels in (images.images, images.mask, images.controls))
    start, mask, controls = single
    return ImageShapes(start, mask, tuple(reference.shape for reference in images.references), controls)


def input_images(frames: Sequence[Any], shapes: ImageShapes) -> InputImages:
    """The input images of such shapes in frames, without a copy; read-only."""
    left = iter(frames)
    images, mask = (None if shape is None else array(next(left), shape) for shape in (shapes.images, shapes.mask))
    references = tuple(array(next(left), shape) for shape in shapes.references)
    return InputImages(
        images, mask, references, None if shapes.controls is None else array(next(left), shapes.controls)
    )


def array(frame: Any, shape: Shape) -> npt.NDArray[np.uint8]:
    """The array of a frame, without a copy; read-only."""
    return np.frombuffer(frame, np.uint8).reshape(shape)
