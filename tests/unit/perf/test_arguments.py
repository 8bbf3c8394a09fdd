"""What the measuring programs read from their command lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perf.arguments import add_model, measuring_parser, with_given


@dataclass(frozen=True)
class Settings:
    rounds: int = 4
    loads: tuple[float, ...] = (0.8,)
    device: str = "cpu"


def test_what_is_given_counts_and_the_rest_stays() -> None:
    parser = measuring_parser("python -m perf.x", "First.\n\nSecond.", "less")
    add_model(parser)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--loads", type=float, nargs="+")
    parser.add_argument("--device")
    arguments = parser.parse_args(["--quick", "--out", "here", "--loads", "1", "2"])
    assert (arguments.quick, arguments.out) == (True, Path("here"))
    assert (arguments.model / "model_index.json").is_file()
    assert with_given(Settings(rounds=1), arguments) == Settings(rounds=1, loads=(1.0, 2.0))
    assert with_given(Settings(), parser.parse_args([])) == Settings()
    assert "Second" not in parser.format_help()
