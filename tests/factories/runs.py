"""Plays the worker for the runs of a study: claims what is queued, records epochs and ends, without TensorFlow."""

from collections.abc import Callable

from sqlalchemy import select

from models import jobs
from models.database import Database
from models.history import EpochResult
from models.jobs import Job, Status

Figures = Callable[[Job], list[float] | None]


def finish_queued(database: Database, accuracies: Figures) -> list[Job]:
    """Run every queued job to its end: an epoch for each val_accuracy that `accuracies` gives, failed for None."""
    with database.read() as session:
        waiting = session.scalars(select(Job.id).where(Job.status == Status.QUEUED).order_by(Job.id)).all()
    return [finish(database, job_id, accuracies) for job_id in waiting]


def finish(database: Database, job_id: str, accuracies: Figures) -> Job:
    """Run one queued job to its end."""
    with database.write() as session:
        job = jobs.claim(session, job_id, "w1")
        assert job is not None
        values = accuracies(job)
        if values is None:
            why = "The loss became nan in epoch 1."
            failed = jobs.move(session, job_id, Status.FAILED, failure_kind="diverged", failure_message=why)
            assert failed
        else:
            epochs = [EpochResult(n, 0.1, 0.001, metrics(value)) for n, value in enumerate(values, start=1)]
            best = max(epochs, key=lambda epoch: epoch.metrics["val_accuracy"])
            kept = {"epoch": best.epoch, **best.metrics}
            assert jobs.record_epochs(session, job_id, job.attempt, epochs, epochs[-1], best_metrics=kept)
            assert jobs.move(session, job_id, Status.SUCCEEDED, by_attempt=job.attempt)
    return job


def metrics(accuracy: float) -> dict[str, float]:
    """What an epoch measures that validates with this accuracy."""
    return {"loss": 1 - accuracy, "accuracy": accuracy, "val_loss": 1.1 - accuracy, "val_accuracy": accuracy}
