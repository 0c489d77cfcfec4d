"""One attempt at a job: claim it, train, and turn every way it can end into the job's status."""

import logging
from contextlib import nullcontext
from zipfile import BadZipFile

import tensorflow as tf
from sqlalchemy.exc import InterfaceError, OperationalError

from models import jobs, turns
from models.artifacts import StoreUnavailable, drop_checkpoints
from models.history import EpochResult
from models.jobs import FailureKind, Job, Status
from models.spec import JobSpec
from models.spec.job import MAX_EPOCHS
from worker import data, training
from worker.callbacks import Diverged, EarlyStopping, Progress, Publisher, ReduceLROnPlateau, resume, stoppers
from worker.checkpoints import Checkpoint, CheckpointKeeper, restore
from worker.chunks import Chunks
from worker.diagnosis.doctor import Doctor
from worker.export import ExportError
from worker.hold import Fenced, Hold, Interrupted
from worker.initial_weights import Unusable, read_weights, take_weights, to_npz, weights_of
from worker.kinds.running import run_kind
from worker.leftovers import clear_leftovers
from worker.plan import Plan
from worker.rehearsal import chunks_of, plan_after, rehearse
from worker.results import Learned, finish
from worker.slot import Slot
from worker.steering import Course, Steering, chunks_through

TAKEN_BACK = "what was asked has changed meanwhile: the next attempt goes on"
log = logging.getLogger(__name__)


def try_next(slot: Slot) -> None:
    """See to the jobs that should go next, whichever job the message was about, until there is none left to take.

    Messages get lost and come late: went each worker by them, a job whose message was lost would wait behind younger
    and less urgent ones for as long as there are any. And a job that may begin only now that another of its owner's has
    ended has no message left. A worker that has grown large leaves the rest, so as to begin anew.
    """
    while not slot.stopping:
        able, most = slot.able, slot.settings.max_running
        with slot.database.read() as session:
            if turns.next_job(session, able, most) is None:
                return
        with slot.database.write() as session:
            job = turns.take(session, slot.name, able, most)
        if job is not None:
            _see_to(slot, job)
            if slot.worn:
                return


def try_job(slot: Slot, job_id: str) -> bool:
    """Claim `job_id`, though it be another's turn, and see it to its end; False when it is not to be had."""
    with slot.database.write() as session:
        job = jobs.claim(session, job_id, slot.name)
    if job is None:
        log.info("%s: not to be had, another worker has it or it ended", job_id)
        return False
    _see_to(slot, job)
    return True


def _see_to(slot: Slot, job: Job) -> None:
    with slot.running(job.id, job.attempt):
        missing = _see_through(Hold(slot, job))
    clear_leftovers()
    if missing is not None:
        slot.wait_for_store(missing.needed)


def _see_through(hold: Hold) -> StoreUnavailable | None:
    """Train, and record what came of it; what the store said when the job could not go on because it is away."""
    job = hold.job
    log.info("%s: attempt %d begins", job.id, job.attempt)
    try:
        try:
            Attempt(hold).run()
        except Unusable as error:
            _fail(hold, "user", str(error))
        except data.DatasetUnavailable as error:
            _fail(hold, "dataset_unavailable", str(error))
        except ExportError as error:
            log.exception("%s: an exported file is not what it should be", job.id)
            _fail(hold, "internal", str(error))
        except Diverged as error:
            _fail(hold, "diverged", f"{error} A smaller learning rate, or clipnorm, usually helps.")
        except (MemoryError, tf.errors.ResourceExhaustedError):
            log.exception("%s: out of memory", job.id)
            _fail(
                hold,
                "out_of_memory",
                "The worker ran out of memory; a smaller network, or fewer examples at once, needs less.",
            )
        except StoreUnavailable as error:
            if hold.slot.store.answers(error.needed):
                raise
            _hand_back(hold, error)
            return error
        except (Fenced, OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("%s: attempt %d broke", job.id, job.attempt)
            _fail(hold, "internal", "The worker met an error of its own; its log has the details.")
    except Fenced:
        log.warning("%s: attempt %d lost the job to a later one and wrote nothing more", job.id, job.attempt)
    except (OperationalError, InterfaceError):
        # The job is as it was: without a heartbeat it is put back, and the next attempt goes on after the last epoch.
        log.exception("%s: the database went away, attempt %d lets go of the job", job.id, job.attempt)
    except StoreUnavailable:
        # As above. It answers by now, so another attempt may well succeed; that it never does is noticed after some.
        log.exception("%s: the artifact store failed once, attempt %d lets go of the job", job.id, job.attempt)
    return None


def _hand_back(hold: Hold, error: StoreUnavailable) -> None:
    """Let the job wait for the store: no worker was lost, so it may wait for as long as it takes."""
    # Keras raises what a callback raised anew, without its cause.
    why = error.__cause__ or error.__context__
    log.warning("%s: attempt %d hands the job back: %s (%r)", hold.job.id, hold.job.attempt, error, why)
    hold.let_go(f"{error} The job waits until that is mended.")


def _fail(hold: Hold, kind: FailureKind, message: str) -> None:
    log.warning("%s: failed (%s): %s", hold.job.id, kind, message)
    hold.move(Status.FAILED, message, failure_kind=kind, failure_message=message)
    _drop_checkpoints(hold)


class Attempt:
    """The steps of one attempt; each raises what `_see_through` knows how to record."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.spec = JobSpec.model_validate(hold.job.spec)
        self.keeper = CheckpointKeeper(hold.slot.store, hold.job.id, hold.job.attempt)

    def run(self) -> None:
        """Load, train, and end the job."""
        with tf.device("/CPU:0") if self.spec.device == "cpu" else nullcontext():
            if self.spec.kind != "train":
                self._run_kind()
                return
            learned = self._learn()
            if learned is None:
                return
            finish(self.hold, self.spec, learned)
        _drop_checkpoints(self.hold)

    def _run_kind(self) -> None:
        """Do what the kind says that does not train; an attempt always begins at the beginning."""
        try:
            run_kind(self.hold, self.spec, self._load())
        except Interrupted as interruption:
            self._let_go(interruption.why)

    def _learn(self) -> Learned | None:
        """Train to the end, or to what the user or the machine asks for; None when the job is dealt with already."""
        split = self._load()
        scaling = data.scaling_of(self.spec.dataset, split.x_train)
        self.hold.say("compiling", f"{len(split.x_train)} examples to train on, {len(split.x_test)} to test")
        plan = plan_after(self.hold.job.execution, self.spec, split, scaling)
        model = training.build_model(self.spec, split, scaling, plan)
        early_stopping, plateau = stoppers(self.spec)
        progress = self._resume(model, early_stopping, plateau)
        chunks, changes = chunks_of(self.spec, len(split.x_train)), self.hold.changes()
        steering = Steering(chunks, Course.of(self.spec), changes, self.hold, early_stopping, progress.epoch)
        interrupted = None
        if progress.epoch < steering.course.epochs and not progress.stopped_early:
            try:
                steering.chunks = self._chunks(model, plan, chunks_through(chunks, changes, progress.epoch))
                self._fit(model, split, steering, progress, early_stopping, plateau)
            except Interrupted as interruption:
                interrupted = interruption.why
        if interrupted is not None:
            if progress.checkpoint is None or not self._keeps_model(interrupted):
                self._let_go(interrupted)
                return None
            # What is kept is the model of the last epoch on record, not one half an epoch further.
            checkpoint = self.keeper.read(progress.checkpoint)
            restore(model, checkpoint)
            progress.epoch = checkpoint.facts["epoch"]
            if (reached := checkpoint.facts.get("without_row")) is not None:
                self.hold.record_missing(EpochResult(**reached))
            self.hold.keep_weights(progress.epoch, to_npz(weights_of(model.network)))
        if early_stopping is not None and early_stopping.best_weights:
            # Keras does it when fit ends by itself; after an interruption, or when nothing was left to fit, we do.
            model.set_weights(early_stopping.best_weights)
        return Learned(model, split, scaling, progress, interrupted)

    def _load(self) -> data.Split:
        settings = self.hold.slot.settings
        return data.split_for(self.spec, settings.datasets, settings.offline)

    def _chunks(self, model: training.ResidentModel, plan: Plan, longest: Chunks) -> Chunks:
        """Have the programs compiled, and say how the job is trained."""
        chunks = rehearse(model, longest, self.hold.obey)
        self.hold.say("compiling", "; ".join(plan.reasons), execution=plan.facts(chunks.rows))
        return chunks

    def _resume(
        self, model: training.ResidentModel, early_stopping: EarlyStopping | None, plateau: ReduceLROnPlateau | None
    ) -> Progress:
        key = self.hold.job.checkpoint
        checkpoint = None if key is None else self._read_checkpoint(key)
        if checkpoint is None:
            self._take_initial_weights(model)
            return Progress()
        restore(model, checkpoint)
        progress = resume(checkpoint, early_stopping, plateau)
        progress.checkpoint = key
        self.hold.say("compiling", f"goes on after epoch {progress.epoch}")
        return progress

    def _read_checkpoint(self, key: str) -> Checkpoint | None:
        """The checkpoint, or None when it cannot be had any more, as after a backup made while it was replaced.

        The same epochs come of it once more; those on record are not written again.
        """
        try:
            return self.keeper.read(key)
        except (FileNotFoundError, BadZipFile):
            log.exception("%s: the checkpoint of epoch %d cannot be read", self.hold.job.id, self.hold.job.epoch)
        self.hold.say(
            "compiling", "its checkpoint is gone or damaged: begins again from the beginning", checkpoint=None
        )
        return None

    def _take_initial_weights(self, model: training.ResidentModel) -> None:
        source = self.spec.initial_weights
        if source is None:
            return
        taken, left = take_weights(model.network, read_weights(self.hold, source))
        if not taken:
            raise Unusable("No layer has the name and the shapes of one in initial_weights.")
        own = f"; {', '.join(left)} begin with initial values" if left else ""
        self.hold.say("compiling", f"trained weights for {', '.join(taken)}{own}")

    def _fit(
        self,
        model: training.ResidentModel,
        split: data.Split,
        steering: Steering,
        progress: Progress,
        early_stopping: EarlyStopping | None,
        plateau: ReduceLROnPlateau | None,
    ) -> None:
        doctor = self._doctor(model, steering, progress)
        publisher = Publisher(self.hold, self.spec, self.keeper, progress, early_stopping, plateau, steering, doctor)
        callbacks = (early_stopping, plateau, steering, doctor, publisher)
        try:
            training.fit(
                model,
                steering.chunks,
                seed=self.spec.seed,
                epochs=MAX_EPOCHS,
                done=progress.epoch,
                validated=None if split.x_val is None else len(split.x_val),
                callbacks=[callback for callback in callbacks if callback is not None],
            )
        finally:
            publisher.close()

    def _doctor(self, model: training.ResidentModel, steering: Steering, progress: Progress) -> Doctor:
        doctor = Doctor(model, self.spec, lambda: steering.course.epochs)
        if progress.epoch:
            doctor.resume(*self.hold.observed(progress.epoch))
        return doctor

    def _keeps_model(self, why: str) -> bool:
        return why == "timeout" or (why == "cancel" and self.hold.control().keep_model)

    def _let_go(self, why: str) -> None:
        """End the attempt without a model."""
        if why == "timeout" and (limit := self.hold.limit_of(self.spec)) is not None:
            unfinished = "No epoch was" if self.spec.kind == "train" else "The job was not"
            _fail(self.hold, "timeout", f"{unfinished} finished within {limit.name}. Received: {limit}")
            return
        stops = "the worker stops and hands the job back"
        # What was asked may have been taken back, or more been asked, since it was seen: what holds now counts.
        if self.hold.let_go(stops if why == "stopping" else TAKEN_BACK) == Status.CANCELLED:
            _drop_checkpoints(self.hold)


def _drop_checkpoints(hold: Hold) -> None:
    """The job is at its end: nobody goes on from them."""
    drop_checkpoints(hold.slot.store, hold.job.id, hold.job.attempt)
