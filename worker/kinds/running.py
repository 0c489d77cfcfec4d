"""One attempt at a job that does not train, from its examples to its last status."""

from typing import Any, assert_never

from models.history import Result
from models.jobs import Status
from models.spec import JobSpec
from worker import data
from worker.data import Split
from worker.hold import Hold
from worker.kinds.ensemble import combine, gather, measure
from worker.kinds.export_model import export_model
from worker.kinds.gradient_check import check_gradients
from worker.kinds.initialization import compare_initializers
from worker.kinds.steps import Steps
from worker.kinds.verify import verify_training
from worker.results import Reasons, keep, measure_in_detail


def run_kind(hold: Hold, spec: JobSpec, split: Split) -> None:
    """Do what the kind of `spec` says, and end the job. Raises Interrupted, Unusable."""
    scaling = data.scaling_of(spec.dataset, split.x_train)
    match spec.kind:
        case "initialization":
            steps = Steps(hold, spec, f"initial values: {spec.planned_epochs}, one pass for each")
            _end(hold, compare_initializers(spec, split, scaling, steps))
        case "gradient_check":
            steps = Steps(hold, spec, f"weights to compare: {spec.planned_epochs}")
            _end(hold, check_gradients(spec, split, scaling, steps))
        case "ensemble":
            _make_ensemble(hold, spec, split)
        case "export":
            export_model(hold, spec, split)
        case "verify":
            _end(hold, verify_training(hold, spec, split))
        case "train":
            raise ValueError("A training is run by worker.attempt.")
        case _:
            assert_never(spec.kind)


def _end(hold: Hold, result: dict[str, Any]) -> None:
    """Record the result as the job succeeds, unless a cancel came meanwhile."""
    with hold.slot.database.write() as session:
        if hold.control_in(session).requested == "cancel":
            hold.move_in(session, Status.CANCELLED)
            return
        session.merge(Result(job_id=hold.job.id, data=result))
        hold.move_in(session, Status.SUCCEEDED, result["summary"][0])


def _make_ensemble(hold: Hold, spec: JobSpec, split: Split) -> None:
    assert spec.ensemble is not None
    steps = Steps(hold, spec, f"members: {spec.planned_epochs}")
    members, told = gather(hold, spec, split, steps)
    model = combine(members, spec.ensemble.combine)
    evaluation = measure(spec, model, split)
    details = evaluation | measure_in_detail(spec, model, split) | {"members": told}
    keep(hold, spec, model, split, evaluation, details, Reasons(None, "cancelled, the model was kept"))
