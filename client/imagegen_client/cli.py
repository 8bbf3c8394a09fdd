"""The `imagegen` command: finds the function behind the first word and calls it with the words after it.

Any distribution may add a verb, by an entry point of the group `imagegen.commands`:

    [project.entry-points."imagegen.commands"]
    serve = "imagegen.launch.serve:main"

The value is a function `main(argv: list[str]) -> int`. `argv` is what follows the verb, the result the process's exit
status: 0 done, 2 wrong usage. It may raise SystemExit, as argparse does; KeyboardInterrupt becomes status 130. The
first line of its docstring stands beside the verb in `imagegen --help`, which imports its module.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

COMMAND_GROUP = "imagegen.commands"
"""The entry point group of the verbs."""

_BUILT_IN = (EntryPoint("generate", "imagegen_client.generate_command:main", COMMAND_GROUP),)


class OneLineParser(argparse.ArgumentParser):
    """A parser that reports wrong usage in one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2 after one line on standard error."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the process's own arguments when None) and return the exit status.

    Raises:
        SystemExit: the usage was wrong (status 2), or help was asked for (status 0).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    commands = {command.name: command for command in (*entry_points(group=COMMAND_GROUP), *_BUILT_IN)}
    parser = OneLineParser(
        prog="imagegen",
        description="Generate images, or run the server that does. `imagegen COMMAND --help` lists the options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=sorted(commands), metavar="command", help="one of those below")
    if words[:1] in (["-h"], ["--help"]):
        width = max(10, *map(len, commands)) + 2
        lines = (f"  {name:<{width}}{_summary(command)}" for name, command in sorted(commands.items()))
        parser.epilog = "\n".join(["commands:", *lines])
    command = commands[parser.parse_args(words[:1]).command]
    try:
        run = command.load()
    except ImportError as error:  # its distribution is installed without the extra that this command needs
        print(f"imagegen: {command.name} cannot be run: {error}", file=sys.stderr)
        return 1
    try:
        status: int = run(words[1:])
    except KeyboardInterrupt:
        print("imagegen: interrupted", file=sys.stderr)
        if argv is None:  # the process ends: what a library was just making must not complain that it was cut short
            sys.unraisablehook = lambda _: None
        return 130
    return status


def _summary(command: EntryPoint) -> str:
    """The first line of the docstring of a command's function, or why it cannot be run."""
    try:
        return (inspect.getdoc(command.load()) or "").partition("\n")[0]
    except ImportError as error:
        return f"(cannot be run: {error})"
