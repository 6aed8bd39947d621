"""Judged answers and checks of live traffic."""

from datetime import timedelta

from core.ports import UnitOfWorkFactory
from tests.contract import samples


def test_judgements_are_kept_per_job(any_uow: UnitOfWorkFactory) -> None:
    kept = [samples.judgement("1+1?"), samples.judgement("Größe 数 🚀")]
    with any_uow() as work:
        work.checks.add_judgements([*kept, samples.judgement("other", "j2")])
        work.checks.add_judgements([])
        work.commit()
    with any_uow() as work:
        assert work.checks.judgements("j1") == kept
        assert work.checks.judgements("j9") == []


def test_live_checks_are_read_from_a_moment_on(any_uow: UnitOfWorkFactory) -> None:
    old, new = samples.live_check(0), samples.live_check(90)
    with any_uow() as work:
        work.checks.add_live([old, new])
        work.commit()
    with any_uow() as work:
        assert work.checks.live(old.at) == [old, new]
        assert work.checks.live(old.at + timedelta(seconds=1)) == [new]
        assert work.checks.prune_live(new.at) == 1
        assert work.checks.prune_live(new.at) == 0
        work.commit()
    with any_uow() as work:
        assert work.checks.live(old.at) == [new]
