"""Which control images can be made from a photo here, and making them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from imagegen.api.errors import InvalidArgument
from imagegen.images.control.canny import canny_edges
from imagegen.images.control.depth import DepthEstimator
from imagegen.images.control.pose import PoseEstimator
from imagegen.images.input.settings import InputSettings

Pixels = npt.NDArray[np.uint8]
"""An image, uint8 RGB [H, W, 3]."""

_FIELD = "control_preprocess"
_CANNY_TYPES = ("canny", "edge", "edges")
_DEPTH_TYPES = ("depth",)
_POSE_TYPES = ("pose", "openpose")
_NEEDED = {
    **dict.fromkeys(_DEPTH_TYPES, ("depth_model",)),
    **dict.fromkeys(_POSE_TYPES, ("pose_model", "pose_detector")),
}
"""Parameters of `image_preprocess` without which a type cannot be made."""


class ControlPreprocessors:
    """Makes control images by the names of their types. Safe from any thread.

    Edges are found on the caller's thread, at the same time as others'. The models for depth and poses run one image at
    a time, on a thread of their own.

    Args:
        settings: which models there are; they are loaded at once.

    Raises:
        ValueError: a model cannot be loaded. The message names its parameter and where it was to be.
        NonFinite: the weights of one are broken. The message names its parameter.
    """

    def __init__(self, settings: InputSettings) -> None:
        self._models = ThreadPoolExecutor(1, thread_name_prefix="control")
        self._missing = {
            kind: missing
            for kind, needed in _NEEDED.items()
            if (missing := [name for name in needed if not getattr(settings, name)])
        }
        self._makers: dict[str, Callable[[Pixels], Pixels]] = dict.fromkeys(_CANNY_TYPES, canny_edges)
        try:
            if _DEPTH_TYPES[0] not in self._missing:
                self._makers |= dict.fromkeys(_DEPTH_TYPES, DepthEstimator(settings.depth_model, self._models))
            if _POSE_TYPES[0] not in self._missing:
                pose = PoseEstimator(settings.pose_model, settings.pose_detector, self._models)
                self._makers |= dict.fromkeys(_POSE_TYPES, pose)
        except BaseException:
            self.close()
            raise

    def names(self) -> tuple[str, ...]:
        """The control types that can be made with these settings."""
        return tuple(self._makers)

    def check(self, types: Sequence[str]) -> None:
        """Refuse control types that cannot be made. Costs nothing: call it before any work.

        Raises:
            InvalidArgument: of `control_preprocess`; names the first such type, and what is missing or possible.
        """
        for kind in types:
            if kind in self._missing:
                missing = " and ".join(self._missing[kind])
                raise InvalidArgument(
                    _FIELD, f"control type {kind!r} needs {missing} of image_preprocess, not set on this server"
                )
            if kind not in self._makers:
                possible = ", ".join(self._makers)
                raise InvalidArgument(_FIELD, f"control type {kind!r} cannot be made from an image; {possible} can")

    def make(self, kind: str, pixels: Pixels) -> Pixels:
        """The control image of a type, of the same size.

        Args:
            kind: the type, one of `names`.
            pixels: uint8 RGB [H, W, 3].

        Returns:
            uint8 RGB [H, W, 3].

        Raises:
            InvalidArgument: as of `check`.
            NonFinite: a model computed what is no number.
        """
        self.check([kind])
        return self._makers[kind](pixels)

    def close(self) -> None:
        """Finish what was begun, and end the models' thread."""
        self._models.shutdown(wait=True)
