"""Every page of an empty dashboard says why it is empty and what to do next."""

import pytest

from core.ports import UnitOfWorkFactory
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import seed_fleet


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("overview", "Waiting for the controller"),
        ("inventory", "the controller has not reported any"),
        ("models", "No profile yet"),
        ("workload", "No answer was scored yet"),
        ("optimise", "No study yet"),
        ("whatif", "No study"),
        ("deploy", "Nothing is served"),
        ("accuracy", "No prediction has met reality yet"),
        ("costs", "nothing was spent"),
    ],
)
def test_an_empty_page_says_why(
    page: str, says: str, uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    assert says in texts(open_page(page))


def test_the_overview_offers_one_button_once_there_are_devices(
    uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    seed_fleet(uow)
    at = open_page("overview")
    assert [button.key for button in at.button] == ["start_built_in"]


@pytest.mark.parametrize("page", ["models", "workload"])
def test_forms_say_what_is_missing(page: str, uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    assert "Nothing to" in texts(open_page(page))


def test_a_link_to_a_study_that_is_gone_is_harmless(
    uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    at = open_page("optimise", query={"study": "gone", "plan": "7"})
    assert "No study yet" in texts(at)
