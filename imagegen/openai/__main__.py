"""`python -m imagegen.openai`: the frontend in the foreground, until Ctrl-C or TERM.

TERM: new requests and /health/ready get 503, those under way have `--drain-timeout-s` to finish; status 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from imagegen.openai.app import Frontend
from imagegen.openai.log import start_logging
from imagegen.openai.settings import Settings


class _Server(uvicorn.Server):
    """Goes on listening while the frontend is drained: who still comes is told, with a status that means "elsewhere".

    A second signal ends it at once.
    """

    def __init__(self, config: uvicorn.Config, frontend: Frontend, drain_timeout_s: float) -> None:
        super().__init__(config)
        self._frontend = frontend
        self._drain_timeout_s = drain_timeout_s
        self._give_up_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._give_up_s is not None:
            super().handle_exit(sig, frame)
        self._frontend.drain()
        self._give_up_s = time.monotonic() + self._drain_timeout_s

    async def on_tick(self, counter: int) -> bool:
        if self._give_up_s is not None:
            self.should_exit |= self._frontend.open_requests == 0 or time.monotonic() > self._give_up_s
        return await super().on_tick(counter)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    host, port = given.pop("host"), given.pop("port")
    given["quality_steps"] = Settings().quality_steps | dict(given["quality_steps"])
    given["cors_origins"] = tuple(given["cors_origins"])
    start_logging()
    try:
        settings = Settings(**given)
        frontend = Frontend(settings)
    except (OSError, ValueError) as error:
        print(f"openai_frontend: {error}", file=sys.stderr)
        return 1
    config = uvicorn.Config(
        frontend.app,
        host=host,
        port=port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,  # by then they have had their time
        timeout_keep_alive=75,
    )
    # uvicorn passes the signal on when it is done; by then there is nothing left to end.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)
    server = _Server(config, frontend, settings.drain_timeout_s)
    server.run()
    return 0 if server.started else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m imagegen.openai", description="OpenAI's images API on top of a Triton server."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default 127.0.0.1")
    parser.add_argument("--port", type=int, default=9000, help="default 9000")
    defaults = Settings()
    texts = meanings()
    for field in dataclasses.fields(Settings):
        option, default = "--" + field.name.replace("_", "-"), getattr(defaults, field.name)
        meaning = texts[field.name].replace("%", "%%")
        if field.name == "log_prompts":
            parser.add_argument(option, action="store_true", help=meaning)
        elif field.name == "quality_steps":
            parser.add_argument(
                option, metavar="NAME=STEPS", type=_quality, nargs="+", default=[], help=f"{meaning}; default {default}"
            )
        elif field.name == "cors_origins":
            parser.add_argument(option, metavar="ORIGIN", nargs="+", default=[], help=meaning)
        else:
            kind = Path if "Path" in str(field.type) else type(default) if default is not None else str
            parser.add_argument(option, type=kind, default=default, help=f"{meaning} Default: {default}")
    return parser


def meanings() -> dict[str, str]:
    """What the docstring of `Settings` says of each attribute."""
    texts: dict[str, str] = {}
    name = ""
    for line in (Settings.__doc__ or "").partition("Attributes:\n")[2].splitlines():
        first, colon, rest = line.strip().partition(": ")
        if colon and first.isidentifier() and not line.startswith(" " * 12):
            name, texts[first] = first, rest
        elif name:
            texts[name] += " " + line.strip()
    return {name: text.strip() for name, text in texts.items()}


def _quality(text: str) -> tuple[str, int]:
    name, equals, steps = text.partition("=")
    if not (name and equals and steps.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=STEPS")
    return name, int(steps)


if __name__ == "__main__":
    sys.exit(main())
