"""Previews: from latents to a few pixels by one matrix, without the VAE."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class Projection:
    """A linear map from the channels of the latents to RGB."""

    def pixels(self, latents: Any, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """uint8 RGB [h, w, 3] of latents in the pipeline's own layout."""
        raise NotImplementedError
