"""Measurements of other tools are imported on Models & profiling, or refused with a hint."""

from core.domain.profile import Provenance
from core.ports import UnitOfWorkFactory
from core.services import profiles
from core.settings import REPOSITORY
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded

FIXTURES = REPOSITORY / "tests" / "fixtures" / "imports"
Full = tuple[UnitOfWorkFactory, Seeded]
Upload = tuple[str, bytes, str]


def upload(name: str, content: bytes | None = None) -> Upload:
    return name, (FIXTURES / name).read_bytes() if content is None else content, "text/plain"


def test_a_table_is_imported_and_explained(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("models")
    at.get_by_key("import_files_0").set_value([upload("profile.csv")])
    at.button(key="import_start").click().run()
    assert not at.exception
    known = [p for p in profiles.profiles(uow) if p.provenance is Provenance.IMPORTED]
    assert {(p.model, p.tp) for p in known} == {("toy-8b", 1), ("toy-70b", 4)}
    assert "Imported from profile CSV: 5 load levels in 2 profiles." in texts(at)
    assert "log-normal" in texts(at)
    assert at.get_by_key("import_files_1").value == []
    assert "No model 'toy-8b' is registered" in texts(at).replace("\\", "")


def test_the_names_given_stand_before_those_of_the_file(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("models")
    files = [upload("vllm_bench_4.json"), upload("vllm_bench_16.json")]
    at.get_by_key("import_files_0").set_value(files)
    at.selectbox(key="import_model_0").set_value("small")
    at.button(key="import_start").click().run()
    assert not at.exception
    [made] = [p for p in profiles.profiles(uow) if p.provenance is Provenance.IMPORTED]
    assert (made.model, made.sku, made.tp) == ("small", "ACME-80GB", 2)
    assert [level.concurrency for level in made.levels] == [4, 16]


def test_a_broken_table_names_its_row_and_stores_nothing(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    before = profiles.profiles(uow)
    at = open_page("models")
    broken = (FIXTURES / "profile.csv").read_bytes().replace(b",95,160,", b",9500,160,")
    at.get_by_key("import_files_0").set_value([upload("profile.csv", broken)])
    at.button(key="import_start").click().run()
    assert "profile.csv, row 3" in texts(at).replace("\\", "")
    assert "seconds and milliseconds" in texts(at)
    assert profiles.profiles(uow) == before


def test_no_file_is_refused(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("models")
    at.button(key="import_start").click().run()
    assert "No file was chosen." in texts(at)
