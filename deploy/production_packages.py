"""Prints the packages that the container needs, without those of development; the lock pins their versions.

Run before they are installed, so of the standard library alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tomllib

_EXTRAS = ("s3", "openai")  # results as URLs on S3; the frontend


def production_packages(pyproject: Path) -> list[str]:
    """Requirements of the project and of the extras that the container has.

    Args:
        pyproject: the `pyproject.toml`.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    packages: list[str] = [*project["dependencies"]]
    for extra in _EXTRAS:
        packages += project["optional-dependencies"][extra]
    return [package for package in packages if not package.startswith("torch==")]  # has a layer of its own


if __name__ == "__main__":
    print("\n".join(production_packages(Path(sys.argv[1]))))
