"""Records on disk: bounded, whole or not at all, never taken from a gateway that runs."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.traffic import RequestRecord
from core.serving.gateway.spool import BATCH, Spool
from tests.contract import samples

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def all_of(spool: Spool) -> list[RequestRecord]:
    return [record for batch in spool.batches() for record in batch]


@given(prompts=st.lists(st.none() | TEXTS, max_size=20))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, prompts: list[str | None]
) -> None:
    records = [samples.owned_request(str(n), prompt=prompt) for n, prompt in enumerate(prompts)]
    spool = Spool(tmp_path_factory.mktemp("spool"))
    for record in records:
        assert spool.append([record]) == 1
    assert all_of(spool) == records
    spool.clear()
    assert all_of(spool) == []
    assert spool.append([samples.request()]) == 1
    assert all_of(spool) == [samples.request()]
    spool.close()


def test_batches_are_bounded(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([samples.request(str(n)) for n in range(BATCH + 1)])
    assert [len(batch) for batch in spool.batches()] == [BATCH, 1]
    spool.close()


def test_the_file_is_bounded_and_private(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "spool", capacity_bytes=1000)
    assert spool.append([samples.request(str(n)) for n in range(9)]) == spool.records < 9
    [path] = (tmp_path / "deep" / "spool").iterdir()
    assert path.stat().st_size <= 1000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    spool.close()


def test_a_line_that_was_cut_costs_only_itself(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([samples.request("a"), samples.request("b")])
    spool.close()
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-10])
    following = Spool(tmp_path)
    following.adopt()
    assert all_of(following) == [samples.request("a")]
    following.close()


def test_only_files_of_ended_gateways_are_taken(tmp_path: Path) -> None:
    running, ended, new = Spool(tmp_path), Spool(tmp_path), Spool(tmp_path)
    running.append([samples.request("running")])
    ended.append([replace(samples.request("ended"), prompt="x")])
    ended.close()
    new.adopt()
    assert [record.request_id for record in all_of(new)] == ["ended"]
    assert [record.request_id for record in all_of(running)] == ["running"]
    new.clear()
    for spool in (new, running):
        spool.close()
    assert len(list(tmp_path.iterdir())) == 1


def test_no_folder_is_made_for_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.adopt()
    spool.close()
    assert not (tmp_path / "spool").exists()
