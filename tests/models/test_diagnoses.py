"""What is noticed about a job is on record once, in a form that every database and JSON can carry."""

from math import inf, nan

import pytest

from models import jobs
from models.database import Database
from models.diagnoses import Finding, LayerSigns, Verdict, diagnoses_of, last_look, mended, record_signs, statistics_of
from models.history import Event, whole_history
from models.jobs import Job
from models.spec import parse_spec
from models.spec.job import MAX_NAME, MAX_NOTES


def finding(epoch: int = 1, verdict: Verdict = "dead_units") -> Finding:
    return Finding(epoch, verdict, {"norms": {"dense": [1.0, inf]}, "loss": nan}, "why", "do", {"/epochs": 9})


def signs(norm: float) -> list[LayerSigns]:
    return [LayerSigns("dense", norm, 1.0, nan, dead_share=0.0)]


@pytest.fixture
def job(database: Database) -> Job:
    """A running job."""
    with database.write() as session:
        made = jobs.create(session, parse_spec({"dataset": "digits", "name": "first", "notes": "mine"}), "ada")
        taken = jobs.claim(session, made.id, "w1")
    assert taken is not None
    return taken


def test_epochs_and_verdicts_are_on_record_once(database: Database, job: Job) -> None:
    with database.write() as session:
        assert record_signs(session, job.id, 1, {1: signs(1.0), 2: signs(inf)}, [finding()])
    with database.write() as session:
        again = [finding(3), finding(3, "overfitting")]
        assert record_signs(session, job.id, 1, {2: signs(5.0), 3: signs(3.0)}, again)
        assert not record_signs(session, job.id, 2, {}, [finding(3, "vanishing_gradients")])
        session.rollback()
    with database.write() as session:
        assert record_signs(session, job.id, 1, {2: signs(5.0), 3: signs(3.0)}, again)
    with database.read() as session:
        norms = {row.epoch: row.layers[0]["gradient_norm"] for row in statistics_of(session, job.id)}
        assert norms == {1: 1.0, 2: None, 3: 3.0}
        assert [row.epoch for row in statistics_of(session, job.id, 2)] == [1, 2]
        assert [row.epoch for row in statistics_of(session, job.id, after=1, most=1)] == [2]
        assert last_look(session, job.id) == 3
        first, second = diagnoses_of(session, job.id)
    assert [(row.number, row.epoch, row.verdict) for row in (first, second)] == [
        (1, 1, "dead_units"),
        (2, 3, "overfitting"),
    ]
    assert first.evidence == {"norms": {"dense": [1.0, "inf"]}, "loss": "nan"}
    events = [row.data for row in whole_history(database, job.id) if isinstance(row, Event) and row.type == "diagnosis"]
    assert [event["evidence"] for event in events] == [first.evidence] * 2


def test_the_mended_spec_says_where_it_comes_from(database: Database, job: Job) -> None:
    with database.write() as session:
        assert record_signs(session, job.id, 1, {}, [finding()])
    with database.read() as session:
        [found] = diagnoses_of(session, job.id)
        row = session.get_one(Job, job.id)
    spec = mended(row, found)
    assert (spec.epochs, spec.name, spec.notes) == (
        9,
        "first, mended",
        f"Diagnosis 1 (dead units, after epoch 1) of {job.id}: do\n\nmine",
    )
    for name, then in (("", ""), ("n, mended", "n, mended"), ("n" * MAX_NAME, "n" * MAX_NAME)):
        row.name, row.notes = name, "x" * MAX_NOTES
        spec = mended(row, found)
        assert spec.name == then
        assert parse_spec(spec.model_dump(mode="json")) == spec
