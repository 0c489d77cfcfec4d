"""`trainyard doctor`: real closed ports, wrong passwords, full names of variables; TensorFlow by a stand-in."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from api import self_check
from models.database import Database
from models.schema import REVISION
from models.settings import Settings
from tests.servers import free_port
from tests.trainyard.conftest import StandIn
from trainyard import doctor
from trainyard.doctor import Finding

ROOT = Path(__file__).parents[2]
PASSWORD = "geheim-und-lang"
TENSORFLOW = """
class config:
    list_physical_devices = staticmethod(lambda: [type("Device", (), {"device_type": "CPU"})])
__version__ = "9.9.9"
"""


def run(folder: Path, *arguments: str, tensorflow: str = TENSORFLOW, **environment: str) -> Any:
    """The command's exit code and its JSON, as a process whose TensorFlow is a stand-in; and all of its output."""
    (folder / "stand-in").mkdir(exist_ok=True)
    (folder / "stand-in" / "tensorflow.py").write_text(tensorflow)
    done = subprocess.run(
        [sys.executable, "-m", "trainyard", *arguments, "doctor", "--json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "stand-in"), "TRAINYARD_HOME": str(folder / "home")}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stdout


def by_check(findings: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in findings}


def only(findings: Iterator[Finding] | Iterator[self_check.Finding]) -> Any:
    [found] = findings
    return found


def test_a_fresh_installation_is_sound_and_nothing_is_made(tmp_path: Path) -> None:
    code, told, _ = run(tmp_path, TRAINYARD_PORT=str(free_port()))
    assert (code, told["ok"]) == (0, True), told
    found = by_check(told["findings"])
    assert {"Python", "settings", "home", "broker", "packages", "database", "artifacts", "keys"} <= found.keys()
    assert found["TensorFlow"]["found"] == "9.9.9, computes on CPU"
    assert "not running" in found["service"]["found"]
    assert not (tmp_path / "home").exists()


def test_many_things_are_wrong_at_once_and_no_password_is_shown(tmp_path: Path) -> None:
    port, home = free_port(), tmp_path / "home"
    home.write_text("a file, not a folder")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, told, output = run(
            tmp_path,
            tensorflow="raise ImportError('libtensorflow is not for this processor')",
            TRAINYARD_DATABASE_URL=f"postgresql+psycopg://yard:{PASSWORD}@127.0.0.1:{port}/yard",
            TRAINYARD_BROKER_URL=f"redis://:{PASSWORD}@127.0.0.1:{port}/0",
            TRAINYARD_ARTIFACTS_URL="nonsense://bucket",
            TRAINYARD_API_KEYS=f"key-{PASSWORD}",
            TRAINYARD_HOST="127.0.0.1",
            TRAINYARD_PORT=str(taken.getsockname()[1]),
            TRAINYARD_WORKER="2",
            TRAINYARD_OFFLINE="true",
        )
    assert (code, told["ok"]) == (1, False)
    assert PASSWORD not in output
    found = by_check(told["findings"])
    assert {name for name, each in found.items() if each["status"] == "wrong"} == {
        "home",
        "database",
        "broker",
        "artifacts",
        "service",
        "TensorFlow",
    }
    assert "refused" in found["database"]["found"]
    assert "libtensorflow" in found["TensorFlow"]["found"]
    assert "Did you mean TRAINYARD_WORKERS?" in found["variables"]["advice"]
    assert "TRAINYARD_OFFLINE" in found["data set mnist"]["found"]
    assert all(each["advice"] for each in told["findings"] if each["status"] != "ok")


def test_a_setting_that_is_not_allowed_is_told_by_its_name(tmp_path: Path) -> None:
    code, told, _ = run(tmp_path, TRAINYARD_PORT="eighty")
    assert code == 1
    assert by_check(told["findings"])["settings"]["found"].startswith("TRAINYARD_PORT: ")


def test_the_package_without_which_the_api_cannot_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "celery.py").write_text("raise ModuleNotFoundError(\"No module named 'celery'\")")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [found] = doctor.self_check()
    assert (found.check, found.status) == ("packages", "wrong")
    assert "No module named 'celery'" in found.found


def test_only_a_machine_with_workers_needs_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorflow.py").write_text("import no_such_package")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert doctor.tensorflow(workers=0).status == "warning"
    monkeypatch.setattr(doctor, "TENSORFLOW_SECONDS", 0.01)
    assert "not imported within" in doctor.tensorflow(workers=1).found


def test_variables_that_nothing_reads() -> None:
    known = {"TRAINYARD_URL": "x", "TRAINYARD_PORT": "1", "trainyard_home": "x", "OTHER": "x"}
    assert list(doctor.variables(known)) == []
    found = only(doctor.variables(known | {"TRAINYARD_QQQQQQQQQQQQ": "x"}))
    assert (found.status, "Did you mean" in found.advice) == ("warning", False)


def test_home_on_a_disk_without_room(settings: Settings) -> None:
    full = settings.model_copy(update={"min_free_mb": 1e12})
    assert only(doctor.home(full)).status == "wrong"
    assert only(doctor.home(settings)).status in ("ok", "warning")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_home_that_may_not_be_written(settings: Settings, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert "Permission denied" in only(doctor.home(settings.model_copy(update={"home": closed}))).found


# The database.


def test_tables_of_this_version_and_of_others(database: Database) -> None:
    def told() -> list[self_check.Finding]:
        return list(self_check.database(Settings(database_url=database.url)))

    assert [each.status for each in told()] == ["ok"] * len(told())
    assert REVISION in told()[0].found
    for statement, wanted in (
        ("UPDATE alembic_version SET version_num = '0003'", "Run `python -m migrations`"),
        ("UPDATE alembic_version SET version_num = '0099'", "Install the version"),
        ("DROP TABLE alembic_version", "Run `python -m migrations`"),
    ):
        with database.write() as session:
            session.execute(text(statement))
        [found] = told()
        assert found.status == "wrong"
        assert found.advice.startswith(wanted)


def test_a_damaged_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "yard.db").write_bytes(b"not a database at all" * 1000)
    found = only(self_check.database(Settings(database_url=f"sqlite:///{tmp_path / 'yard.db'}")))
    assert (found.status, "not a database" in found.found) == ("wrong", True)


def test_a_url_that_means_nothing(tmp_path: Path) -> None:
    for url in ("nonsense", "nonsense://host/x"):
        assert only(self_check.database(Settings(database_url=url))).status == "wrong"


def test_a_database_that_does_not_exist(postgres_url: str) -> None:
    url = make_url(postgres_url).set(database="no_such_yard").render_as_string(hide_password=False)
    found = only(self_check.database(Settings(database_url=url)))
    assert "does not exist" in found.found
    assert "createdb" in found.advice


# Broker, store, data sets.


def test_the_broker_that_is_set_answers(broker_url: str) -> None:
    assert only(self_check.broker(Settings(broker_url=broker_url))).status == "ok"
    assert only(self_check.broker(Settings(broker_url="nonsense://host"))).status == "wrong"


def test_a_store_whose_folder_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "store" / "jobs").mkdir(parents=True)
    assert only(self_check.artifacts(Settings(artifacts_url=f"file://{tmp_path / 'store'}"))).status == "ok"
    assert list((tmp_path / "store").rglob("probe*")) == []
    (tmp_path / "store" / "jobs").rmdir()
    (tmp_path / "store" / "jobs").write_text("a file where a folder belongs")
    assert only(self_check.artifacts(Settings(artifacts_url=f"file://{tmp_path / 'store'}"))).status == "wrong"


def test_a_data_set_of_which_one_file_is_another(tmp_path: Path) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{part}-ubyte").write_bytes(b"something else")
    found = {each.check: each for each in self_check.datasets(Settings(datasets_dir=tmp_path, offline=True))}
    assert found["data set mnist"].status == "wrong"
    assert "not the original" in found["data set mnist"].found


def test_who_reaches_the_service(settings: Settings) -> None:
    def told(**changes: Any) -> str:
        status: str = only(self_check.exposure(Settings(database_url=settings.database_url, **changes))).status
        return status

    assert told() == "ok"
    assert told(host="0.0.0.0") == "wrong"
    assert told(host="0.0.0.0", insecure=True) == "warning"
    assert told(host="0.0.0.0", api_keys="a-long-enough-key") == "ok"


# A service that runs.


@pytest.fixture
def service(stand_in: StandIn) -> StandIn:
    """One that is ready, with a worker, all of this version."""
    own = version("trainyard")
    stand_in.routes |= {
        "/livez": (200, {"status": "alive"}),
        "/readyz": (200, {"ready": True, "database": "ok", "broker": "ok", "workers": "ok"}),
        "/v2": (200, {"name": "trainyard", "version": own}),
        "/v1/workers": (200, {"data": [{"name": "w1", "libraries": {"trainyard": own}}], "next": None}),
    }
    return stand_in


def asked(service: StandIn, key: str | None = None) -> dict[str, Finding]:
    found, is_trainyard = doctor.service(Settings(), service.url, key)
    assert is_trainyard
    return {each.check: each for each in found}


def test_a_service_that_is_well(service: StandIn) -> None:
    assert {each.status for each in asked(service, "my-key").values()} == {"ok"}
    assert service.requests[-1]["headers"]["Authorization"] == "Bearer my-key"


def test_a_service_that_is_not_ready_of_two_versions_and_closed(service: StandIn) -> None:
    service.routes["/readyz"] = (503, {"ready": False, "database": "ok", "broker": "does not answer", "workers": "ok"})
    service.routes["/v1/workers"] = (200, {"data": [{"name": "w1", "libraries": {"trainyard": "0.0.1"}}]})
    found = asked(service)
    assert (found["service"].status, "broker: does not answer" in found["service"].found) == ("wrong", True)
    assert (found["versions"].status, "worker w1 has 0.0.1" in found["versions"].found) == ("warning", True)
    service.routes["/v1/workers"] = (401, {"detail": "A key is needed."})
    assert "TRAINYARD_API_KEY" in asked(service)["workers"].advice


def test_something_else_answers(stand_in: StandIn) -> None:
    found, is_trainyard = doctor.service(Settings(), stand_in.url, None)
    assert (found[0].status, is_trainyard) == ("wrong", False)
    assert "no Trainyard" in found[0].found


def test_a_clock_that_is_wrong() -> None:
    assert doctor.clock(0.0).status == "warning"


def test_a_url_where_nobody_answers() -> None:
    found, is_trainyard = doctor.service(Settings(), f"http://127.0.0.1:{free_port()}", None)
    assert (found[0].status, is_trainyard) == ("wrong", False)


def test_the_text_for_people_has_a_line_a_finding_and_a_sum() -> None:
    findings = [Finding("home", "ok", "fine"), Finding("service", "wrong", "nobody", "Start it.")]
    assert doctor.as_text(findings).splitlines() == [
        "ok       home     fine",
        "wrong    service  nobody",
        "                  -> Start it.",
        "",
        "1 wrong, 0 warnings, 1 ok",
    ]
