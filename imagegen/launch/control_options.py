"""The option that offers control networks: `--controlnets`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from imagegen.launch.lora_options import named_place


def add_control_options(parser: argparse.ArgumentParser) -> None:
    """Add it; it gives `controlnets`, a list of pairs of type and place."""
    parser.add_argument(
        "--controlnets",
        metavar="TYPE=PATH_OR_HUB_ID",
        type=named_place,
        nargs="+",
        action="extend",
        default=[],
        help="networks for control images, by the type that requests name, as canny; union for one of several types;"
        " repeatable",
    )


def control_parameters(networks: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The parameter that offers these networks, pairs of type and place; none for none.

    Raises:
        ValueError: a type is given twice.
    """
    names = [name for name, _ in networks]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise ValueError(f"--controlnets: {name!r} is given twice")
    return {"diffusion.controlnets": ",".join(f"{name}={place}" for name, place in networks)} if networks else {}
