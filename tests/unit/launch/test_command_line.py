"""Options that are malformed are refused in words that name them."""

from __future__ import annotations

import argparse

import pytest

from imagegen.launch.command_line import add_parameters, assignment, port


def test_an_assignment_ends_its_name_at_the_first_equals_sign() -> None:
    assert assignment("diffusion.model=a=b") == ("diffusion.model", "a=b")
    assert assignment("diffusion.model=") == ("diffusion.model", "")
    with pytest.raises(argparse.ArgumentTypeError, match=r"'diffusion\.model' is not NAME=VALUE"):
        assignment("diffusion.model")


@pytest.mark.parametrize("text", ["-1", "65536"])
def test_a_number_that_is_no_port_is_refused(text: str) -> None:
    assert (port("0"), port("65535")) == (0, 65535)
    with pytest.raises(argparse.ArgumentTypeError, match=f"{text} is outside 0..65535"):
        port(text)


def test_parameters_are_collected_in_their_order() -> None:
    parser = argparse.ArgumentParser()
    add_parameters(parser)
    assert parser.parse_args([]).set == []
    assert parser.parse_args(["--set", "a.b=1", "--set=a.b=2"]).set == [("a.b", "1"), ("a.b", "2")]
