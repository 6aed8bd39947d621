"""Make the golden file of the newest schema: `python -m tests.migrations.make_golden`.

Run once when a release adds a migration, and commit the file: it stands for the databases that
operators have at that release, and is never made again.
"""

import sqlite3
from pathlib import Path

from db.migrate import current, upgrade
from db.unit_of_work import disconnect, uow_factory
from tests.contract import samples

FOLDER = Path(__file__).parent / "golden"


def make(folder: Path) -> Path:
    """Write one record of every kind into a fresh file named after its revision."""
    draft = folder / "draft.db"
    url = f"sqlite:///{draft}"
    upgrade(url)
    fill(url)
    made = folder / f"{current(url)}.db"
    disconnect(url)
    _into_one_small_file(draft)
    return draft.replace(made)


def fill(url: str) -> None:
    """Store one record of every kind."""
    with uow_factory(url)() as work:
        work.devices.upsert([samples.device()])
        work.prices.add(samples.price())
        work.models.save(samples.model())
        work.profiles.save(samples.profile())
        work.profiles.save_observations("p1", "closed:4", samples.observations())
        work.workloads.save(samples.workload())
        work.workloads.save_trace("w1", samples.trace())
        work.query_sets.save(samples.query_set())
        work.outcomes.add([samples.sure_outcome()])
        work.outcomes.replace_cascades(["easy"], [samples.cascade()])
        work.checks.add_judgements([samples.judgement()])
        work.checks.add_live([samples.live_check()])
        work.outcomes.save_estimate(samples.estimate())
        work.classifiers.add(b"\x00\x01", {"accuracy": 0.97}, samples.NOW)
        work.studies.save(samples.study())
        work.studies.save_trials([samples.measured_trial()])
        work.deployments.add(samples.deployment())
        work.replicas.add(samples.replica())
        work.jobs.add(samples.job())
        work.requests.add([samples.escalated_request()])
        work.tenants.save(samples.tenant())
        work.api_keys.add(samples.api_key())
        work.commit()


def _into_one_small_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA page_size = 512")
    connection.execute("VACUUM")
    connection.close()


if __name__ == "__main__":
    make(FOLDER)
