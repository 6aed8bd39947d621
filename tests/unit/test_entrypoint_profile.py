"""`boute profile`: what it asks for when it is not told, and what it prints."""

import pytest

from core.entrypoints.profile import _only, _print_table
from core.errors import NotFound
from tests.contract import samples


def test_the_only_one_is_taken() -> None:
    assert _only("query set", ["arithmetic"], "--queries") == "arithmetic"


def test_several_ask_for_a_choice() -> None:
    with pytest.raises(NotFound) as told:
        _only("device type", ["H100", "L4"], "--sku")
    assert "H100, L4" in told.value.message
    assert "--sku" in told.value.hint


def test_none_says_where_one_comes_from() -> None:
    with pytest.raises(NotFound, match="no query set"):
        _only("query set", [], "--queries")


def test_the_table_shows_levels_step_and_fit(capsys: pytest.CaptureFixture[str]) -> None:
    _print_table(samples.profile(), 143.2)
    shown = capsys.readouterr().out
    assert "2 levels in 143 s" in shown
    assert "16 held" in shown
    assert "4.00 ms + 0.300 per sequence" in shown
    assert "R2 0.98, median error E2E 3.1%" in shown
