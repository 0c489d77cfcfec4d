"""Model cards: what they say is what is recorded, and no value of a user's can break them; pictures of evaluations."""

import io
import json
import re
import zipfile
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from api import evaluation_pictures
from api.card_figures import limits, wilson
from api.card_subject import Links, Subject
from api.card_text import card
from api.deps import Room
from api.markdown import UNSEEN, escaped, fenced, front_matter
from models import jobs, registry
from models.history import Change, EpochResult, Evaluation
from models.jobs import Job, Status
from models.registry import ModelVersion
from models.spec import JobSpec, parse_spec
from models.spec.data import class_labels_of
from tests.api.conftest import LOCAL, claim, submit

PARSER = MarkdownIt("commonmark").enable("table")
SECTIONS = [
    *["What it is for", "How to ask it", "Data", "Network", "Training", "Figures", "Limits", "Plots", "Files"],
    "How to repeat it",
]
NETWORK_SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
SHA = "ab" * 32


def classification(matrix: list[list[int]], names: list[str], mistake: float = 0.97) -> dict[str, Any]:
    count = len(matrix)
    classes = []
    for n, name in enumerate(names):
        hits, answered, present = matrix[n][n], sum(row[n] for row in matrix), sum(matrix[n])
        recall, precision = hits / present if present else None, hits / answered if answered else None
        f1 = 2 * hits / (answered + present) if answered + present else None
        figures = {"precision": precision, "recall": recall, "f1": f1, "support": present}
        classes.append({"label": n, "class_name": name, **figures})
    worst = [{"index": 1234, "label": 0, "predicted": count - 1, "probability": mistake}]
    return {"kind": "classification", "confusion_matrix": matrix, "classes": classes, "worst_mistakes": worst}


def digits(**more: Any) -> dict[str, Any]:
    """Ten classes of 30 test examples; of the sixes ten are taken for zeros, of the others one is for its neighbour."""
    matrix = [[29 if n == m else int(m == (n + 1) % 10) for m in range(10)] for n in range(10)]
    matrix[6] = [10, 0, 0, 0, 0, 0, 20, 0, 0, 0]
    return classification(matrix, [str(n) for n in range(10)]) | more


def regression(r2: float | None = 0.9, examples: int = 5) -> dict[str, Any]:
    points = [{"x": float(n), "truth": n / 2, "predicted": n / 2 + 0.1} for n in range(examples)]
    residuals = {"mean": -0.1, "standard_deviation": 0.2, "quantiles": {"0": -0.5, "0.5": -0.1, "1": 0.25}}
    histogram = {"histogram": {"edges": [-0.5, 0.0, 0.25], "counts": [3, 2]}}
    return {"kind": "regression", "residuals": residuals | histogram, "r2": r2, "examples": points}


def subject_of(spec: JobSpec, details: dict[str, Any], **changes: Any) -> Subject:
    """A finished job of this spec as rows without a database; `changes` go into the job."""
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    measured = {"loss": 0.25} | ({"accuracy": 0.9} if "confusion_matrix" in details else {})
    fields: dict[str, Any] = {"name": spec.name, "notes": spec.notes, "tags": list(spec.tags), "owner": None}
    fields |= {"kind": spec.kind, "spec": spec.model_dump(mode="json"), "status": Status.SUCCEEDED, "epoch": 1}
    fields |= {"epochs": spec.planned_epochs, "evaluation": measured, "execution": None, "started_at": None}
    job = Job(id="job_1", **fields | changes)
    version = ModelVersion(
        name=spec.model,
        version=1,
        job_id="job_1",
        parameters=7,
        created_at=at,
        serving=registry.serving_of(spec),
        data_sha256=None,
        libraries=None,
        test_accuracy=measured.get("accuracy"),
    )
    return Subject(version, job, spec, details, files=[], called=["champion"], ended=None)


def finish(
    client: TestClient, room: Room, evaluation: dict[str, Any], data_sha256: str | None = SHA, **fields: Any
) -> str:
    """Play the worker for a job of this spec and give the path of the version that it becomes."""
    job_id = submit(client, **fields)["id"]
    job = claim(room, job_id)
    spec = JobSpec.model_validate(job.spec)
    accuracy = 0.94 if "confusion_matrix" in evaluation else None
    measured = {"loss": 0.25} | ({} if accuracy is None else {"accuracy": accuracy})
    stored = room.store.write(f"jobs/{job_id}/1/network.svg", NETWORK_SVG)
    facts: dict[str, Any] = {
        "dataset": spec.dataset.name,
        "test_accuracy": accuracy,
        "test_loss": 0.25,
        "parameters": 7,
    }
    facts |= {"class_count": len(class_labels_of(spec.dataset)), "serving": registry.serving_of(spec)}
    facts |= {"data_sha256": data_sha256, "libraries": data_sha256 and {"keras": "3.15.1", "python": "3.11.7"}}
    with room.database.write() as session:
        if spec.kind == "train":
            registry.add_artifacts(session, job_id, {"network.svg": stored})
            epoch = EpochResult(1, 0.1, 0.001, {"loss": 0.3})
            assert jobs.record_epochs(session, job_id, 1, [epoch], epoch)
        session.add(Evaluation(job_id=job_id, data=measured | evaluation))
        version = registry.add_version(session, ModelVersion(name=spec.model, job_id=job_id, **facts))
        named: dict[str, Any] = {"model_name": version.name, "model_version": version.version, "evaluation": measured}
        assert jobs.move(session, job_id, Status.SUCCEEDED, by_attempt=1, reason="early stopping", **named)
    return f"/v1/models/{version.name}/versions/{version.version}"


def parts(text: str) -> tuple[Any, list[Any]]:
    """The front matter as values, and the tokens of the rest."""
    front, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return yaml.safe_load(front), PARSER.parse(body)


def shown(tokens: list[Any]) -> list[str]:
    """The text of each paragraph, heading and cell, without its markup."""
    inline = [token.children for token in tokens if token.type == "inline"]
    return ["".join(child.content for child in children) for children in inline]


def shape(tokens: list[Any]) -> list[str]:
    """What a text is made of, block by block and within each line, without the words."""
    inner = [(child.type for child in token.children) if token.children else [token.type] for token in tokens]
    return [kind for token in inner for kind in token]


def headings(tokens: list[Any]) -> list[str]:
    return [tokens[n + 1].content for n, token in enumerate(tokens) if token.type == "heading_open"]


def pictures(tokens: list[Any]) -> list[str]:
    inline = [child for token in tokens for child in token.children or []]
    return [str(child.attrs["src"]) for child in inline if child.type == "image"]


def test_a_card_tells_what_is_recorded(client: TestClient, room: Room) -> None:
    path = finish(client, room, digits(), name="mine", notes="for *me*", tags=["a"], optimizer="sgd", seed=3)
    assert client.put("/v1/models/digits/aliases/lab", json={"version": 1}).status_code == 200
    answer = client.get(f"{path}/card.md")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    front, tokens = parts(answer.text)
    assert (front["tags"], front["datasets"], front["metrics"]) == (
        ["trainyard", "a"],
        ["digits"],
        ["accuracy", "loss"],
    )
    assert front["pipeline_tag"] == "image-classification"
    result = front["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.94}, {"type": "loss", "value": 0.25}]
    assert headings(tokens) == ["`digits:1`", *SECTIONS]
    told = shown(tokens)
    for words in ("champion, lab", SHA, "sgd (learning_rate 0.01, momentum 0, nesterov no)", "1 of 5 planned"):
        assert words in told
    for words in ("early stopping", "1,298 examples", "144 examples, a share of 0.1 of the training set"):
        assert words in told
    assert "6 was called 0 10 times, 33.3 % of all 6" in told
    assert "Made with keras 3.15.1, python 3.11.7." in told
    blocks = [token.content for token in tokens if token.type == "fence"]
    assert "for *me*\n" in blocks
    spec = next(block for block in blocks if block.startswith("{"))
    assert parse_spec(json.loads(spec)).optimizer.learning_rate == 0.01
    assert f"URL={LOCAL}\n" in blocks[1]


def test_every_plot_of_a_card_is_there(client: TestClient, room: Room) -> None:
    path = finish(client, room, digits())
    found = pictures(parts(client.get(f"{path}/card.md").text)[1])
    assert [address.rpartition("/")[2] for address in found] == ["curves.svg", "evaluation.svg", "network.svg"]
    for address in found:
        assert address.startswith(f"{LOCAL}/v1/jobs/job_")
        assert client.get(address).headers["content-type"] == "image/svg+xml"


def test_a_zip_has_the_card_and_its_plots_and_is_the_same_again(client: TestClient, room: Room) -> None:
    path = finish(client, room, digits())
    answer = client.get(f"{path}/card.zip")
    assert answer.headers["content-disposition"] == 'attachment; filename="digits-1-card.zip"'
    assert client.get(f"{path}/card.zip").content == answer.content
    job_id = client.get(path).json()["job_id"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        text = archive.read("card.md").decode()
        assert {"card.md", *pictures(parts(text)[1])} == set(archive.namelist())
        assert archive.read("network.svg") == NETWORK_SVG
        for name in ("curves.svg", "evaluation.svg"):
            assert archive.read(name) == client.get(f"/v1/jobs/{job_id}/{name}").content
    assert not re.search(r"\]\((http|/)", text)


def test_a_damaged_plot_spoils_the_zip_alone(client: TestClient, room: Room) -> None:
    path = finish(client, room, digits())
    job_id = client.get(path).json()["job_id"]
    room.store.write(f"jobs/{job_id}/1/network.svg", b"<svg onload='...'/>")
    assert client.get(f"{path}/card.zip").status_code == 502
    assert client.get(f"{path}/card.md").status_code == 200


@pytest.mark.parametrize("path", ["digits/versions/1/card.md", "digits/versions/9999999999/card.zip"])
def test_there_is_no_card_without_a_version(client: TestClient, path: str) -> None:
    assert client.get(f"/v1/models/{path}").status_code == 404


SPIRAL = classification([[40, 30, 30], [30, 35, 35], [0, 0, 100]], ["0", "1", "2"], mistake=0.5)
CASES = [
    ({"dataset": "polynomial"}, regression(), ["curves.svg", "evaluation.svg", "network.svg"]),
    ({"dataset": "spiral"}, SPIRAL, ["curves.svg", "evaluation.svg", "network.svg"]),
    ({"dataset": {"name": "mnist", "classes": [3, 8]}}, classification([[0, 5], [0, 0]], ["3", "8"]), None),
    (
        {"network": {"layers": [{"type": "flatten"}, {"type": "dense", "units": 10}]}, "precision": "auto"},
        digits(),
        None,
    ),
]


@pytest.mark.parametrize(("spec", "evaluation", "plots"), CASES)
def test_every_kind_of_training_has_a_card(
    client: TestClient, room: Room, spec: Any, evaluation: Any, plots: Any
) -> None:
    path = finish(client, room, evaluation, data_sha256=None, **spec)
    front, tokens = parts(client.get(f"{path}/card.md").text)
    assert headings(tokens)[1:] == SECTIONS
    assert ("accuracy" in front["metrics"]) == (spec.get("dataset") != "polynomial")
    assert "not recorded" in shown(tokens)
    assert "With which libraries it was made was not recorded." in shown(tokens)
    with zipfile.ZipFile(io.BytesIO(client.get(f"{path}/card.zip").content)) as archive:
        assert len(archive.namelist()) == 4
        if plots is not None:
            assert archive.namelist() == ["card.md", *plots]


def test_the_card_of_an_ensemble_names_its_members(client: TestClient, room: Room) -> None:
    for _ in range(2):
        finish(client, room, digits())
    members = [{"model": "digits", "version": n, "loss": 0.3, "accuracy": 0.8 + n / 10} for n in (1, 2)]
    path = finish(
        client, room, digits(members=members), kind="ensemble", ensemble={"members": ["digits:1", "digits:2"]}
    )
    text = client.get(f"{path}/card.md").text
    _, tokens = parts(text)
    assert f"[`digits:2`]({LOCAL}/v1/models/digits/versions/2/card.md)" in text
    assert [address.rpartition("/")[2] for address in pictures(tokens)] == ["evaluation.svg"]
    told = shown(tokens)
    assert told[told.index("digits:2", told.index("member")) + 2] == "1.0000"
    assert "optimizer" not in told


def test_a_version_without_an_evaluation_has_a_card() -> None:
    subject = subject_of(parse_spec({"dataset": "digits"}), {}, evaluation=None)
    assert headings(parts(card(subject, Links(None)))[1])[1:] == SECTIONS
    assert subject.pictures == ["curves.svg"]


BLOCKS = ["\n```\n# x\n", "\n~~~\n", "\n---\n", "\n- ", "\n1. ", "\n\n    ", "\n| a |\n| - |\n", "\r"]
INLINE = [
    "\\",
    "`",
    "*",
    "_",
    "[",
    "](",
    "<b>",
    "&amp;",
    "$",
    ": ",
    "|",
    '"',
    "'",
    "- ",
    "# ",
    "\u2028",
    "\u202e",
    "😀",
]
FRAGMENTS = st.sampled_from(BLOCKS) | st.sampled_from(INLINE) | st.text(max_size=3)
HOSTILE = st.lists(FRAGMENTS, max_size=9).map("".join)


@given(
    HOSTILE.filter(str.strip),
    st.lists(HOSTILE.filter(str.strip), min_size=1, max_size=2, unique=True),
    HOSTILE,
    HOSTILE,
)
def test_nothing_that_a_user_writes_breaks_a_card(name: str, tags: list[str], notes: str, owner: str) -> None:
    spec = parse_spec({"dataset": "digits"})
    plain = card(subject_of(spec, {}, name="x", tags=["t"] * len(tags), notes="n", owner="o"), Links(LOCAL))
    tokens = parts(plain)[1]
    said = {"name": name, "tags": tags, "notes": f"n{notes}", "owner": f"o{owner}"}
    front, found = parts(card(subject_of(spec, {}, **said), Links(LOCAL)))
    assert [token.type for token in found] == [token.type for token in tokens]
    assert {kind for kind in shape(found) if "html" in kind} == set()
    assert shape(found).count("link_open") == shape(tokens).count("link_open")
    assert front["tags"] == ["trainyard", *(tag for tag in tags if tag != "trainyard")]


@given(HOSTILE)
def test_escaped_text_shows_its_words_and_nothing_else(text: str) -> None:
    words = " ".join(UNSEEN.sub(" ", text).split())
    for before in ("", "| a |\n| --- |\n| ", "[", "- "):
        after = {"[": "](/x)", "| a |\n| --- |\n| ": " |"}.get(before, "")
        tokens = [token for token in PARSER.parse(before + escaped(text) + after) if token.type == "inline"]
        told = ["".join(child.content for child in token.children or []) for token in tokens]
        assert "".join(told[-1:]).strip() == words.strip() or not words


@given(HOSTILE)
def test_a_fence_holds_any_text(text: str) -> None:
    tokens = PARSER.parse(fenced(f"x{text}", "text") + "\n\nafter")
    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]


@given(st.text(max_size=30), st.floats(allow_nan=False, allow_infinity=False))
def test_front_matter_is_read_as_it_was_written(text: str, number: float) -> None:
    values = {"a": [text, "---"], "b": {"c": number, "d": [{"e": [{"f": text}], "g": 3}]}}
    assert yaml.safe_load(front_matter(values).removeprefix("---").removesuffix("---")) == values


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (342, 355, 0.9383, 0.9785)],
)
def test_the_interval_is_wilsons(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits, count) == pytest.approx((low, high), abs=1e-4)


def test_limits_are_drawn_from_the_figures() -> None:
    told = list(limits(parse_spec({"dataset": "digits"}), digits()))
    assert told[0] == "It is weakest on **6**: it finds 66.7 % of them, and of what it calls so 95.2 % is right."
    assert told[1].startswith("The test set is small. It was right on 281 of 300 test examples (93.7 %)")
    assert "surest mistake has a probability of 0.9700" in told[2]
    guessing = classification([[50, 50], [48, 52]], ["3", "8"], mistake=0.6)
    spec = parse_spec({"dataset": {"name": "mnist", "classes": [3, 8], "validation": {"test": True}}})
    told = list(limits(spec, guessing))
    assert told[2] == "That is not clearly better than always to answer **3**, which is right on 50.0 %."
    assert "never saw the other 8 classes" in " ".join(told)
    assert "also served for validation" in " ".join(told)
    assert next(iter(limits(parse_spec({"dataset": "polynomial"}), regression()))).startswith("Its largest error on")


NAMES = ["$x_1$ <b>&", "數字 😀", "a name that is longer than there is room for it"]
PICTURES = [
    classification([[5, 0], [0, 0]], ["\ufffe", "8"]),
    classification([[5, 1, 2], [100_000, 0, 0], [0, 0, 1]], NAMES),
    classification([[int(n == m) for m in range(100)] for n in range(100)], [f"class {n}" for n in range(100)]),
    regression(),
    regression(r2=None, examples=0),
]


@pytest.mark.parametrize("evaluation", PICTURES)
def test_every_evaluation_is_drawn(evaluation: dict[str, Any]) -> None:
    picture = evaluation_pictures.draw("$x_1$ \\alpha ^ {", evaluation)
    assert ElementTree.fromstring(picture).tag.endswith("svg")


def test_the_picture_has_names_and_counts() -> None:
    texts = re.findall("<!-- (.*?) -->", evaluation_pictures.draw("title", digits()).decode())
    assert {"title", "29", "10", "66.7 %", "true class", "answered"} <= set(texts)


def test_an_evaluation_is_drawn_once_there_is_one(client: TestClient, room: Room) -> None:
    job = submit(client)
    url = f"/v1/jobs/{job['id']}/evaluation"
    refused = client.get(f"{url}.svg")
    assert (refused.status_code, refused.json()["detail"]) == (409, client.get(url).json()["detail"])
    path = finish(client, room, digits())
    answer = client.get(f"/v1/jobs/{client.get(path).json()['job_id']}/evaluation.svg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


def test_changes_made_on_the_way_are_told(client: TestClient, room: Room) -> None:
    path = finish(client, room, digits())
    job_id = client.get(path).json()["job_id"]
    new, old = {"learning_rate": 0.01, "epochs": 9}, {"learning_rate": 0.001, "epochs": 5}
    with room.database.write() as session:
        session.add(Change(job_id=job_id, number=1, new=new, old=old, applied_at_step=2_600, epoch=3))
        session.add(Change(job_id=job_id, number=2, new={"epochs": 12}))
    text = client.get(f"{path}/card.md").text
    changed = "in epoch 3, from step 2,600 on: learning_rate 0.01, epochs 9 instead of learning_rate 0.001, epochs 5"
    assert changed in text.replace("\\_", "_")
    assert "epochs 12" not in text
    assert f"POST /v1/jobs/{job_id}/verify" in text
