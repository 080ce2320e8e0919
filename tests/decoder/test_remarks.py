"""Remarks reach the user once."""

import pytest

from decoder import remarks
from decoder.remarks import remark, take_remarks


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "_said", set())
    monkeypatch.setattr(remarks, "_waiting", [])


def test_a_remark_is_taken_once() -> None:
    remark("no graphs")
    remark("no kernel")
    assert take_remarks() == ("no graphs", "no kernel")
    assert take_remarks() == ()


def test_a_remark_that_was_said_is_not_said_again() -> None:
    remark("no graphs")
    take_remarks()
    remark("no graphs")
    assert take_remarks() == ()
