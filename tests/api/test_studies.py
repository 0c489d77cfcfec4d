"""Studies over HTTP: submitting, the table, the verdict, the plot, lists, cancelling."""

import importlib
import io
import time
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import select

from api import study_curves
from api.deps import Room
from api.study_curves import Line, Picture
from api.verdicts import Outcome, holm, interval, verdict, welch
from models import jobs, registry, requests
from models.jobs import Job, Status
from models.studies import Study
from tests.api.conftest import submit as submit_job
from tests.factories.runs import Figures, finish_queued

KNOWN = {"sgd": [0.50, 0.52, 0.51], "adam": [0.90, 0.91, 0.92], "rmsprop": [0.91, 0.89, 0.93]}


def submit(client: TestClient, **fields: Any) -> dict[str, Any]:
    answer = client.post("/v1/studies", json=study(**fields))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/studies/{found['id']}"
    return found


def study(**fields: Any) -> dict[str, Any]:
    return {"base": {"dataset": "digits", "epochs": 3}, "vary": {"/optimizer": ["sgd", "adam", "rmsprop"]}, **fields}


def work(room: Room, figures: Figures, study_id: str) -> None:
    """Look and work until the study has ended."""
    for _ in range(200):
        room.coordinator.look()
        if not finish_queued(room.database, figures):
            with room.database.read() as session:
                if not session.scalars(select(Job).where(Job.study_id == study_id, Job.status == "queued")).first():
                    return
    raise AssertionError("the study does not end")


def known(job: Job) -> list[float]:
    value = KNOWN[job.spec["optimizer"]["type"]][job.repeat or 0]
    return [value / 2, value - 0.05, value]


def test_a_study_from_its_spec_to_its_verdict(client: TestClient, room: Room) -> None:
    made = submit(client, name="which", tags=["a"], repeats=3, parallel=4)
    url = f"/v1/studies/{made['id']}"
    assert (made["status"], made["is_terminal"], made["objective"]) == ("running", False, "val_accuracy")
    assert made["spec"]["base"] == {"dataset": "digits", "epochs": 3}
    assert made["base"]["optimizer"]["type"] == "adam"
    assert made["progress"] == {"runs": {"done": 0, "total": 9}, "trials": {"done": 0, "total": 3}}
    assert [trial["label"] for trial in made["trials"]] == ["sgd", "adam", "rmsprop"]
    assert (made["best"], made["verdict"]) == (None, ["So far 0 of 3 settings have ended."])
    work(room, known, made["id"])
    done = client.get(url).json()
    assert (done["status"], done["is_terminal"]) == ("succeeded", True)
    assert done["progress"] == {"runs": {"done": 9, "total": 9}, "trials": {"done": 3, "total": 3}}
    first = done["trials"][0]
    assert (first["number"], first["setting"], first["status"]) == (1, {"/optimizer": "sgd"}, "succeeded")
    assert (first["mean"], first["standard_deviation"]) == (pytest.approx(0.51), pytest.approx(0.01))
    # The quantile of Student's t with 2 degrees of freedom for 95 % is 4.3027, by any table.
    half = 4.3027 * 0.01 / 3**0.5
    assert first["interval"] == [pytest.approx(0.51 - half, abs=1e-5), pytest.approx(0.51 + half, abs=1e-5)]
    assert [(run["repeat"], run["fold"], run["status"], run["value"]) for run in first["runs"]] == [
        (0, None, "succeeded", 0.50),
        (1, None, "succeeded", 0.52),
        (2, None, "succeeded", 0.51),
    ]
    best_run = client.get(f"/v1/jobs/{done['best']['job_id']}").json()
    assert (done["best"]["label"], best_run["study_id"], best_run["trial"]) == ("adam", made["id"], 2)
    assert (best_run["repeat"], best_run["spec"]["seed"], best_run["name"]) == (2, 2, "which: adam (run 3 of 3)")
    assert best_run["spec"]["model"] == done["model"]
    assert done["verdict"][1:] == [
        "adam (0.91 ± 0.02) and rmsprop (0.91 ± 0.05) cannot be told apart with 3 runs each (p = 1.00).",
        "adam (0.91 ± 0.02) is better than sgd (0.51 ± 0.02): the difference is larger than the noise (p < 0.001).",
    ]


def test_a_running_study_shows_how_far_it_is(client: TestClient, room: Room) -> None:
    made = submit(client, repeats=2, parallel=3)
    room.coordinator.look()
    finish_queued(room.database, known)
    view = client.get(f"/v1/studies/{made['id']}").json()
    assert view["progress"]["runs"] == {"done": 3, "total": 6}
    second = view["trials"][1]
    assert (second["status"], second["mean"], second["interval"]) == ("running", 0.90, None)
    head = client.get("/v1/studies").json()["data"][0]
    assert head["progress"] == view["progress"]
    assert "trials" not in head


def test_a_failed_run_leaves_its_setting_without_a_value_and_says_why(client: TestClient, room: Room) -> None:
    made = submit(client, repeats=3, parallel=9)
    work(room, lambda job: None if (job.trial, job.repeat) == (2, 1) else known(job), made["id"])
    done = client.get(f"/v1/studies/{made['id']}").json()
    trial = done["trials"][1]
    assert (done["status"], trial["status"], trial["mean"], trial["interval"]) == ("succeeded", "failed", None, None)
    assert trial["problem"] == trial["runs"][1]["reason"].join(["run 2: ", ""])
    assert done["best"]["label"] == "rmsprop"
    assert done["verdict"][-1] == "adam has no result: not every run succeeded."


def test_one_run_a_setting_says_nothing_about_noise(client: TestClient, room: Room) -> None:
    made = submit(client, parallel=3)
    work(room, known, made["id"])
    said = client.get(f"/v1/studies/{made['id']}").json()["verdict"]
    assert said[0] == "rmsprop has the best val_accuracy, 0.91; the next is adam with 0.9."
    assert "nothing can be said about the noise" in said[1]


def test_runs_go_to_a_model_of_their_own_unless_one_is_named(client: TestClient, room: Room) -> None:
    own = submit(client, name="mnist")
    named = submit(client, base={"dataset": "digits", "model": "mine"})
    room.coordinator.look()
    for made, model in ((own, own["id"].lower()), (named, "mine")):
        assert made["model"] == model
        [job] = client.get("/v1/jobs", params={"study": made["id"]}).json()["data"]
        assert job["spec"]["model"] == model
        assert job["links"]["study"] == f"/v1/studies/{made['id']}"
    assert submit_job(client)["study_id"] is None
    assert len(client.get("/v1/jobs").json()["data"]) == 3


def test_lists_are_newest_first_and_paged(client: TestClient) -> None:
    made = [submit(client, name=str(n))["id"] for n in range(5)]
    client.post(f"/v1/studies/{made[0]}/cancel")
    first = client.get("/v1/studies", params={"limit": 3}).json()
    rest = client.get("/v1/studies", params={"limit": 3, "after": first["next"]}).json()
    assert [one["id"] for one in first["data"] + rest["data"]] == made[::-1]
    assert rest["next"] is None
    cancelled = client.get("/v1/studies", params={"status": "cancelled"}).json()["data"]
    assert [one["id"] for one in cancelled] == [made[0]]
    assert client.get("/v1/studies", params={"status": "queued"}).status_code == 422


def test_cancel_ends_what_waits_and_asks_what_runs(client: TestClient, room: Room) -> None:
    made = submit(client, parallel=2)
    room.coordinator.look()
    listed = client.get("/v1/jobs", params={"study": made["id"]}).json()["data"]
    with room.database.write() as session:
        assert jobs.claim(session, listed[-1]["id"], "w1")
    waiting = f"jobs/{listed[0]['id']}/1/checkpoints/1.npz"
    with room.database.write() as session:
        assert jobs.claim(session, listed[0]["id"], "w2")
        assert jobs.move(session, listed[0]["id"], Status.QUEUED)
    room.store.write(waiting, b"of an earlier attempt")
    url = f"/v1/studies/{made['id']}/cancel"
    answer = client.post(url)
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    assert {trial["status"] for trial in answer.json()["trials"]} == {"cancelled"}
    found = client.get("/v1/jobs", params={"study": made["id"]}).json()["data"]
    assert [(job["status"], job["requested"]) for job in found] == [("cancelled", None), ("running", "cancel")]
    with pytest.raises(OSError, match="checkpoints"):
        room.store.read(waiting)
    assert client.post(url).status_code == 200
    room.coordinator.look()
    assert len(client.get("/v1/jobs", params={"study": made["id"]}).json()["data"]) == 2


def test_a_cancelled_study_tells_what_really_ended(client: TestClient, room: Room) -> None:
    made = submit(client, repeats=2, parallel=3)
    room.coordinator.look()
    finish_queued(room.database, known)
    room.coordinator.look()  # the first setting is settled, one run of the second has ended
    view = client.post(f"/v1/studies/{made['id']}/cancel").json()
    existing = client.get("/v1/jobs", params={"study": made["id"]}).json()["data"]
    assert view["progress"] == {"runs": {"done": len(existing), "total": 6}, "trials": {"done": 1, "total": 3}}
    assert view["verdict"][0] == "The study was cancelled; 1 of 3 settings had ended."
    assert client.get("/v1/studies").json()["data"][0]["progress"] == view["progress"]


def test_a_large_study_cancelled_at_once_has_done_nothing(client: TestClient, room: Room) -> None:
    room.coordinator.rounds.stop()
    made = submit(client, vary={"/epochs": list(range(1, 101))}, repeats=3)
    view = client.post(f"/v1/studies/{made['id']}/cancel").json()
    assert view["progress"] == {"runs": {"done": 0, "total": 300}, "trials": {"done": 0, "total": 100}}
    assert view["verdict"] == ["The study was cancelled; 0 of 100 settings had ended."]


def test_a_search_without_a_valid_setting_says_so(client: TestClient, room: Room) -> None:
    vary = {"/optimizer": ["adam", "sgd"], "/optimizer/momentum": {"low": 0.1, "high": 0.9}}
    for seed in range(20):
        made = submit(client, vary=vary, sampler="random", trials=1, seed=seed)
        work(room, known, made["id"])
        view = client.get(f"/v1/studies/{made['id']}").json()
        if view["trials"][0]["setting"]["/optimizer"] == "adam":
            break
    [said] = view["verdict"]
    assert said.startswith("No setting made a valid spec: ")
    assert "momentum" in said


def test_a_setting_that_was_drawn_twice_is_not_compared_with_itself() -> None:
    twice = [Outcome(n, "a", (0.9, 0.8), '{"/epochs": 1}') for n in (1, 2)]
    assert "nothing to compare it with" in verdict(twice, "val_accuracy", True, 2)[-1]
    said = verdict([*twice, Outcome(3, "b", (0.1, 0.2), '{"/epochs": 2}')], "val_accuracy", True, 3)
    assert len(said) == 2
    assert "b (" in said[1]


def test_a_study_that_ended_cannot_be_cancelled(client: TestClient, room: Room) -> None:
    made = submit(client, parallel=3)
    work(room, known, made["id"])
    refused = client.post(f"/v1/studies/{made['id']}/cancel")
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "The study has succeeded: there is nothing to cancel.",
    )


def test_all_runs_start_from_the_weights_that_were_meant_at_first(client: TestClient, room: Room) -> None:
    def version() -> None:
        job_id = submit_job(client)["id"]
        made = registry.ModelVersion(name="digits", job_id=job_id, dataset="digits", parameters=1, class_count=10)
        made.serving, made.test_accuracy = {}, 0.5
        with room.database.write() as session:
            registry.add_version(session, made)
            requests.request_cancel(session, job_id, keep_model=False)

    version()
    from_model = {"model": "digits"}
    base = submit(client, base={"dataset": "digits", "initial_weights": from_model}, parallel=1)
    listed = submit(client, vary={"/initial_weights": [None, from_model]}, parallel=2)
    assert base["spec"]["base"]["initial_weights"] == {"model": "digits:1"}
    assert [trial["setting"]["/initial_weights"] for trial in listed["trials"]] == [None, {"model": "digits:1"}]
    version()
    room.coordinator.look()
    [job] = client.get("/v1/jobs", params={"study": base["id"]}).json()["data"]
    assert job["spec"]["initial_weights"] == {"model": "digits:1"}
    for fields, pointer in (
        ({"base": {"dataset": "digits", "initial_weights": {"model": "no"}}}, "/base/initial_weights/model"),
        ({"vary": {"/initial_weights": [None, {"model": "no"}]}}, "/vary/~1initial_weights/1/model"),
    ):
        refused = client.post("/v1/studies", json=study(**fields))
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]


def test_an_unknown_id_is_404(client: TestClient) -> None:
    for study_id in ("study_0", "%00", "😀", "a" * 3000):
        for path in ("", "/curves.png"):
            assert client.get(f"/v1/studies/{study_id}{path}").status_code == 404
        assert client.post(f"/v1/studies/{study_id}/cancel").status_code == 404


BAD: list[tuple[bytes, str | None]] = [
    (b'{"vary": {"/seed": [1]}}', "/base"),
    (b"[]", ""),
    (b'{"base": {"dataset": "digits"}, "vary": {"/seed": [NaN]}}', ""),
    (b'{"base": {"dataset": "digits"}, "vary": {"/optimizer/learning_rate": [1e999]}}', None),
    (b'{"base": {"dataset": "digits"}, "vary": {"/seed": {"low": 0, "high": 1e999}}, "sampler": "tpe"}', None),
    (b'{"base": {"dataset": "digits"}, "vary": {"/seed": [1' + b"0" * 400 + b"]}}", None),
    (b'{"base": {"dataset": "digits"}, "vary": {"/name": ["a\\u0000"]}}', "/vary/~1name/0"),
    (b'{"base": {"dataset": "digits"}, "vary": {"/\\u0000": [1]}}', None),
    (b'{"base": {"dataset": "digits"}, "vary": {"/notes": [' + b"[" * 90 + b"]" * 90 + b"]}}", None),
    (b'{"base": {"dataset": "digits"}, "vary": {"/optimizer": ["adm"]}}', "/vary/~1optimizer/0"),
]


def test_a_bad_study_is_422_and_writes_nothing(client: TestClient) -> None:
    for body, pointer in BAD:
        answer = client.post("/v1/studies", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (body, answer.text)
        [error] = answer.json()["errors"]
        right = error["pointer"] == pointer if pointer is not None else error["pointer"].startswith("/vary")
        assert right, (body, error)
    assert client.get("/v1/studies").json()["data"] == []


def test_a_thousand_settings_are_taken_quickly(client: TestClient, room: Room) -> None:
    # The coordinator must not share the processor meanwhile.
    room.coordinator.rounds.stop()
    vary = {"/optimizer/learning_rate": [n / 1000 for n in range(1, 101)], "/batch_size": list(range(16, 26))}
    began = time.perf_counter()
    made = submit(client, vary=vary, repeats=3)
    seconds = time.perf_counter() - began
    assert len(made["trials"]) == 1000
    assert made["progress"]["runs"]["total"] == 3000
    assert seconds < 10  # about 0.5 s on a quiet machine


def test_a_plot_can_be_had_at_any_time(client: TestClient, room: Room) -> None:
    made = submit(client, name="$x_1$ 數字", parallel=2, repeats=2)
    url = f"/v1/studies/{made['id']}/curves.png"
    sizes = []
    for step in ("nothing measured yet", "some", "all"):
        if step == "some":
            room.coordinator.look()
            finish_queued(room.database, known)
        if step == "all":
            work(room, known, made["id"])
        answer = client.get(url)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        with Image.open(io.BytesIO(answer.content)) as picture:
            sizes.append(len(set(picture.convert("P").tobytes())))
    assert sizes[0] <= sizes[1]


def test_a_legend_tells_long_labels_apart(client: TestClient, room: Room) -> None:
    decay = {"type": "inverse_time_decay", "initial_learning_rate": 1.0, "decay_steps": 1}
    rates = [{"type": "sgd", "learning_rate": decay | {"decay_rate": rate}} for rate in (0.1, 0.01)]
    made = submit(client, vary={"/optimizer": rates}, parallel=2)
    room.coordinator.look()
    finish_queued(room.database, lambda job: [0.5])
    with room.database.read() as session:
        picture = study_curves.gather(session, session.get_one(Study, made["id"]))
    assert len({line.legend for line in picture.lines}) == 2


def lines(count: int) -> list[Line]:
    def curve(n: int, run: int) -> list[tuple[int, float]]:
        return [(epoch, 1 - 1 / (epoch + n / 4 + run / 50)) for epoch in range(1, 21)]

    return [
        Line(f"setting number {n}  0.900 ± 0.001", {name: [curve(n, r) for r in range(3)] for name in ("a", "loss")})
        for n in range(count)
    ]


def painted(data: bytes) -> set[tuple[int, ...]]:
    """The colours that cover more than a few pixels of a picture."""
    with Image.open(io.BytesIO(data)) as picture:
        found = picture.convert("RGB").getcolors(2**24)
    return {colour for count, colour in found or () if count > 30 and isinstance(colour, tuple)}


@pytest.mark.parametrize(("count", "coloured"), [(10, 10), (30, 30), (31, 15)])
def test_each_setting_has_a_colour_of_its_own_up_to_thirty(count: int, coloured: int) -> None:
    data = study_curves.draw(Picture("t", ("a", "loss"), True, lines(count), None))
    wanted = {tuple(round(255 * part) for part in colour) for colour, _ in study_curves.styles(coloured)}
    assert len(wanted) == coloured
    assert len(wanted & painted(data)) == coloured


def test_a_search_is_drawn_trial_by_trial() -> None:
    plain = study_curves.draw(Picture("t", ("a", "loss"), True, lines(3), None))
    search = study_curves.draw(Picture("t", ("a", "loss"), False, lines(3), [(1, 0.5), (2, 0.7), (3, 0.4)]))
    empty = study_curves.draw(Picture("t", ("a", "loss"), False, [], []))
    with Image.open(io.BytesIO(plain)) as two, Image.open(io.BytesIO(search)) as three, Image.open(io.BytesIO(empty)):
        assert three.width > two.width * 1.2


def test_the_statistics_are_those_of_scipy() -> None:
    a, b = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0]
    stats = importlib.import_module("scipy.stats")
    assert welch(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue)
    assert interval(a) == pytest.approx(stats.t.interval(0.95, 5, loc=np.mean(a), scale=stats.sem(a)))
    assert interval([0.5]) is None


def test_runs_that_agree_in_every_digit_have_no_noise() -> None:
    assert welch([0.5, 0.5], [0.5, 0.5]) == 1.0
    assert welch([0.5, 0.5], [0.6, 0.6]) == 0.0


def test_holm_multiplies_the_smallest_most_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize("rising", [True, False])
def test_a_long_verdict_is_summed_up(rising: bool) -> None:
    outcomes = [Outcome(n, f"s{n}", (n / 50, n / 50 + 0.001, n / 50 + 0.002)) for n in range(1, 51)]
    said = verdict([*outcomes, Outcome(51, "x", ())], "val_loss", rising, 60)
    assert len(said) <= 20
    assert said[0] == "So far 51 of 60 settings have ended."
    assert said[2].startswith("s50" if rising else "s1 ")
    assert "Of 33 further settings, 33 are worse" in said[-2]
