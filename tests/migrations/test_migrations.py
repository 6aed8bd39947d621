"""Migrations: from nothing, back and forth, from what operators have; never beside the models."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.util import CommandError
from sqlalchemy import inspect, text

from core.domain.profile import Profile
from core.domain.quality import Outcome
from core.domain.study import Trial
from core.domain.traffic import RequestRecord
from core.domain.workload import ClassTraffic, Workload
from core.errors import EnvironmentFailed
from core.settings import REPOSITORY
from db import migrate
from db.engine import make_engine
from db.models import METADATA
from db.unit_of_work import disconnect, uow_factory
from tests.contract import samples

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.db"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables; the folder of the SQLite file is not there yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'a 100% boute.db'}"
    url: str = request.getfixturevalue("empty_postgres_url")
    return url


def tables(url: str) -> set[str]:
    engine = make_engine(url)
    names = set(inspect(engine).get_table_names())
    engine.dispose()
    return names


def execute(url: str, *statements: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def test_there_and_back_and_there_again(empty_url: str) -> None:
    assert migrate.current(empty_url) is None
    migrate.upgrade(empty_url)
    newest = migrate.current(empty_url)
    assert newest is not None
    assert tables(empty_url) == {*METADATA.tables, "alembic_version"}
    migrate.downgrade(empty_url, "base")
    assert tables(empty_url) == {"alembic_version"}
    migrate.upgrade(empty_url)
    migrate.upgrade(empty_url)
    migrate.check(empty_url)
    assert migrate.current(empty_url) == newest


def test_check_finds_what_differs(empty_url: str) -> None:
    migrate.upgrade(empty_url)
    execute(empty_url, "ALTER TABLE jobs ADD COLUMN colour VARCHAR")
    with pytest.raises(CommandError, match="colour"):
        migrate.check(empty_url)


def test_tables_of_the_durable_workflows_are_not_ours(empty_postgres_url: str) -> None:
    migrate.upgrade(empty_postgres_url)
    execute(
        empty_postgres_url,
        "CREATE SCHEMA dbos",
        "CREATE TABLE dbos.workflow_status (id VARCHAR PRIMARY KEY)",
    )
    migrate.check(empty_postgres_url)
    migrate.downgrade(empty_postgres_url, "base")
    execute(empty_postgres_url, "SELECT id FROM dbos.workflow_status")


def test_two_processes_may_migrate_at_once(empty_url: str) -> None:
    code = "import sys; from db.migrate import upgrade; upgrade(sys.argv[1])"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_url],
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    complaints = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], complaints
    migrate.check(empty_url)


def test_the_alembic_command_works_from_the_repository(empty_url: str) -> None:
    environment = {**os.environ, "BOUTE_DATABASE_URL": empty_url}
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"]):
        subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=REPOSITORY,
            env=environment,
            check=True,
            capture_output=True,
        )
    assert tables(empty_url) == {"alembic_version"}


def test_a_database_of_a_newer_version_is_left_alone(sqlite_url: str) -> None:
    execute(sqlite_url, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(EnvironmentFailed) as told:
        migrate.upgrade(sqlite_url)
    assert "9999" in told.value.message
    assert "newer" in told.value.hint


def test_a_server_that_is_away_says_so() -> None:
    with pytest.raises(EnvironmentFailed, match="does not answer"):
        migrate.upgrade("postgresql://nobody@127.0.0.1:1/x")


def test_every_revision_has_a_golden_file() -> None:
    versions = (REPOSITORY / "alembic" / "versions").glob("*.py")
    assert {path.stem for path in GOLDEN} == {path.stem.split("_")[0] for path in versions}


def profile_as_of(revision: str) -> Profile:
    """Revision 0002 brought step times; what is older has none."""
    unknown: dict[str, Any] = {"step": None, "fit": None, "engine_limits": None}
    older = replace(samples.profile(), **unknown, relative_error=None)
    return samples.profile() if revision > "0001" else older


def workload_as_of(revision: str) -> Workload:
    """Revision 0002 brought spreads, burstiness and traces."""
    whole = samples.workload()
    if revision > "0001":
        return whole
    classes = tuple(
        ClassTraffic(t.query_class, t.rate_rps, t.input_tokens_mean, t.output_tokens_mean)
        for t in whole.classes
    )
    facts = (whole.workload_id, whole.name, classes, whole.provenance, whole.created_at)
    return Workload(*facts)


def trial_as_of(revision: str) -> Trial:
    """Revision 0003 brought telemetry."""
    return samples.measured_trial() if revision > "0002" else samples.trial()


def outcome_as_of(revision: str) -> Outcome:
    """Revision 0005 brought confidences."""
    return samples.sure_outcome() if revision > "0004" else samples.outcome()


def request_as_of(revision: str) -> RequestRecord:
    """Revision 0004 brought tenants and costs, 0005 first calls of cascades."""
    if revision > "0004":
        return samples.escalated_request()
    return samples.owned_request() if revision > "0003" else samples.request()


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_what_operators_have_survives_the_upgrade(golden: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(golden, tmp_path / 'boute.db')}"
    assert migrate.current(url) == golden.stem
    migrate.upgrade(url)
    migrate.check(url)
    with uow_factory(url)() as work:
        assert work.devices.all() == [samples.device()]
        assert work.prices.all() == [samples.price()]
        assert work.models.all() == [samples.model()]
        assert work.profiles.latest() == [profile_as_of(golden.stem)]
        assert work.workloads.all() == [workload_as_of(golden.stem)]
        seen = {"closed:4": samples.observations()} if golden.stem > "0001" else {}
        assert work.profiles.observations("p1") == seen
        assert work.workloads.trace("w1") == (samples.trace() if golden.stem > "0001" else None)
        assert work.query_sets.get("arithmetic") == samples.query_set()
        assert work.outcomes.all() == [outcome_as_of(golden.stem)]
        assert work.outcomes.cascades() == ([samples.cascade()] if golden.stem > "0004" else [])
        assert work.outcomes.estimates() == [samples.estimate()]
        assert work.classifiers.latest() == (1, b"\x00\x01", {"accuracy": 0.97})
        assert work.studies.all() == [samples.study()]
        assert work.studies.trials("s1") == [trial_as_of(golden.stem)]
        assert work.deployments.current() == samples.deployment()
        assert work.replicas.unfinished() == [samples.replica()]
        assert work.jobs.active() == [samples.job()]
        assert work.requests.latest() == [request_as_of(golden.stem)]
        assert [t.requests for t in work.requests.totals_by_day()] == [1]
        used = {u.model: (u.requests, u.output_tokens) for u in work.usage.since("2026-03-01")}
        assert used == {"small": (1, 24)} | ({"tiny": (0, 20)} if golden.stem > "0004" else {})
        assert work.tenants.all() == ([samples.tenant()] if golden.stem > "0003" else [])
        assert work.api_keys.all() == ([samples.api_key()] if golden.stem > "0003" else [])
    disconnect(url)
