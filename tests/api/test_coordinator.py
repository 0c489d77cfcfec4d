"""The coordinator moves studies on from their rows alone: any of several, after any death, and never twice."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from api.coordinator import Coordinator
from api.queue import Doorbell
from api.sampling import propose
from models import jobs, requests, runs, studies
from models.database import Database
from models.jobs import Job, Status
from models.settings import Settings
from models.spec.study import StudySpec
from models.spec.study_checks import check_study
from models.studies import Study, StudyStatus, Trial, TrialStatus
from tests.factories.runs import finish_queued

RATE = "/optimizer/learning_rate"
SEARCH = {"vary": {RATE: {"low": 1e-4, "high": 1.0, "log": True}}, "sampler": "tpe", "trials": 14}


class Bell(Doorbell):
    """A real doorbell that also writes down what it was asked to ring."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.rung: list[str] = []

    def ring(self, job: Job) -> None:
        self.rung.append(job.id)
        super().ring(job)


@pytest.fixture
def bell(settings: Settings) -> Iterator[Bell]:
    """A doorbell on the run's broker."""
    with closing(Bell(settings)) as made:
        yield made


@pytest.fixture
def coordinator(database: Database, bell: Bell) -> Coordinator:
    """A coordinator that is looked through by hand."""
    return Coordinator(database, bell)


def body(**fields: Any) -> dict[str, Any]:
    return {"base": {"dataset": "digits", "epochs": 2}, "vary": {"/optimizer": ["sgd", "adam", "rmsprop"]}, **fields}


def new_study(database: Database, **fields: Any) -> str:
    checked = check_study(StudySpec.model_validate(body(**fields)))
    with database.write() as session:
        return studies.create(session, checked).id


def read(database: Database, study_id: str) -> tuple[Study, list[Trial], list[Job]]:
    with database.read() as session:
        trials = session.scalars(select(Trial).where(Trial.study_id == study_id).order_by(Trial.number)).all()
        made = session.scalars(select(Job).where(Job.study_id == study_id).order_by(Job.trial, Job.repeat)).all()
        return session.get_one(Study, study_id), list(trials), list(made)


def by_optimizer(job: Job) -> list[float]:
    """Adam is best; a later seed a little better."""
    known = {"sgd": 0.5, "adam": 0.9, "rmsprop": 0.7}
    return [0.1, known[job.spec["optimizer"]["type"]] + job.spec["seed"] / 100]


def by_rate(job: Job) -> list[float]:
    return [1 - min(abs(job.spec["optimizer"]["learning_rate"] - 0.01), 1.0)]


def to_the_end(database: Database, study_id: str, looks: Callable[[], None], figures: Any) -> None:
    for _ in range(100):
        looks()
        finish_queued(database, figures)
        if read(database, study_id)[0].status != StudyStatus.RUNNING:
            return
    raise AssertionError("the study does not end")


def test_a_grid_goes_its_way_a_few_jobs_at_a_time(database: Database, coordinator: Coordinator, bell: Bell) -> None:
    study_id = new_study(database, repeats=2, parallel=2, name="which")
    for _ in range(2):
        coordinator.look()
        _, _, made = read(database, study_id)
        assert [(job.trial, job.repeat) for job in made] == [(1, 0), (1, 1)]
    assert bell.rung == [job.id for job in made]
    assert [job.name for job in made] == ["which: sgd (run 1 of 2)", "which: sgd (run 2 of 2)"]
    assert {job.spec["model"] for job in made} == {study_id.lower()}
    finish_queued(database, by_optimizer)
    coordinator.look()
    _, trials, made = read(database, study_id)
    assert trials[0].status == TrialStatus.SUCCEEDED
    assert trials[0].value == pytest.approx(0.505)
    assert [(job.trial, job.status) for job in made[2:]] == [(2, Status.QUEUED), (2, Status.QUEUED)]
    to_the_end(database, study_id, coordinator.look, by_optimizer)
    study, trials, made = read(database, study_id)
    assert study.status == StudyStatus.SUCCEEDED
    assert [trial.value for trial in trials] == pytest.approx([0.505, 0.905, 0.705])
    assert len(made) == 6
    coordinator.look()
    assert len(read(database, study_id)[2]) == 6


def test_the_value_of_a_run_is_that_of_the_weights_it_kept(database: Database, coordinator: Coordinator) -> None:
    stopping = {"monitor": "val_accuracy", "patience": 5, "restore_best_weights": True}
    study_id = new_study(database, vary={"/early_stopping": [None, stopping]}, parallel=2)
    to_the_end(database, study_id, coordinator.look, lambda job: [0.9, 0.8])
    assert [trial.value for trial in read(database, study_id)[1]] == [0.8, 0.9]


def test_a_failed_run_costs_its_setting_and_not_the_study(database: Database, coordinator: Coordinator) -> None:
    study_id = new_study(database, repeats=2, parallel=8)

    def failing(job: Job) -> list[float] | None:
        return None if (job.trial, job.repeat) == (2, 1) else [0.5]

    to_the_end(database, study_id, coordinator.look, failing)
    study, trials, _ = read(database, study_id)
    assert study.status == StudyStatus.SUCCEEDED
    assert [trial.value for trial in trials] == [0.5, None, 0.5]
    assert trials[1].status == TrialStatus.FAILED
    assert trials[1].problem == "run 2: The loss became nan in epoch 1."


def test_a_study_of_which_nothing_succeeds_failed(database: Database, coordinator: Coordinator) -> None:
    study_id = new_study(database, parallel=8)
    to_the_end(database, study_id, coordinator.look, lambda job: None)
    assert read(database, study_id)[0].status == StudyStatus.FAILED


def test_a_run_that_somebody_cancels_ends_and_one_that_is_deleted_is_made_again(
    database: Database, coordinator: Coordinator
) -> None:
    study_id = new_study(database, vary={"/epochs": [1, 2]}, repeats=2)
    coordinator.look()
    first = read(database, study_id)[2][0].id
    with database.write() as session:
        requests.request_cancel(session, first, keep_model=False)
        session.delete(session.get_one(Job, first))
    coordinator.look()
    [again] = read(database, study_id)[2]
    assert (again.trial, again.repeat) == (1, 0)
    assert again.id != first
    with database.write() as session:
        requests.request_cancel(session, again.id, keep_model=False)
    to_the_end(database, study_id, coordinator.look, lambda job: [0.5])
    trials = read(database, study_id)[1]
    assert [trial.value for trial in trials] == [None, 0.5]
    assert trials[0].problem == "run 1: the job was cancelled"


def test_a_cancelled_study_gets_no_new_job(database: Database, coordinator: Coordinator) -> None:
    study_id = new_study(database, repeats=3, parallel=2)
    coordinator.look()
    with database.write() as session:
        working = jobs.claim(session, read(database, study_id)[2][0].id, "w1")
    assert working is not None
    with database.write() as session:
        ended = runs.cancel(session, study_id)
    study, trials, made = read(database, study_id)
    assert study.status == StudyStatus.CANCELLED
    assert {trial.status for trial in trials} == {TrialStatus.CANCELLED}
    assert ended == [(made[1].id, 0)]
    assert [(job.status, job.requested) for job in made] == [(Status.RUNNING, "cancel"), (Status.CANCELLED, None)]
    coordinator.look()
    assert len(read(database, study_id)[2]) == 2
    with database.write() as session:
        assert runs.cancel(session, study_id) is None


def test_many_coordinators_at_once_make_each_run_once(database: Database, bell: Bell) -> None:
    study_id = new_study(database, vary={"/epochs": [1, 2, 3, 4]}, repeats=3, parallel=5)
    search_id = new_study(database, **SEARCH, parallel=4)
    with ExitStack() as stack:
        opened = [stack.enter_context(closing(Database(database.url))) for _ in range(4)]
        several = [Coordinator(one, bell) for one in opened]

        def looks() -> None:
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda one: one.look(), several))
            for found, most in ((study_id, 5), (search_id, 4)):
                assert sum(job.status == Status.QUEUED for job in read(database, found)[2]) <= most

        to_the_end(database, study_id, looks, by_rate)
        to_the_end(database, search_id, looks, by_rate)
    for found, wanted in ((study_id, 12), (search_id, 14)):
        _, trials, made = read(database, found)
        assert [trial.number for trial in trials] == list(range(1, len(trials) + 1))
        assert len({(job.trial, job.repeat) for job in made}) == len(made) == wanted


@pytest.mark.parametrize("step", range(3))
def test_a_coordinator_that_dies_is_followed_by_another(
    database: Database, bell: Bell, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is lost inside its n-th transaction: nothing of that is kept, and the second goes on."""
    study_id = new_study(database, **SEARCH, repeats=2, parallel=3)
    begun = 0

    class Lost(BaseException):
        pass

    class Mortal(Database):
        @contextmanager
        def write(self) -> Any:
            nonlocal begun
            with super().write() as session:
                yield session
                begun += 1
                if begun > step:
                    raise Lost

    with closing(Mortal(database.url)) as mortal, pytest.raises(Lost):
        to_the_end(database, study_id, Coordinator(mortal, bell).look, by_rate)
    to_the_end(database, study_id, Coordinator(database, bell).look, by_rate)
    study, trials, made = read(database, study_id)
    assert study.status == StudyStatus.SUCCEEDED
    assert [trial.number for trial in trials] == list(range(1, 15))
    assert Counter(job.trial for job in made) == dict.fromkeys(range(1, 15), 2)


def test_a_search_follows_from_its_seed_and_draws_within_its_ranges(settings: Settings, bell: Bell) -> None:
    vary = {
        RATE: {"low": 1e-4, "high": 1.0, "log": True},
        "/epochs": {"low": 1, "high": 9, "step": 4},
        "/optimizer/momentum": {"low": 0.1, "high": 0.95, "step": 0.2},
        "/optimizer": ["sgd", {"type": "sgd", "nesterov": True}],
    }
    found = []
    with closing(Database(settings.database)) as database:
        for seed in (1, 1, 2):
            study_id = new_study(database, vary=vary, sampler="tpe", trials=14, seed=seed)
            to_the_end(database, study_id, Coordinator(database, bell).look, by_rate)
            found.append([trial.setting for trial in read(database, study_id)[1]])
    assert found[0] == found[1] != found[2]
    for setting in found[0]:
        assert 1e-4 <= setting[RATE] <= 1.0
        assert setting["/epochs"] in (1, 5, 9)
        assert setting["/optimizer/momentum"] in (0.1, 0.3, 0.5, 0.7, 0.9)


def test_tpe_learns_where_random_does_not() -> None:
    """On a bowl in two dimensions, TPE's later proposals lie closer to the bottom than random ones; five seeds."""

    def distance(setting: dict[str, Any]) -> float:
        return abs(setting["/a"] - 0.3) + abs(setting["/b"] - 0.7)

    def late_mean(sampler: str, seed: int) -> float:
        vary = {"/a": {"low": 0.0, "high": 1.0}, "/b": {"low": 0.0, "high": 1.0}}
        asked = StudySpec.model_validate(body(vary=vary, sampler=sampler, seed=seed))
        history: list[Trial] = []
        for number in range(1, 41):
            setting = propose(asked, "val_loss", number, history)
            failed = number % 7 == 0
            status = TrialStatus.FAILED if failed else TrialStatus.SUCCEEDED
            value = None if failed else distance(setting)
            history.append(Trial(number=number, setting=setting, status=status, value=value))
        return sum(distance(trial.setting) for trial in history[20:]) / 20

    for seed in range(5):
        assert late_mean("tpe", seed) < 0.75 * late_mean("random", seed)


def test_parallel_proposals_differ() -> None:
    asked = StudySpec.model_validate(body(**SEARCH))
    history = [Trial(number=n, setting={RATE: 0.01 * n}, status=TrialStatus.SUCCEEDED, value=0.5) for n in range(1, 12)]
    for number in range(12, 18):
        setting = propose(asked, "val_accuracy", number, history)
        history.append(Trial(number=number, setting=setting, status=TrialStatus.RUNNING))
    assert len({trial.setting[RATE] for trial in history[11:]}) == 6


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_no_setting_is_drawn_twice_while_there_are_others(sampler: str) -> None:
    vary = {"/optimizer": ["sgd", "adam"], "/epochs": {"low": 1, "high": 5, "step": 2}}
    asked = StudySpec.model_validate(body(vary=vary, sampler=sampler))
    history: list[Trial] = []
    for number in range(1, 9):
        setting = propose(asked, "val_accuracy", number, history)
        history.append(Trial(number=number, setting=setting, status=TrialStatus.SUCCEEDED, value=0.5))
    assert len({str(trial.setting) for trial in history[:6]}) == 6


def test_a_drawn_setting_that_is_no_spec_is_a_trial_that_says_so(database: Database, coordinator: Coordinator) -> None:
    vary = {"/optimizer": ["sgd", "adam"], "/optimizer/momentum": {"low": 0.1, "high": 0.9}}
    study_id = new_study(database, vary=vary, sampler="random", trials=8, parallel=2)
    to_the_end(database, study_id, coordinator.look, lambda job: [0.5])
    study, trials, made = read(database, study_id)
    assert study.status == StudyStatus.SUCCEEDED
    for trial in trials:
        impossible = trial.setting["/optimizer"] == "adam"
        assert (trial.status == TrialStatus.FAILED) == impossible
        assert not impossible or "no valid spec" in (trial.problem or "")
    assert len(made) == sum(trial.setting["/optimizer"] == "sgd" for trial in trials)
    assert 0 < len(made) < 8


@contextmanager
def api_process(settings: Settings, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx2.Client]]:
    """A real API process on the settings' database."""
    environment = {
        **os.environ,
        "TRAINYARD_HOME": str(folder),
        "TRAINYARD_DATABASE_URL": settings.database,
        "TRAINYARD_BROKER_URL": settings.broker_url,
    }
    log = (folder / "api.log").open("ab")
    # The server takes a free port by itself and says which.
    code = (
        "import socket, uvicorn; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
        "uvicorn.Server(uvicorn.Config('api.main:create_app', factory=True, access_log=False)).run(sockets=[s])"
    )
    command = [sys.executable, "-c", code]
    with log, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            try:
                yield process, client
            finally:
                process.kill()


def test_a_study_survives_the_death_of_the_api(settings: Settings, tmp_path: Path) -> None:
    """SIGKILL in the middle of a study; the next process takes it up, and no run is made twice."""

    def work_until(done: Callable[[Study, list[Job]], bool]) -> None:
        deadline = time.monotonic() + 60
        while not done(*(read(database, study_id)[n] for n in (0, 2))):  # type: ignore[arg-type]
            assert time.monotonic() < deadline
            finish_queued(database, by_rate)
            time.sleep(0.02)

    with closing(Database(settings.database)) as database:
        with api_process(settings, tmp_path) as (first, client):
            answer = client.post("/v1/studies", json=body(**SEARCH | {"trials": 5}, repeats=2, parallel=3))
            assert answer.status_code == 201
            study_id = answer.json()["id"]
            work_until(lambda _, made: len(made) >= 3)
            first.kill()
            first.wait()
        with api_process(settings, tmp_path) as (_, client):
            work_until(lambda study, _: study.status != StudyStatus.RUNNING)
            view = client.get(f"/v1/studies/{study_id}").json()
        made = read(database, study_id)[2]
    assert view["status"] == "succeeded"
    assert view["progress"] == {"runs": {"done": 10, "total": 10}, "trials": {"done": 5, "total": 5}}
    assert sorted((job.trial, job.repeat) for job in made) == [(n, r) for n in range(1, 6) for r in range(2)]
