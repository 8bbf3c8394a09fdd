"""Who has the key is let in, and nobody else; without one nobody is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.triton.admin_key import ADMIN_KEY_VARIABLE, AdminKey


def given(key: Any) -> dict[str, Any]:
    return {"admin_key": np.array([key], dtype=np.object_)}


def test_the_key_lets_in() -> None:
    AdminKey({ADMIN_KEY_VARIABLE: "sécret"}).check(given("sécret".encode()))


@pytest.mark.parametrize("arrays", [{}, given(b""), given(b"secre"), given(b"secret "), given(b"SECRET")])
def test_another_one_does_not(arrays: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="admin_key: not the administrator's key"):
        AdminKey({ADMIN_KEY_VARIABLE: "secret"}).check(arrays)


@pytest.mark.parametrize("arrays", [given(b"\xff"), given(b"x" * 2000), {"admin_key": np.array([], np.object_)}])
def test_what_is_no_key_is_refused(arrays: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="admin_key"):
        AdminKey({ADMIN_KEY_VARIABLE: "secret"}).check(arrays)


@pytest.mark.parametrize("environment", [{}, {ADMIN_KEY_VARIABLE: ""}])
def test_without_one_nobody_is_let_in_and_told_why(environment: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="start it with the variable IMAGEGEN_ADMIN_KEY"):
        AdminKey(environment).check(given(b""))


def test_it_is_not_kept() -> None:
    assert "secret" not in repr(vars(AdminKey({ADMIN_KEY_VARIABLE: "secret"})))
