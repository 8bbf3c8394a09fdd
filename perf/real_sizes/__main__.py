"""`python -m perf.real_sizes`: servers with checkpoints of real size, in random weights, and one report.

Takes about 50 minutes, 20 GB of disk and 20 GiB of memory with everything. Ends by itself; the exit status is 1 when a
part fails or a target is not met.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagegen.launch import random_checkpoint
from perf.environment import environment, results_folder
from perf.parts import check_names, outcome_of
from perf.real_sizes import questions
from perf.real_sizes.questions import Answer
from perf.real_sizes.serving import ServeProcess
from perf.report import Section, write_report

_ANY_LENGTH = ("--set=diffusion.max_expected_s=0",)  # takes requests whatever they are expected to take
_NO_FRONTEND = ("--openai-port=0",)


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: of four requests at once, beside a frontend and without one.
        idle_s: seconds in which nobody asks for anything.
        long_size, long_steps: the request in which a server has to stay ready.
    """

    rounds: int = 3
    idle_s: float = 600.0
    long_size: str = "512x512"
    long_steps: int = 30


def frontend(checkpoint: Path, folder: Path, settings: Settings) -> list[Answer]:
    """Two servers, one of which has a frontend; the first start of a checkpoint reads it from the disk."""
    with (
        ServeProcess(checkpoint, _made(folder / "beside")) as beside,
        ServeProcess(checkpoint, _made(folder / "without"), _NO_FRONTEND) as without,
    ):
        return questions.frontend(beside, without, settings.rounds)


def idle(checkpoint: Path, folder: Path, settings: Settings) -> list[Answer]:
    """A server that nobody asks for anything."""
    with ServeProcess(checkpoint, folder) as serve:
        return [*questions.start(serve), *questions.idle(serve, settings.idle_s)]


def crash(checkpoint: Path, folder: Path, settings: Settings) -> list[Answer]:
    """A server whose model process is killed."""
    with ServeProcess(checkpoint, folder) as serve:
        return questions.crash(serve)


def in_time(checkpoint: Path, folder: Path, settings: Settings) -> list[Answer]:
    """Requests that end before they are finished."""
    with ServeProcess(checkpoint, folder, _ANY_LENGTH) as serve:
        return questions.in_time(serve)


def long_request(checkpoint: Path, folder: Path, settings: Settings) -> list[Answer]:
    """A server that works on one request for minutes."""
    with ServeProcess(checkpoint, folder, _ANY_LENGTH) as serve:
        return [*questions.start(serve), *questions.long_request(serve, settings.long_size, settings.long_steps)]


@dataclass(frozen=True)
class Part:
    """One measurement.

    Attributes:
        shape, dtype: of the checkpoint, as `imagegen random-checkpoint` has them.
        measure: from the checkpoint, an empty folder and the settings.
    """

    shape: str
    dtype: str
    measure: Callable[[Path, Path, Settings], list[Answer]]


PARTS = {
    "crash": Part("sd15", "float16", crash),
    "in-time": Part("sd15", "float16", in_time),
    "frontend": Part("sd15", "float16", frontend),
    "idle": Part("sd15", "float16", idle),
    "long-request": Part("sdxl", "bfloat16", long_request),
}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments(argv)
    about = environment("python -m perf.real_sizes")
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    settings = Settings(arguments.rounds, arguments.idle_s, long_steps=arguments.long_steps)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="imagegen-real-sizes-") as scratch:
        try:
            for name in arguments.parts or list(PARTS):
                print(f"{name} …", file=sys.stderr, flush=True)
                folders = arguments.checkpoints or Path(scratch), Path(scratch)
                outcomes.append(outcome_of(name, _section, name, settings, *folders))
        except KeyboardInterrupt:
            return 130
    folder = (arguments.out or results_folder(about)).resolve()
    text, _ = write_report(folder, "real-sizes", about, outcomes)
    print(text)
    targets = [target for outcome in outcomes if outcome.section for target in outcome.section.targets]
    return 1 if any(outcome.failed for outcome in outcomes) or not all(target.met for target in targets) else 0


def _section(name: str, settings: Settings, checkpoints: Path, scratch: Path) -> Section:
    part = PARTS[name]
    checkpoint = checkpoints / f"{part.shape}-{part.dtype}"
    if not checkpoint.is_dir() and random_checkpoint.main([part.shape, str(checkpoint), f"--dtype={part.dtype}"]):
        raise RuntimeError(f"{checkpoint} could not be written")
    answers = part.measure(checkpoint, _made(scratch / name), settings)
    return Section(
        title=f"{name}, with the shape of {part.shape} in {part.dtype}",
        settings=settings,
        paragraphs=[part.measure.__doc__ or ""],
        raw={"answers": [{"asked": target.meaning, **numbers} for target, numbers in answers]},
        targets=[target for target, _ in answers],
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m perf.real_sizes", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--checkpoints", type=Path, help="folder where checkpoints stay; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=Settings.rounds, help="default %(default)s")
    parser.add_argument("--idle-s", type=float, default=Settings.idle_s, help="default %(default)s")
    parser.add_argument("--long-steps", type=int, default=Settings.long_steps, help="default %(default)s")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    arguments = parser.parse_args(argv)
    check_names(parser, "parts", arguments.parts, PARTS)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
