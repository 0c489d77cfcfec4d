"""The rows of studies, on every database: what is unique, what is guarded, and that old rows survive the revision."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError

from migrations.__main__ import upgrade
from models import jobs, runs, studies
from models.database import Database
from models.history import Event
from models.jobs import Job
from models.runs import Proposal, value_of
from models.spec import parse_spec
from models.spec.study import StudySpec
from models.spec.study_checks import check_study
from models.studies import Study, StudyStatus, Trial, TrialStatus
from tests.factories.runs import finish_queued

SEARCH = {"vary": {"/optimizer/learning_rate": {"low": 0.1, "high": 1.0}}, "sampler": "random", "trials": 2}


def new_study(database: Database, **fields: Any) -> str:
    body = {"base": {"dataset": "digits"}, "vary": {"/epochs": [1, 2]}, **fields}
    checked = check_study(StudySpec.model_validate(body))
    with database.write() as session:
        return studies.create(session, checked).id


def advance(database: Database, study_id: str, proposal: Proposal | None = None) -> runs.Step:
    with database.write() as session:
        return runs.advance(session, study_id, proposal)


def trials(database: Database, study_id: str) -> list[Trial]:
    with database.read() as session:
        query = select(Trial).where(Trial.study_id == study_id).order_by(Trial.number)
        return list(session.scalars(query))


def test_a_grid_is_written_down_at_once(database: Database) -> None:
    study_id = new_study(database)
    found = trials(database, study_id)
    assert [(trial.number, trial.setting, trial.label, trial.status) for trial in found] == [
        (1, {"/epochs": 1}, "epochs 1", TrialStatus.QUEUED),
        (2, {"/epochs": 2}, "epochs 2", TrialStatus.QUEUED),
    ]


def test_a_run_cannot_be_there_twice(database: Database) -> None:
    study_id = new_study(database)
    spec = parse_spec({"dataset": "digits"})
    with database.write() as session:
        jobs.create(session, spec, study_id=study_id, trial=1, repeat=0)
        jobs.create(session, spec, study_id=study_id, trial=1, repeat=1)
        for _ in range(2):
            jobs.create(session, spec)  # outside of studies there is nothing to be unique
    with pytest.raises(IntegrityError), database.write() as session:
        jobs.create(session, spec, study_id=study_id, trial=1, repeat=1)


def test_a_trial_cannot_be_there_twice(database: Database) -> None:
    study_id = new_study(database)
    asked = StudySpec.model_validate({"base": {"dataset": "digits"}, "vary": {"/epochs": [1, 2]}})
    with pytest.raises(IntegrityError), database.write() as session:
        studies.add_trials(session, study_id, asked, [{"/epochs": 1}], first=2)


def test_a_proposal_that_comes_late_is_left(database: Database) -> None:
    study_id = new_study(database, **SEARCH)
    assert advance(database, study_id).wanted == 1
    for rate in (0.1, 0.2):
        advance(database, study_id, Proposal(1, {"/optimizer/learning_rate": rate}))
    assert [trial.setting["/optimizer/learning_rate"] for trial in trials(database, study_id)] == [0.1]
    finish_queued(database, lambda job: [0.5])
    assert advance(database, study_id).wanted == 2
    advance(database, study_id, Proposal(2, {"/optimizer/learning_rate": 0.3}))
    finish_queued(database, lambda job: [0.5])
    assert advance(database, study_id) == runs.Step()
    advance(database, study_id, Proposal(3, {"/optimizer/learning_rate": 0.4}))
    assert len(trials(database, study_id)) == 2


def test_a_study_that_ended_stays_as_it_is(database: Database) -> None:
    study_id = new_study(database)
    with database.write() as session:
        assert studies.end(session, study_id, StudyStatus.CANCELLED)
    with database.write() as session:
        assert not studies.end(session, study_id, StudyStatus.SUCCEEDED)
        assert studies.hold(session, study_id) is None
        assert studies.running(session) == []
    assert advance(database, study_id) == runs.Step()
    with database.read() as session:
        assert session.get_one(Study, study_id).status == StudyStatus.CANCELLED
        assert session.scalars(select(Job)).all() == []


def test_whoever_comes_second_waits_and_then_sees_what_the_first_did(database: Database) -> None:
    """A transaction that holds the study keeps others out to its end, on every database."""
    study_id = new_study(database)
    with database.write() as session:
        assert studies.hold(session, study_id)
        if database.engine.dialect.name == "postgresql":
            hurried = create_engine(database.url, connect_args={"options": "-c lock_timeout=50"})
            with hurried.connect() as connection, pytest.raises(Exception, match="lock timeout"):
                connection.execute(select(Study.id).where(Study.id == study_id).with_for_update())
            hurried.dispose()
        created = runs.advance(session, study_id).created
    assert [job.trial for job in created] == [1]
    assert advance(database, study_id).created == []


@pytest.mark.parametrize(
    ("early_stopping", "best", "value"),
    [
        (None, {"val_accuracy": 0.9}, 0.8),
        ({"restore_best_weights": False}, {"val_accuracy": 0.9}, 0.8),
        ({"restore_best_weights": True}, {"val_accuracy": 0.9}, 0.9),
        ({"restore_best_weights": True}, {}, 0.8),
    ],
)
def test_the_value_of_a_run(early_stopping: Any, best: dict[str, float], value: float) -> None:
    assert value_of({"early_stopping": early_stopping}, {"val_accuracy": 0.8}, best, "val_accuracy") == value
    assert value_of({}, {"val_accuracy": None}, {}, "val_accuracy") is None
    assert value_of({}, {}, {}, "val_accuracy") is None


def test_the_revision_keeps_jobs_and_their_history(tmp_path: Path) -> None:
    """SQLite deletes what hangs on a table that a revision makes anew; this one must not."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    upgrade(url, "0001")
    with closing(Database(url)) as database:
        with database.engine.begin() as connection:
            columns = [column for column in inspect(connection).get_columns("jobs") if not column["nullable"]]
            values = {column["name"]: "{}" if "JSON" in str(column["type"]) else "1" for column in columns}
            values |= {"id": "job_1", "created_at": "2026-01-01 00:00:00"}
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({marks})"), values)
            event = (
                "INSERT INTO events (job_id, seq, attempt, at, type, data) VALUES ('job_1', 1, 0, :at, 'state', '{}')"
            )
            connection.execute(text(event), {"at": "2026-01-01 00:00:00"})
        upgrade(url)
        with database.read() as session:
            assert session.get_one(Job, "job_1").study_id is None
            assert session.get(Event, ("job_1", 1)) is not None
        with pytest.raises(IntegrityError), database.write() as session:
            session.get_one(Job, "job_1").study_id = "study_of_nobody"
