"""What was noticed about a job is read, and its remedy applied, to the job while that can be and else as a new one."""

from concurrent.futures import ThreadPoolExecutor
from math import inf, nan
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.deps import Room
from api.main import create_app
from models import jobs
from models.diagnoses import Diagnosis, Finding, LayerSigns, LayerStatistics, Verdict, record_signs
from models.jobs import Job, Status
from models.settings import Settings
from tests.api.conftest import LOCAL, add_version, claim, submit
from tests.api.key_holders import ROOT, make
from tests.api.key_holders import submit as submit_by

SLOW = Finding(
    epoch=2,
    verdict="learning_rate_too_low",
    evidence={"learning_rate": 1e-7, "update_ratio": [1e-9, inf]},
    sentence="The steps are too small to get anywhere.",
    advice="A rate of 0.001, ten thousand times as large.",
    patch={"/optimizer/learning_rate": 0.001},
    live={"learning_rate": 0.001},
)
NARROW = Finding(
    epoch=3,
    verdict="too_little_capacity",
    evidence={"units": 1},
    sentence="One unit in the middle lets too little through.",
    advice="64 units instead of one.",
    patch={"/network/layers/1/units": 64},
)
LAYERS = [LayerSigns("dense", inf, 2.0, 0.001, dead_share=0.25), LayerSigns("dense_1", 0.5, nan, 0.002)]
DEEP = [{"type": "flatten"}, *[{"type": "dense", "units": 10_000}] * 2, {"type": "dense", "units": 10}]
NETWORK = {"layers": [{"type": "flatten"}, {"type": "dense", "units": 1}, {"type": "dense", "units": 10}]}


def noticed(room: Room, job_id: str, *findings: Finding, epochs: int = 3) -> None:
    """Have a worker take the job, look at it after each of some epochs, and find something or nothing."""
    attempt = claim(room, job_id).attempt
    with room.database.write() as session:
        assert record_signs(session, job_id, attempt, dict.fromkeys(range(1, epochs + 1), LAYERS), findings)


def end(room: Room, job_id: str, status: Status = Status.SUCCEEDED) -> None:
    with room.database.write() as session:
        assert jobs.move(session, job_id, status)


def apply(client: TestClient, job_id: str, number: int = 1, status: int = 201, **sent: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/jobs/{job_id}/diagnosis/{number}/apply", **sent)
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ill(client: TestClient, room: Room, *findings: Finding, **spec: Any) -> str:
    """A running job about which something was found."""
    job_id: str = submit(client, network=NETWORK, **spec)["id"]
    noticed(room, job_id, *findings)
    return job_id


def test_nothing_is_said_of_what_was_not_looked_at(client: TestClient, room: Room) -> None:
    job_id = submit(client)["id"]
    path = f"/v1/jobs/{job_id}/diagnosis"
    empty: dict[str, Any] = {"verdict": None, "data": [], "epochs": [], "next": None}
    assert client.get(path).json() == empty | {"text": "It has not been looked at yet."}
    end(room, job_id, Status.CANCELLED)
    assert client.get(path).json()["text"] == "It ended before it was looked at."
    other = submit(client, kind="gradient_check")["id"]
    assert "gradient_check does not learn" in client.get(f"/v1/jobs/{other}/diagnosis").json()["text"]


def test_a_healthy_job_is_called_so_as_far_as_it_was_looked_at(client: TestClient, room: Room) -> None:
    job_id = ill(client, room)
    seen = client.get(f"/v1/jobs/{job_id}/diagnosis").json()
    assert (seen["verdict"], seen["data"]) == (None, [])
    assert seen["text"] == "Nothing that would keep it from learning was noticed up to epoch 3."
    assert [epoch["epoch"] for epoch in seen["epochs"]] == [1, 2, 3]
    assert seen["epochs"][0]["layers"] == [
        {
            "layer": "dense",
            "gradient_norm": None,
            "weight_norm": 2.0,
            "update_ratio": 0.001,
            "dead_share": 0.25,
            "saturated_share": None,
        },
        {
            "layer": "dense_1",
            "gradient_norm": 0.5,
            "weight_norm": None,
            "update_ratio": 0.002,
            "dead_share": None,
            "saturated_share": None,
        },
    ]


def test_many_epochs_come_page_by_page(client: TestClient, room: Room) -> None:
    path = f"/v1/jobs/{ill(client, room, SLOW)}/diagnosis"
    first = client.get(path, params={"limit": 2}).json()
    assert ([epoch["epoch"] for epoch in first["epochs"]], first["next"]) == ([1, 2], "2")
    second = client.get(path, params={"limit": 2, "after_epoch": first["next"]}).json()
    assert ([epoch["epoch"] for epoch in second["epochs"]], second["next"]) == ([3], None)
    assert second["data"] == first["data"]


def test_findings_are_told_in_order_and_as_events(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, SLOW, NARROW)
    seen = client.get(f"/v1/jobs/{job_id}/diagnosis").json()
    assert (seen["verdict"], seen["text"]) == (SLOW.verdict, SLOW.sentence)
    first, second = seen["data"]
    evidence = {"learning_rate": 1e-7, "update_ratio": [1e-9, "inf"]}
    told: dict[str, Any] = {
        "number": 1,
        "epoch": 2,
        "verdict": SLOW.verdict,
        "sentence": SLOW.sentence,
        "advice": SLOW.advice,
    }
    told |= {"patch": SLOW.patch, "live": SLOW.live, "evidence": evidence}
    assert first == told | {"at": first["at"], "applied": None}
    assert (second["number"], second["live"]) == (2, None)
    events = client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "application/json"}).json()["data"]
    [event, _] = [event for event in events if event["type"] == "diagnosis"]
    assert event == told | {name: event[name] for name in ("seq", "attempt", "at")} | {"type": "diagnosis"}
    assert f"diagnosis 1 after epoch 2: {SLOW.sentence}" in client.get(f"/v1/jobs/{job_id}/log").text


def test_a_running_job_is_mended_by_a_change(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, SLOW)
    done = apply(client, job_id)
    assert done["job"] is None
    assert (done["change"]["number"], done["change"]["new"]) == (1, SLOW.live)
    assert client.get(f"/v1/jobs/{job_id}/changes").json()["data"] == [done["change"]]
    assert client.get(f"/v1/jobs/{job_id}/diagnosis").json()["data"][0]["applied"] == {"change": 1, "job": None}
    assert apply(client, job_id, status=200) == done
    assert len(client.get(f"/v1/jobs/{job_id}/changes").json()["data"]) == 1


def test_a_change_that_came_too_late_makes_room_for_a_job(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, SLOW)
    apply(client, job_id)
    end(room, job_id)
    new = apply(client, job_id)["job"]
    assert new["spec"]["optimizer"]["learning_rate"] == 0.001
    assert apply(client, job_id, status=200)["job"]["id"] == new["id"]


def test_what_no_change_can_do_a_new_job_does(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, SLOW, NARROW, name="narrow", tags=["demo"], notes="of mine", epochs=7)
    source = client.patch(f"/v1/jobs/{job_id}", json={"name": "thin", "notes": "still mine"}).json()
    answer = client.post(f"/v1/jobs/{job_id}/diagnosis/2/apply")
    done = answer.json()
    new = done["job"]
    assert (answer.status_code, done["change"]) == (201, None)
    assert answer.headers["Location"] == f"/v1/jobs/{new['id']}"
    assert (new["status"], new["name"], new["tags"]) == ("queued", "thin, mended", ["demo"])
    assert new["queue"]["position"] is not None
    for part in (f"Diagnosis 2 (too little capacity, after epoch 3) of {job_id}", NARROW.advice, "still mine"):
        assert part in new["notes"]
    layers = [layer | {"units": 64} if n == 1 else layer for n, layer in enumerate(source["spec"]["network"]["layers"])]
    expected = source["spec"] | {"network": source["spec"]["network"] | {"layers": layers}}
    assert new["spec"] | {"name": "", "notes": ""} == expected | {"name": "", "notes": ""}
    assert apply(client, job_id, 2, status=200)["job"]["id"] == new["id"]
    applied = client.get(f"/v1/jobs/{job_id}/diagnosis").json()["data"]
    assert [each["applied"] for each in applied] == [None, {"change": None, "job": new["id"]}]


def test_what_follows_from_other_fields_follows_the_patch(client: TestClient, room: Room) -> None:
    network = {"layers": [*NETWORK["layers"][:2], {"type": "dense", "units": 10, "activation": "softmax"}]}
    job_id = submit(client, network=network)["id"]
    noticed(room, job_id, Finding(1, "dead_units", {}, "s", "a", {"/network/layers/2/activation": "linear"}))
    assert client.get(f"/v1/jobs/{job_id}").json()["spec"]["loss"]["from_logits"] is False
    assert apply(client, job_id)["job"]["spec"]["loss"]["from_logits"] is True


def test_a_job_is_made_where_one_is_wanted(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, SLOW)
    apply(client, job_id)
    new = apply(client, job_id, params={"as": "job"})
    assert (new["change"], new["job"]["spec"]["optimizer"]["learning_rate"]) == (None, 0.001)
    assert apply(client, job_id, params={"as": "job"}, status=200)["job"]["id"] == new["job"]["id"]
    assert apply(client, job_id, status=200)["change"]["number"] == 1
    applied = client.get(f"/v1/jobs/{job_id}/diagnosis").json()["data"][0]["applied"]
    assert applied == {"change": 1, "job": new["job"]["id"]}


def test_only_a_job_that_goes_on_is_changed(client: TestClient, room: Room) -> None:
    paused, cancelled, ended = (ill(client, room, SLOW) for _ in range(3))
    end(room, paused, Status.PAUSED)
    client.post(f"/v1/jobs/{cancelled}/cancel")
    end(room, ended, Status.FAILED)
    assert apply(client, paused)["change"]["new"] == SLOW.live
    for job_id in (cancelled, ended):
        assert apply(client, job_id)["job"]["spec"]["optimizer"]["learning_rate"] == 0.001


def test_a_change_that_does_not_fit_becomes_a_job(client: TestClient, room: Room) -> None:
    stop = Finding(1, "overfitting", {}, "s", "a", {"/epochs": 9}, live={"early_stopping": {"patience": 1}})
    assert apply(client, ill(client, room, stop))["job"]["spec"]["epochs"] == 9


def test_a_deleted_job_is_made_anew(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, NARROW)
    new = apply(client, job_id)["job"]["id"]
    client.post(f"/v1/jobs/{new}/cancel")
    assert client.delete(f"/v1/jobs/{new}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}/diagnosis").json()["data"][0]["applied"] is None
    assert apply(client, job_id)["job"]["id"] != new


def test_a_patch_that_makes_no_job_is_refused_with_the_reason(client: TestClient, room: Room) -> None:
    patches: dict[Verdict, tuple[str, dict[str, Any]]] = {
        "dead_units": ("no entry 9", {"/network/layers/9/units": 3}),
        "overfitting": ("Received: units=-3", {"/network/layers/1/units": -3}),
        "too_little_capacity": ("107960010", {"/network/layers": DEEP}),
    }
    job_id = ill(client, room, *(Finding(1, verdict, {}, "s", "a", patch) for verdict, (_, patch) in patches.items()))
    for number, (told, _) in enumerate(patches.values(), start=1):
        assert told in apply(client, job_id, number, status=409)["detail"]
    assert {row["applied"] for row in client.get(f"/v1/jobs/{job_id}/diagnosis").json()["data"]} == {None}
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_what_the_job_began_from_must_be_there_still(client: TestClient, room: Room) -> None:
    number = add_version(room, 1)
    layers = [{"type": "flatten"}, {"type": "dense", "units": 10}]
    with room.database.write() as session:
        source = session.scalars(select(Job)).one()
        source.spec = source.spec | {"network": {"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]}}
    job_id = submit(client, network={"layers": layers}, initial_weights={"model": "digits"})["id"]
    noticed(room, job_id, SLOW)
    end(room, job_id)
    first = apply(client, job_id)["job"]
    assert first["spec"]["initial_weights"]["model"] == f"digits:{number}"
    assert client.post(f"/v1/jobs/{first['id']}/cancel").is_success
    assert client.delete(f"/v1/jobs/{first['id']}").is_success
    assert client.delete(f"/v1/models/digits/versions/{number}").status_code == 204
    assert "no such model or version" in apply(client, job_id, status=409)["detail"]


def test_what_is_not_there_is_not_applied(client: TestClient, room: Room) -> None:
    apply(client, "job_X", status=404)
    apply(client, ill(client, room, SLOW), 2, status=404)


def test_a_full_queue_or_disk_takes_no_job_but_a_change(
    client: TestClient, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = ill(client, room, SLOW, NARROW)
    submit(client)
    monkeypatch.setattr(room.queue_watch, "_settings", room.settings.model_copy(update={"max_queued": 1}))
    assert "TRAINYARD_MAX_QUEUED" in apply(client, job_id, 2, status=429)["detail"]
    monkeypatch.setattr(room.disk, "problem", lambda: "The disk is nearly full.")
    apply(client, job_id, 2, status=507)
    assert apply(client, job_id)["change"] is not None


def test_two_at_once_make_one(settings: Settings, database_url: str) -> None:
    app = create_app(Settings(**(settings.model_dump() | {"database_url": database_url})))
    with TestClient(app, base_url=LOCAL) as client, ThreadPoolExecutor(4) as pool:
        # The framework works out a route when it is first met, which must not be in several threads.
        apply(client, "job_X", status=404)
        job_id = ill(client, app.state.room, NARROW)
        path = f"/v1/jobs/{job_id}/diagnosis/1/apply"
        answers = list(pool.map(lambda _: client.post(path), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["job"]["id"] for answer in answers}) == 1


def test_an_answer_that_did_not_come_is_asked_for_by_its_key(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, NARROW)
    headers = {"Idempotency-Key": "monday"}
    first = client.post(f"/v1/jobs/{job_id}/diagnosis/1/apply", headers=headers)
    again = client.post(f"/v1/jobs/{job_id}/diagnosis/1/apply", headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    other = client.post(f"/v1/jobs/{job_id}/diagnosis/1/apply", params={"as": "job"}, headers=headers)
    assert other.status_code == 422


def test_a_new_job_is_of_whom_the_first_one_is(locked: TestClient, locked_room: Room) -> None:
    ada, bob = make(locked, "ada"), make(locked, "bob")
    job_id = submit_by(locked, ada, network=NETWORK)["id"]
    noticed(locked_room, job_id, NARROW)
    assert apply(locked, job_id, status=404, headers=bob)["title"] == "Not Found"
    assert apply(locked, job_id, headers=ROOT)["job"]["owner"] == "ada"
    reading = make(locked, "ada", "read")
    assert locked.get(f"/v1/jobs/{job_id}/diagnosis", headers=reading).status_code == 200
    assert apply(locked, job_id, status=403, headers=reading)


def test_of_a_run_of_a_study_a_job_by_itself_is_made(client: TestClient, room: Room) -> None:
    study = client.post("/v1/studies", json={"base": {"dataset": "digits", "network": NETWORK}, "vary": {"/seed": [1]}})
    room.coordinator.look()
    run = client.get("/v1/jobs", params={"study": study.json()["id"]}).json()["data"][0]
    noticed(room, run["id"], NARROW)
    new = apply(client, run["id"])["job"]
    assert (run["study_id"], new["study_id"], new["trial"]) == (study.json()["id"], None, None)


def test_with_the_job_goes_what_was_noticed(client: TestClient, room: Room) -> None:
    job_id = ill(client, room, SLOW)
    end(room, job_id)
    new = apply(client, job_id)["job"]["id"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    with room.database.read() as session:
        for table in (Diagnosis, LayerStatistics):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    assert client.get(f"/v1/jobs/{new}").status_code == 200
