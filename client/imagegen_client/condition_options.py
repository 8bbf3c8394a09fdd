"""The options of images that condition the generated ones: references, and controls with type, scale and end.

--reference a.png b.png
--control canny=edges.png:0.8 depth=depth.png --control-end 0.6
"""

from __future__ import annotations

import argparse
import re
from typing import Any

from imagegen_client.option_values import image, name_and_scale

_TYPED = re.compile(r"(?s)([A-Za-z0-9_-]+)=(.+)", re.ASCII)  # no URL begins so, and no path with a folder


def add_condition_options(parser: argparse.ArgumentParser) -> None:
    """Add the group of these options; each sets arguments of `GenerateArguments`, None where it is left out."""
    add = parser.add_argument_group("conditions").add_argument
    add(
        "--reference",
        dest="reference_image",
        type=image,
        action="extend",
        nargs="+",
        metavar="IN",
        help="images that an edit model works from; as --image; one or several, repeatable",
    )
    add(
        "--control",
        action=_AddControls,
        nargs="+",
        metavar="[TYPE=]IN[:SCALE]",
        help="images that the result follows, as canny=edges.png:0.8; one or several, repeatable",
    )
    parser.set_defaults(control_image=None, control_type=None, control_scale=None)
    add(
        "--control-end",
        type=float,
        action="extend",
        nargs="+",
        metavar="FRACTION",
        help="until which part of the steps each --control counts, up to 1",
    )
    add(
        "--control-preprocess",
        action="store_const",
        const=True,
        help="the server makes the control images of plain ones",
    )
    add(
        "--return-control",
        action="store_const",
        const=True,
        help="also write the control images as they were used",
    )


class _AddControls(argparse.Action):
    """Appends to the three arguments that the values of `--control` are for."""

    def __call__(self, _: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None) -> None:
        for text in values:
            match = _TYPED.fullmatch(text)
            kind, rest = (match[1], match[2]) if match else (None, text)
            name, scale = name_and_scale(rest)
            types = [*(namespace.control_type or ()), *([] if kind is None else [kind])]
            namespace.control_image = [*(namespace.control_image or ()), image(name)]
            if len(types) not in (0, len(namespace.control_image)):
                raise argparse.ArgumentError(self, "give a type to each, as canny=edges.png, or to none")
            namespace.control_type = types or None
            namespace.control_scale = [*(namespace.control_scale or ()), scale]
