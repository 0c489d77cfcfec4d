"""Long histories are read in pages, sampled and written as CSV, on every database."""

import pytest

from models import history, jobs
from models.database import Database
from models.history import Epoch, EpochResult, csv_lines, every_epoch, sampled_epochs, whole_history
from models.jobs import Job
from models.spec import parse_spec

EPOCHS = 95


@pytest.fixture
def job(database: Database, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A running job with 95 epochs and a few other events, read in pages of ten."""
    monkeypatch.setattr(history, "PAGE", 10)
    with database.write() as session:
        made = jobs.create(session, parse_spec({"dataset": "digits", "epochs": 100}))
        assert jobs.claim(session, made.id, "w1")
        for first in range(1, EPOCHS + 1, 5):
            results = [EpochResult(n, 0.5, 0.001, {"loss": 1 / n, "accuracy": 0.5}) for n in range(first, first + 5)]
            assert jobs.record_epochs(session, made.id, 1, results, results[-1])
            assert jobs.record_event(session, made.id, 1, "log", {"message": str(first)})
        return made


def test_pages_miss_nothing_and_double_nothing(database: Database, job: Job) -> None:
    assert [row.epoch for row in every_epoch(database, job.id)] == list(range(1, EPOCHS + 1))
    assert [row.seq for row in whole_history(database, job.id)] == list(range(1, 2 + EPOCHS + 19 + 1))


@pytest.mark.parametrize(("most", "least", "greatest"), [(1000, 95, 95), (10, 10, 14), (1, 2, 3)])
def test_a_sample_is_spread_and_has_both_ends(
    database: Database, job: Job, most: int, least: int, greatest: int
) -> None:
    with database.read() as session:
        drawn = [row.epoch for row in sampled_epochs(session, job.id, most)]
        nothing = sampled_epochs(session, "job_unknown", most)
    assert least <= len(drawn) <= greatest
    assert (drawn[0], drawn[-1]) == (1, EPOCHS)
    assert drawn == sorted(drawn)
    assert nothing == []


def test_csv_spells_what_is_not_finite() -> None:
    rows = [
        Epoch(epoch=1, seconds=0.5, learning_rate=0.1, loss=2.0, other_metrics={}, nonfinite={}),
        Epoch(epoch=2, seconds=0.5, learning_rate=0.1, loss=None, other_metrics={}, nonfinite={"loss": "nan"}),
    ]
    assert "".join(csv_lines(rows)) == "epoch,seconds,learning_rate,loss\n1,0.5,0.1,2.0\n2,0.5,0.1,nan\n"
    assert list(csv_lines([])) == []
