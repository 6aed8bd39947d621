"""The form that estimates without measuring."""

import json
from pathlib import Path

import pytest

from core.domain.catalog import ModelSpec
from core.domain.ids import utc_now
from core.domain.profile import Provenance
from core.ports import UnitOfWorkFactory
from tests.ui.conftest import OpenPage, texts
from tests.unit.test_estimate_architecture import llama


@pytest.fixture
def with_model(uow: UnitOfWorkFactory, tmp_path: Path) -> UnitOfWorkFactory:
    """A dashboard where one model is registered from a folder and one by its id."""
    folder = tmp_path / "8b"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(llama()), encoding="utf-8")
    with uow() as work:
        for name, path in {"8b": str(folder), "hub": "meta-llama/Llama-3.1-8B"}.items():
            work.models.save(ModelSpec(name, path, 0, 0, 8192, 64, utc_now()))
        work.commit()
    return uow


def test_an_estimate_is_shown_with_its_doubt_and_stored_when_asked(
    with_model: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    at = open_page("models", estimate_form=True)
    at.selectbox(key="estimate_sku").set_value("H100-SXM-80GB").run()
    text = texts(at)
    assert "90 % between" in text
    assert "Not calibrated" in text
    assert "NVIDIA H100 data sheet" in text
    with with_model() as work:
        assert work.profiles.all() == []
    at.button(key="estimate_store").click().run()
    assert not at.exception
    with with_model() as work:
        (stored,) = work.profiles.all()
    assert (stored.model, stored.sku) == ("8b", "H100-SXM-80GB")
    assert stored.provenance is Provenance.PREDICTED
    assert "is stored" in texts(at)
    assert "8b on H100-SXM-80GB" in texts(at)


def test_what_does_not_fit_says_why(with_model: UnitOfWorkFactory, open_page: OpenPage) -> None:
    at = open_page("models", estimate_form=True)
    at.selectbox(key="estimate_sku").set_value("T4").run()
    assert "does not fit" in texts(at)
    assert not [b for b in at.button if b.key == "estimate_store"]
    at.selectbox(key="estimate_tp").set_value(4).run()
    assert "90 % between" in texts(at)


def test_a_model_without_its_configuration_says_what_to_do(
    with_model: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    at = open_page("models", estimate_form=True)
    at.selectbox(key="estimate_model").set_value("hub").run()
    assert "config.json of hub is not on this machine" in texts(at)


def test_nothing_is_computed_until_the_form_is_opened(
    with_model: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    at = open_page("models")
    assert "90 % between" not in texts(at)
    assert not at.exception
