"""Six requests at once for each kind of checkpoint in the table of pipelines, and how many forwards they may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.condition_requests import STEPS, Asked
from tests.unit.engine.family_cases import NEGATIVE
from tests.unit.tiny_pipelines import control_networks as nets

NEGATED: dict[str, Any] = {"negative_prompt": NEGATIVE}
NO_STRENGTH: dict[str, Any] = {"strength": None}


@dataclass(frozen=True)
class Case:
    """A checkpoint and six requests to it.

    Attributes:
        make: the checkpoint's own pipeline.
        asked: what each request asks for.
        forwards: the most that they may take together.
        calls: denoiser calls that they make.
        classes: all classes of pipelines that make them.
        networks: for control images, by the type that they read.
        more: arguments of all requests.
        steps: of each request.
    """

    make: Callable[[], Any]
    asked: Sequence[Asked]
    forwards: int
    calls: int
    classes: tuple[str, ...]
    networks: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[int] = STEPS

    def requests(self) -> list[dict[str, Any]]:
        """Their options for `Engine.generate`."""
        return [
            asked.options(number, steps, self.more)
            for number, (asked, steps) in enumerate(zip(self.asked, self.steps, strict=True))
        ]


def tasks_of(prefix: str, *, control: str = "") -> tuple[str, ...]:
    """The classes of a family for text, image and mask."""
    return tuple(f"{prefix}{control}{task}Pipeline" for task in ("", "Img2Img", "Inpaint"))


TEXT, IMAGE, MASK = Asked(), Asked("image"), Asked("mask")
LOW, MIDDLE, FULL = (("canny", scale, 1.0) for scale in (0.2, 0.6, 1.0))
SHORT = ("depth", 0.8, 0.5)
OTHER_TYPE = ("depth", 0.8, 1.0)


def controlled(*controls: tuple[str, float, float], given: str = "text") -> Asked:
    return Asked(given, controls=controls)


def editing(*references: tuple[int, int]) -> Asked:
    return Asked(references=references)


THREE_TASKS = (TEXT, IMAGE, MASK, TEXT, IMAGE, MASK)
FROM_TEXT = (TEXT, controlled(LOW), controlled(MIDDLE, SHORT), controlled(FULL), controlled(SHORT), controlled(LOW))
FROM_TEXT_ALONE = (TEXT, controlled(LOW), controlled(MIDDLE), controlled(FULL), controlled(MIDDLE), TEXT)
FROM_ALL = (
    controlled(LOW),
    controlled(MIDDLE, given="image"),
    controlled(FULL, SHORT, given="mask"),
    controlled(FULL, SHORT, given="image"),
    controlled(LOW, given="mask"),
    MASK,
)
ONE, OTHER, WIDE = (64, 64), (64, 64), (64, 128)
ONE_REFERENCE = (editing(ONE),) * 6
MANY_REFERENCES = (
    TEXT,
    editing(ONE),
    editing(ONE, OTHER, WIDE),
    editing(ONE, OTHER, WIDE),
    editing(ONE),
    TEXT,
)
SMALL = Asked("image", side_px=32)

CASES: dict[str, Case] = {
    "sd": Case(tiny.sd, THREE_TASKS, 5, 18, tasks_of("StableDiffusion")),
    "sd-control": Case(
        tiny.sd,
        FROM_ALL,
        15,
        39,
        (*tasks_of("StableDiffusion", control="ControlNet"), "StableDiffusionInpaintPipeline"),
        {"canny": nets.sd_net, "depth": nets.sd_net},
    ),
    "sd-adapter": Case(
        tiny.sd_for_adapters,
        (TEXT, controlled(LOW), controlled(MIDDLE, OTHER_TYPE), controlled(FULL), controlled(OTHER_TYPE), TEXT),
        9,
        18,
        ("StableDiffusionPipeline", "StableDiffusionAdapterPipeline"),
        {"canny": nets.sd_adapter, "depth": nets.sd_adapter},
    ),
    "latent-consistency": Case(
        tiny.latent_consistency,
        (TEXT, IMAGE, TEXT, IMAGE, TEXT, IMAGE),
        5,
        18,
        ("LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"),
    ),
    "sd-pag": Case(tiny.sd_pag, THREE_TASKS, 18, 18, tasks_of("StableDiffusionPAG")),
    "sd-upscale": Case(tiny.sd_upscale, (SMALL,) * 6, 5, 18, ("StableDiffusionUpscalePipeline",), more=NO_STRENGTH),
    "sd-latent-upscale": Case(
        tiny.sd_latent_upscale, (SMALL,) * 6, 5, 18, ("StableDiffusionLatentUpscalePipeline",), more=NO_STRENGTH
    ),
    "sd-instruct": Case(tiny.sd_instruct, ONE_REFERENCE, 7, 18, ("StableDiffusionInstructPix2PixPipeline",)),
    "sdxl": Case(tiny.sdxl, THREE_TASKS, 5, 18, tasks_of("StableDiffusionXL")),
    "sdxl-pag": Case(tiny.sdxl_pag, THREE_TASKS, 18, 18, tasks_of("StableDiffusionXLPAG")),
    "sdxl-control": Case(
        tiny.sdxl,
        FROM_ALL,
        15,
        39,
        (*tasks_of("StableDiffusionXL", control="ControlNet"), "StableDiffusionXLInpaintPipeline"),
        {"canny": nets.sdxl_net, "depth": nets.sdxl_net},
    ),
    "sdxl-union": Case(
        tiny.sdxl,
        FROM_ALL,
        15,
        34,
        (*tasks_of("StableDiffusionXL", control="ControlNetUnion"), "StableDiffusionXLInpaintPipeline"),
        {"union": nets.sdxl_union},
    ),
    "sdxl-adapter": Case(
        tiny.sdxl,
        (TEXT, controlled(LOW), controlled(MIDDLE, FULL), controlled(FULL), controlled(SHORT), controlled(LOW)),
        9,
        18,
        ("StableDiffusionXLPipeline", "StableDiffusionXLAdapterPipeline"),
        {"canny": nets.sdxl_adapter, "depth": nets.sdxl_adapter},
    ),
    "sdxl-instruct": Case(tiny.sdxl_instruct, ONE_REFERENCE, 7, 18, ("StableDiffusionXLInstructPix2PixPipeline",)),
    "sd3": Case(tiny.sd3, THREE_TASKS, 5, 18, tasks_of("StableDiffusion3")),
    "sd3-control": Case(
        tiny.sd3,
        FROM_TEXT,
        16,
        34,
        ("StableDiffusion3Pipeline", "StableDiffusion3ControlNetPipeline"),
        {"canny": nets.sd3_net, "depth": nets.sd3_net},
    ),
    "flux": Case(tiny.flux, THREE_TASKS, 5, 18, tasks_of("Flux")),
    "chroma": Case(tiny.chroma, (TEXT, IMAGE) * 3, 10, 36, ("ChromaPipeline", "ChromaImg2ImgPipeline"), more=NEGATED),
    "flux-fill": Case(tiny.flux_fill, (MASK,) * 6, 5, 18, ("FluxFillPipeline",)),
    "flux-control": Case(
        tiny.flux,
        FROM_ALL,
        18,
        39,
        (*tasks_of("Flux", control="ControlNet"), "FluxInpaintPipeline"),
        {"canny": nets.flux_net, "depth": nets.flux_net},
    ),
    "flux-union": Case(
        tiny.flux,
        FROM_TEXT,
        16,
        34,
        ("FluxPipeline", "FluxControlNetPipeline"),
        {"union": nets.flux_union},
    ),
    "flux-kontext": Case(
        tiny.flux_kontext,
        (TEXT, editing(ONE), editing(WIDE), editing(WIDE), editing(ONE), TEXT),
        12,
        18,
        ("FluxKontextPipeline",),
    ),
    "flux2": Case(tiny.flux2, MANY_REFERENCES, 12, 18, ("Flux2Pipeline",)),
    "flux2-klein": Case(tiny.flux2_klein, MANY_REFERENCES, 24, 36, ("Flux2KleinPipeline",)),
    "pixart-sigma": Case(tiny.pixart_sigma, (TEXT,) * 6, 5, 18, ("PixArtSigmaPipeline",)),
    "pixart-alpha": Case(tiny.pixart_alpha, (TEXT,) * 6, 5, 18, ("PixArtAlphaPipeline",)),
    "sana": Case(tiny.sana, (TEXT,) * 6, 5, 18, ("SanaPipeline",)),
    "lumina2": Case(tiny.lumina2, (TEXT,) * 6, 10, 36, ("Lumina2Pipeline",)),
    "qwen-image": Case(tiny.qwen_image, THREE_TASKS, 10, 36, tasks_of("QwenImage"), more=NEGATED),
    "qwen-image-control": Case(
        tiny.qwen_image,
        FROM_TEXT_ALONE,
        22,
        47,
        ("QwenImagePipeline", "QwenImageControlNetPipeline"),
        {"canny": nets.qwen_net},
        more=NEGATED,
    ),
    "qwen-image-edit": Case(
        tiny.qwen_edit,
        (editing(ONE), MASK, editing(WIDE), MASK, editing(ONE), editing(WIDE)),
        16,
        36,
        ("QwenImageEditPipeline", "QwenImageEditInpaintPipeline"),
        more=NEGATED,
    ),
    "qwen-image-edit-plus": Case(
        tiny.qwen_edit_plus,
        (editing(ONE), editing(ONE, OTHER, WIDE), editing(ONE), editing(ONE, OTHER, WIDE), editing(ONE), editing(WIDE)),
        22,
        36,
        ("QwenImageEditPlusPipeline",),
        more=NEGATED,
    ),
    "z-image": Case(tiny.z_image, THREE_TASKS, 5, 18, tasks_of("ZImage")),
    "z-image-control": Case(
        tiny.z_image,
        FROM_TEXT_ALONE,
        13,
        29,
        ("ZImagePipeline", "ZImageControlNetPipeline"),
        {"canny": nets.z_image_net},
    ),
    "z-image-omni": Case(tiny.z_image_omni, MANY_REFERENCES, 18, 18, ("ZImageOmniPipeline",)),
}
