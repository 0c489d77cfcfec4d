"""Whether a change fits the training that it is asked of, as far as that has come."""

from collections.abc import Iterator

from models.spec.change import ChangeSpec
from models.spec.checks.fault import Fault
from models.spec.checks.training import outgrows, schedule_faults
from models.spec.job import JobSpec
from models.spec.summary import steps_per_epoch
from models.spec.training import MAX_RATE


def change_faults(change: ChangeSpec, spec: JobSpec, done: int) -> Iterator[Fault]:
    """A rate that a plateau rule could not lower, an odd schedule, epochs that were begun, a patience without use.

    Args:
        spec: what holds before, with all changes that were asked earlier.
        done: how many epochs are on record.
    """
    yield from _learning_rate(change, spec, done)
    if change.epochs is not None and change.epochs <= done:
        detail = f"epochs counts those before it too, of which {done} are done: it must be at least {done + 1}"
        yield Fault(("epochs",), "too_small", detail, change.epochs)
    if change.early_stopping is not None and spec.early_stopping is None:
        detail = "early_stopping can be changed only where the job's spec has it; cancel ends this job when you like"
        yield Fault(("early_stopping",), "invalid", detail, change.early_stopping.model_dump(mode="json"))


def _learning_rate(change: ChangeSpec, spec: JobSpec, done: int) -> Iterator[Fault]:
    plan = change.learning_rate
    if plan is not None and not isinstance(plan, float):
        if spec.reduce_on_plateau is not None:
            detail = f"learning_rate must be a number in a job with reduce_on_plateau; the {plan.type} sets it anew"
            yield Fault(("learning_rate",), "invalid", f"{detail} every batch", plan.type)
        yield from schedule_faults(plan, ("learning_rate",))
    if plan is None and change.epochs is None:
        return
    after = change.of(spec)
    # A schedule that is new counts its steps from where it is taken up.
    epochs = after.epochs if plan is None else after.epochs - done
    if epochs > 0 and outgrows(after.optimizer.learning_rate, last := steps_per_epoch(spec) * epochs - 1):
        path = ("epochs",) if plan is None else ("learning_rate", "decay_rate")
        received = change.epochs if plan is None else getattr(plan, "decay_rate", None)
        detail = f"the learning rate must not grow beyond {MAX_RATE:,} by the last step of its schedule, {last:,}"
        yield Fault(path, "too_large", detail, received)
