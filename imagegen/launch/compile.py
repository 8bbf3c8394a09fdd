"""`imagegen compile`: builds the packages of a checkpoint ahead, so that no start of a server waits for a compiler.

The packages are those of this machine's device, torch and number of threads.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

_FORMAT = "%(levelname)s %(name)s: %(message)s"


def main(argv: list[str]) -> int:
    """Build a checkpoint's packages of compiled code ahead.

    It is loaded, what is missing is built, and each package is tried.

    Args:
        argv: the options; `--help` lists them.

    Returns:
        The exit status: 1 where a package could not be built, or does not give what the eager forward gives.
    """
    # Not above: `imagegen --help` imports this file, and would take the seconds that torch and the pipelines do.
    from imagegen.engine import Engine, EngineSettings
    from imagegen.triton.parameters import read_parameters

    given = parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_FORMAT)
    texts = {"compile": "aot", **{name: text for name, text in vars(given).items() if text is not None}}
    try:
        parameters = {name: {"string_value": text} for name, text in texts.items()}
        settings = read_parameters(json.dumps({"parameters": parameters}), EngineSettings)
        with Engine(settings) as engine:
            assert engine.compiled is not None
            engine.warm_up()
            engine.compiled.wait()
            engine.warm_up()  # with the packages, each of which is compared with the eager forward
            states = engine.compiled.states()
    except (OSError, ValueError) as error:
        print(f"compile: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compile: interrupted", file=sys.stderr)
        return 130
    for key, state in states.items():
        print(f"{key}: {state}")
    if not states:
        print("compile: nothing of this checkpoint can be compiled", file=sys.stderr)
    return 0 if states and set(states.values()) == {"ready"} else 1


def parser() -> argparse.ArgumentParser:
    """The command line. Each option is the setting of its name."""
    parser = argparse.ArgumentParser(
        prog="imagegen compile",
        description="Build the packages of compiled code that a server with diffusion.compile=aot loads.",
    )
    parser.add_argument("model", type=_absolute, help="folder of a diffusers checkpoint, or hub id")
    parser.add_argument("--cache", dest="compile_cache", type=_absolute, metavar="FOLDER", help="of packages")
    parser.add_argument("--sizes", dest="warmup_sizes", metavar="WxH,…", help="as diffusion.warmup_sizes")
    parser.add_argument(
        "--lora-modules",
        metavar="NAME=FILE,…",
        help="adapters to build for, as diffusion.lora_modules",
    )
    parser.add_argument("--lora-folder", type=_absolute, metavar="FOLDER", help="of adapters, as diffusion.lora_folder")
    for name in ("device", "dtype", "variant", "revision", "cpu_threads", "attention_backend", "channels_last"):
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="VALUE", help=f"as diffusion.{name}")
    return parser


def _absolute(text: str) -> str:
    """A folder that is there by its full path, whatever the settings take relative paths from; else as it is."""
    return str(Path(text).resolve()) if Path(text).is_dir() or text.startswith((".", "/")) else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
