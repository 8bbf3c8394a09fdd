"""What is known of a class of diffusers' pipelines, as far as its signature does not say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any


class Form(Enum):
    """How a pipeline takes its reference images, and the one that it starts from."""

    TENSOR_AT_SIZE = auto()
    """One float32 [1, 3, H, W] in 0..1, of the size of the image that is made."""
    PIL = auto()
    """One PIL image, of its own size."""
    PIL_OF_AREA = auto()
    """One PIL image of its own proportions, and about as many pixels as the image that is made has."""
    PIL_LIST = auto()
    """A list of PIL images, each of its own size."""


@dataclass(frozen=True)
class References:
    """The reference images of a class, its argument `image`.

    Attributes:
        most: how many a call takes.
        form: how.
        least_px: least side of one, in pixels.
        size_of: whose proportions an image of size "auto" gets: 0 the first one's, -1 the last one's.
        keeps_size: whether it gets its size too; else the model's native area.
    """

    most: int
    form: Form
    least_px: int = 1
    size_of: int = 0
    keeps_size: bool = False


@dataclass(frozen=True)
class Control:
    """The control images of a class.

    Attributes:
        network: class of the networks that read them.
        component: the pipeline's, which holds that network.
        image: argument for the control image.
        scale: argument that says how strongly it counts.
        end: argument that says until which part of the steps it counts; None for to the end.
        end_for_all: whether several end together: the argument is one value.
        several: class that holds several such networks in their place; None for one alone.
        mode: argument for the number of the type, of a network that knows several.
        modes: types by that number, of a network that knows several.
    """

    network: str
    component: str = "controlnet"
    image: str = "control_image"
    scale: str = "controlnet_conditioning_scale"
    end: str | None = "control_guidance_end"
    end_for_all: bool = False
    several: str | None = None
    mode: str | None = None
    modes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PipelineClass:
    """One class of diffusers' pipelines.

    Attributes:
        name: of the class.
        weights: name of a kind of checkpoint: classes of equal kind are made of each other's components.
        tasks: that it does.
        references: for the task of editing; None where it does not.
        control: its control images; None for a class that takes none.
        size: makes the arguments without which it does not keep to width and height, of these, in pixels.
        image: how it takes the image that it starts from.
        upscaling: how many times larger than its input image an image is, by the pipeline; None for not at all.
        samples_unseeded: whether its call samples latents of a control image from the process's own random numbers, so
            that the seed does not settle the image.
        least_steps: least num_inference_steps of which its call makes an image.
        own_scheduler_only: whether its call computes with the noise levels of the scheduler that it was trained with.
    """

    name: str
    weights: str
    tasks: tuple[str, ...]
    references: References | None = None
    control: Control | None = None
    size: Callable[[int, int], dict[str, Any]] | None = None
    image: Form = Form.TENSOR_AT_SIZE
    upscaling: Callable[[Any], int] | None = None
    samples_unseeded: bool = False
    least_steps: int = 1
    own_scheduler_only: bool = False
