"""The dashboard on a database of its own, driven in process by Streamlit's AppTest."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.ports import UnitOfWorkFactory
from core.settings import REPOSITORY
from tests.ui.seed import Seeded, seed

OpenPage = Callable[..., AppTest]


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An empty migrated database and a seeded one, to be copied by each test."""
    from db.migrate import upgrade
    from db.unit_of_work import uow_factory

    folder = tmp_path_factory.mktemp("templates")
    made = {name: folder / f"{name}.db" for name in ("empty", "seeded")}
    for path in made.values():
        upgrade(f"sqlite:///{path}")
    seed(uow_factory(f"sqlite:///{made['seeded']}"))
    return made


@pytest.fixture
def uow(templates: dict[str, Path], home: Path) -> UnitOfWorkFactory:
    """The database of an empty dashboard."""
    return _database(templates["empty"], home)


@pytest.fixture
def seeded(templates: dict[str, Path], home: Path) -> tuple[UnitOfWorkFactory, Seeded]:
    """The database of a dashboard in full use, and what is in it."""
    factory = _database(templates["seeded"], home)
    with factory() as work:
        study = work.studies.all()[0]
        trials = work.studies.trials(study.study_id)
        deployment = work.deployments.active()
    assert deployment is not None
    front = tuple(t for t in trials if t.on_front)
    return factory, Seeded(
        study.study_id, study.workload_id, deployment.deployment_id, front, tuple(trials)
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A BOute home that the dashboard under test reads its settings from."""
    monkeypatch.setenv("BOUTE_HOME", str(tmp_path))
    monkeypatch.setenv("BOUTE_DATABASE_URL", f"sqlite:///{tmp_path / 'boute.db'}")
    st.cache_data.clear()
    st.cache_resource.clear()
    yield tmp_path
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def open_page(home: Path) -> OpenPage:
    """Open a page of the dashboard by its key, with session state and query parameters."""

    def opened(page: str, query: dict[str, str] | None = None, **state: object) -> AppTest:
        at = AppTest.from_file(str(REPOSITORY / "ui" / "app.py"), default_timeout=30)
        for name, value in state.items():
            at.session_state[name] = value
        for name, value in (query or {}).items():
            at.query_params[name] = value
        at.run()
        if page != "overview":
            at.switch_page(f"app_pages/{page}.py").run()
        assert not at.exception, at.exception[0].value
        return at

    return opened


def _database(template: Path, home: Path) -> UnitOfWorkFactory:
    from db.unit_of_work import uow_factory

    # Through SQLite: part of a fresh database is still in its write-ahead log.
    with (
        contextlib.closing(sqlite3.connect(template)) as source,
        contextlib.closing(sqlite3.connect(home / "boute.db")) as copy,
    ):
        source.backup(copy)
    return uow_factory(f"sqlite:///{home / 'boute.db'}")


def texts(at: AppTest) -> str:
    """Return everything a reader sees as text on the page, for `in` checks."""
    parts: list[str] = [page_title.value for page_title in at.title]
    for group in (at.markdown, at.caption, at.subheader, at.code, at.text):
        parts += [str(element.value) for element in group]
    for group in (at.error, at.warning, at.info, at.success):
        parts += [f"{getattr(alert, 'title', '')} {alert.value}" for alert in group]
    return "\n".join(parts)
