"""The prompt and parameters of an image, as text in its file.

One text under the key `parameters` for PNG and in the EXIF user comment for JPEG and WebP, laid out as the popular
web interfaces do it, so that people's tools read it:

    a red circle <lora:outline:0.8>
    Negative prompt: blurry
    Steps: 20, Sampler: euler, CFG scale: 7.5, Seed: 7, Size: 512x512, Model: sdxl
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from imagegen.api.reports import GenerationReport, LoraReport

_KEY = "parameters"
_EXIF_FOLDER, _USER_COMMENT = 0x8769, 0x9286  # EXIF 2.3, tables 3 and 7
_UNICODE = b"UNICODE\0"  # EXIF 2.3, table 9
_MOST_EXIF_CHARACTERS = 32_000  # in UTF-16; a JPEG segment ends at 64 KiB

_TAG_SIGNS = re.compile(r"[<>:\r\n]")  # those by which a reader of a tag knows its parts

_FIELDS = {
    "Steps": "num_inference_steps",
    "Sampler": "scheduler",
    "CFG scale": "guidance_scale",
    "Seed": "seed",
    "Size": "size",
    "Denoising strength": "strength",
    "Step cache": "step_cache",
    "Model": "model",
}


@dataclass(frozen=True)
class FileText:
    """The text for one image.

    Attributes:
        prompts: the prompt and the negative prompt; where a format has too little room, the end is cut off
            and replaced by `…`.
        settings: the last line, with the other parameters.
    """

    prompts: str
    settings: str

    def png_info(self) -> PngInfo:
        """The text as Pillow's PNG writer takes it."""
        info = PngInfo()
        info.add_text(_KEY, f"{self.prompts}\n{self.settings}")
        return info

    def png_chunks(self) -> list[tuple[bytes, bytes]]:
        """The text as PNG chunks, type and content; Latin-1 where that is enough, else UTF-8."""
        return [(chunk[0], chunk[1]) for chunk in self.png_info().chunks]

    def exif(self) -> bytes:
        """The text as an EXIF block."""
        prompts = self.prompts.encode("utf-16-be")
        room = 2 * (_MOST_EXIF_CHARACTERS - len(self.settings) - 2)
        if len(prompts) > room:
            prompts = (prompts[:room].decode("utf-16-be", "ignore") + "…").encode("utf-16-be")
        exif = Image.Exif()
        exif.get_ifd(_EXIF_FOLDER)[_USER_COMMENT] = _UNICODE + prompts + f"\n{self.settings}".encode("utf-16-be")
        return exif.tobytes()


def file_text(prompt: str, negative_prompt: str, seed: int, report: GenerationReport) -> FileText:
    """The text for the image of one seed.

    Args:
        prompt, negative_prompt: as the client sent them; "" for none.
        seed: of this image.
        report: what the diffusion model did with the request.
    """
    prompts = " ".join([prompt, *(_tag(lora) for lora in report.loras)])
    if negative_prompt:
        prompts += f"\nNegative prompt: {negative_prompt}"
    values = dict(report) | {"seed": seed, "step_cache": None if report.step_cache == "off" else report.step_cache}
    known = (f"{label}: {values[name]}" for label, name in _FIELDS.items() if values.get(name) is not None)
    return FileText(prompts.replace("\0", ""), ", ".join(known))  # a PNG text cannot hold NUL


def _tag(lora: LoraReport) -> str:
    return f"<lora:{_TAG_SIGNS.sub('_', lora.name)}:{lora.scale:g}>"
