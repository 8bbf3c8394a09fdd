"""The `imagegen` command finds its verbs by entry points, whoever brings them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from imagegen_client import cli

Captured = pytest.CaptureFixture[str]


def serve(argv: list[str]) -> int:
    """Serve images.

    This line is not for the summary.
    """
    print("serving", *argv)
    return 7


def interrupted(argv: list[str]) -> int:
    raise KeyboardInterrupt


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make entry points appear as if their distributions were installed."""

    def install(**values: str) -> None:
        points = [EntryPoint(name, value, cli.COMMAND_GROUP) for name, value in values.items()]
        monkeypatch.setattr(cli, "entry_points", lambda group: points if group == cli.COMMAND_GROUP else [])

    return install


def test_a_verb_of_another_distribution_gets_the_words_after_it(install: Callable[..., None], capsys: Captured) -> None:
    install(serve=f"{__name__}:serve")
    assert cli.main(["serve", "--port", "9000", "--help"]) == 7
    assert capsys.readouterr().out == "serving --port 9000 --help\n"


def test_help_lists_every_verb_with_the_first_line_of_its_docstring(
    install: Callable[..., None], capsys: Captured
) -> None:
    install(serve=f"{__name__}:serve", plot="imagegen_client.no_such_module:main")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    printed = capsys.readouterr().out
    assert exit_.value.code == 0
    assert "  serve       Serve images.\n" in printed
    assert "  generate    Generate images and write them to files.\n" in printed
    assert "  plot        (cannot be run: No module named 'imagegen_client.no_such_module')\n" in printed
    assert "not for the summary" not in printed


def test_help_leaves_room_for_the_longest_verb(install: Callable[..., None], capsys: Captured) -> None:
    install(**{"serve": f"{__name__}:serve", "serve-for-a-while": f"{__name__}:serve"})
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "  serve              Serve images.\n  serve-for-a-while  Serve images.\n" in capsys.readouterr().out


def test_a_verb_whose_package_is_missing_leaves_the_others_usable(
    install: Callable[..., None], capsys: Captured
) -> None:
    install(plot="imagegen_client.no_such_module:main", serve=f"{__name__}:serve")
    assert cli.main(["plot"]) == 1
    assert cli.main(["serve"]) == 7
    printed = capsys.readouterr()
    assert printed.out == "serving\n"
    assert printed.err == "imagegen: plot cannot be run: No module named 'imagegen_client.no_such_module'\n"


def test_ctrl_c_is_one_line_and_status_130(install: Callable[..., None], capsys: Captured) -> None:
    install(wait=f"{__name__}:interrupted")
    assert cli.main(["wait"]) == 130
    assert capsys.readouterr().err == "imagegen: interrupted\n"


@pytest.mark.parametrize(("argv", "problem"), [([], "command"), (["gnerate"], "'gnerate'")])
def test_wrong_usage_is_one_line_and_status_2(argv: list[str], problem: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(argv)
    printed = capsys.readouterr()
    assert exit_.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert problem in printed.err
