"""Curves can be drawn of any history, over those of earlier jobs, with what was changed and diagnosed."""

import io
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from fastapi.testclient import TestClient
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from sqlalchemy.orm import Session

from api import curve_marks, curves
from api.curve_story import MOST_BEFORE, MOST_POINTS, Before, Mark, Story, change_label, story_of
from api.deps import Room
from models import jobs
from models.changes import Change, changes_of
from models.diagnoses import Finding, record_signs
from models.history import Epoch, EpochResult
from models.jobs import Job
from models.spec import parse_spec
from models.spec.summary import steps_per_epoch
from tests.api.conftest import claim, submit

PART = [Mark(1, 1.5, "learning_rate 0.0001")]


def epoch(number: int, loss: float | None) -> Epoch:
    nonfinite = {} if loss is not None else {"loss": "nan"}
    return Epoch(epoch=number, learning_rate=0.1, loss=loss, accuracy=0.5, other_metrics={}, nonfinite=nonfinite)


def run(count: int, loss: float = 1.0) -> list[Epoch]:
    return [epoch(number, loss) for number in range(1, count + 1)]


def marks(count: int) -> list[Mark]:
    return [Mark(number, number / 2, f"epochs {number}") for number in range(1, count + 1)]


def figure_of(story: Story) -> Figure:
    """The figure that is saved, so that a test can look at its parts."""
    kept: list[Figure] = []

    def keep(figure: Figure, kind: curves.Kind) -> bytes:
        kept.append(figure)
        return b""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "saved", keep)
        curves.draw("x", story, "png")
    return kept[0]


def points(line: Line2D) -> "np.ndarray[Any, Any]":
    """The points of a line, a row each."""
    return np.asarray(line.get_xydata())


def named(figure: Figure) -> list[str]:
    """What the legend below the axes says."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.parametrize(
    ("title", "losses"),
    [
        *(("mnist", losses) for losses in ([], [1.0], [1.0, None], [None], [1.0] * 500)),
        *((title, [1.0]) for title in ("$x_1$ \\alpha ^ {", "數字 😀 \ufffe")),
    ],
)
def test_every_history_is_drawn(title: str, losses: list[float | None]) -> None:
    story = Story([epoch(number, loss) for number, loss in enumerate(losses, start=1)])
    with Image.open(io.BytesIO(curves.draw(title, story, "png"))) as picture:
        assert picture.size == (1320, 418)
    assert ElementTree.fromstring(curves.draw(title, story, "svg")).tag.endswith("svg")


@pytest.mark.parametrize(
    "story",
    [
        Story([], changes=PART, findings=PART),
        Story([], 3, [Before(run(5))], findings=PART),
        Story([epoch(1, None)], changes=PART, findings=PART),
        Story([epoch(1, None)], 2, [Before([epoch(1, 1.0), epoch(2, None)])]),
        Story(run(3), 7, [Before([]), Before(run(5), 3)], marks(200), marks(6)),
        Story(run(3), 1, [Before([epoch(1, 1.0), epoch(2, 1e9)])], PART, PART),
    ],
)
def test_every_story_is_drawn(story: Story) -> None:
    assert ElementTree.fromstring(curves.draw("x", story, "svg")).tag.endswith("svg")


def test_a_change_is_a_line_in_every_axes_and_the_first_ones_are_named() -> None:
    figure = figure_of(Story(run(9), changes=marks(10)))
    for axes in figure.axes:
        (marked,) = (line for line in axes.lines if line.get_color() == curve_marks.CHANGE)
        assert set(points(marked)[::3, 0]) == set(points(marked)[1::3, 0]) == {n / 2 for n in range(1, 11)}
    assert named(figure) == [*(f"change {n}: epochs {n}" for n in range(1, 9)), "and 2 more changes"]
    assert figure.get_figheight() > 4


def test_numbers_of_changes_that_stand_close_together_are_written_as_one() -> None:
    close = [Mark(1, 1.0, "epochs 3"), Mark(2, 1.01, "epochs 4"), Mark(3, 8.0, "epochs 9")]
    written = {
        text.get_text(): text.get_position()[0] for text in figure_of(Story(run(9), changes=close)).axes[1].texts
    }
    assert written == {"1-2": pytest.approx(1.005), "3": 8.0}


def test_diagnoses_stand_below_the_loss_and_none_covers_another() -> None:
    findings = [Mark(1, 2, "dead units (epoch 2)"), Mark(2, 2, "overfitting (epoch 2)"), Mark(3, 8, "x (epoch 8)")]
    figure = figure_of(Story(run(9), findings=findings))
    left, *others = figure.axes
    triangles = {tuple(points(line)[0]) for line in left.lines if line.get_marker() == "^"}
    assert len(triangles) == 3
    assert sorted(place for place, _ in triangles) == [2, 2, 8]
    assert not any(line.get_marker() == "^" for axes in others for line in axes.lines)
    lowest = left.transAxes.inverted().transform(left.transData.transform((1, 1.0)))[1]
    assert lowest > max(height for _, height in triangles), "the curves are above them"
    assert named(figure)[1] == "diagnosis 2: overfitting (epoch 2)"


def test_a_job_stands_over_those_before_it_on_their_axis() -> None:
    figure = figure_of(Story(run(3), 7, [Before(run(6)), Before(run(5, 0.5), 4)]))
    drawn = {(line.get_color(), tuple(points(line)[:, 0])) for line in figure.axes[2].lines}
    assert {
        (curve_marks.EARLIER, (1, 2, 3, 4, 5, 6)),
        (curve_marks.JUST_BEFORE, (5, 6, 7, 8, 9)),
        ("#555555", (8, 9, 10)),
    } <= drawn
    assert figure.axes[0].get_xlabel() == "epoch of the first job; this one goes on from 7"
    assert named(figure) == ["job before (validation dashed)", "jobs before that"]
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert legend.get_title().get_text() == "this job"


@pytest.mark.parametrize(("worst", "scale"), [(500.0, "linear"), (1e7, "log")])
def test_a_loss_that_exploded_does_not_press_the_others_flat(worst: float, scale: str) -> None:
    assert figure_of(Story(run(9), 1, [Before([epoch(1, 1.0), epoch(2, worst)])])).axes[0].get_yscale() == scale


@pytest.mark.parametrize(
    ("new", "label"),
    [
        ({"learning_rate": 1e-4}, "learning_rate 0.0001"),
        ({"learning_rate": {"type": "cosine_decay", "decay_steps": 9}}, "learning_rate cosine_decay"),
        ({"epochs": 30, "early_stopping": {"patience": 3}}, "epochs 30, patience 3"),
    ],
)
def test_a_change_is_told_in_a_few_words(new: dict[str, Any], label: str) -> None:
    assert change_label(new) == label


def train(room: Room, job_id: str, epochs: int) -> None:
    """Record epochs as a worker would."""
    claim(room, job_id)
    results = [EpochResult(number, 0.1, 0.1, {"loss": 1 / number, "accuracy": 0.5}) for number in range(1, epochs + 1)]
    with room.database.write() as session:
        assert jobs.record_epochs(session, job_id, 1, results, results[-1])


def goes_on(room: Room, job_id: str, epoch: int) -> str:
    """A job that starts from an epoch of another; none of these has weights, so it cannot be submitted."""
    body = {"dataset": "digits", "initial_weights": {"job": job_id, "epoch": epoch}}
    with room.database.write() as session:
        return jobs.create(session, parse_spec(body)).id


def told(room: Room, job_id: str, owners: Sequence[str | None] = (None,)) -> Story:
    with room.database.read() as session:
        return story_of(session, session.get_one(Job, job_id), lambda owner: owner in owners)


def test_the_story_of_a_job_has_its_changes_and_diagnoses(client: TestClient, room: Room) -> None:
    job = submit(client, epochs=5)
    url = f"/v1/jobs/{job['id']}/curves"
    assert client.get(f"{url}.svg").status_code == 200
    train(room, job["id"], 3)
    batches = steps_per_epoch(parse_spec(job["spec"]))
    finding = Finding(2, "learning_rate_too_low", {}, "It hardly moves.", "Try more.", {"/epochs": 9})
    with room.database.write() as session:
        for number, step in ((1, batches * 3 // 2), (2, None)):
            change = Change(job_id=job["id"], number=number, new={"learning_rate": 0.5}, applied_at_step=step)
            session.add(change)
        session.flush()
        assert len(changes_of(session, job["id"])) == 2
        assert record_signs(session, job["id"], 1, {}, [finding])
    story = told(room, job["id"])
    assert [(mark.number, mark.label) for mark in story.changes] == [(1, "learning_rate 0.5")]
    assert story.changes[0].at == pytest.approx(1.5, abs=1 / batches), "in the middle of the second epoch"
    assert story.findings == [Mark(1, 2, "learning rate too low (epoch 2)")]
    svg = client.get(f"{url}.svg")
    assert (svg.status_code, svg.headers["content-type"]) == (200, "image/svg+xml")
    with Image.open(io.BytesIO(client.get(f"{url}.png").content)) as picture:
        assert picture.size[1] > 418, "with a legend below"


def test_the_story_goes_back_over_the_jobs_before(client: TestClient, room: Room) -> None:
    first = submit(client)["id"]
    train(room, first, 4)
    second = goes_on(room, first, 3)
    train(room, second, 2)
    third = goes_on(room, second, 2)
    train(room, third, 1)
    story = told(room, third)
    assert [(job.start, len(job.epochs)) for job in story.before] == [(0, 4), (3, 2)]
    assert (story.start, len(story.epochs)) == (5, 1)
    assert client.get(f"/v1/jobs/{third}/curves.png").status_code == 200


def test_of_somebody_elses_job_nothing_is_drawn(client: TestClient, room: Room) -> None:
    first = submit(client)["id"]
    second = goes_on(room, first, 1)
    third = goes_on(room, second, 1)
    assert told(room, third, owners=()).before == []
    with room.database.write() as session:
        session.get_one(Job, first).owner = "ada"
    assert (len(told(room, third).before), told(room, third).start) == (1, 1)
    assert (len(told(room, third, (None, "ada")).before), told(room, third, (None, "ada")).start) == (2, 2)
    with room.database.write() as session:
        session.delete(session.get_one(Job, second))
    assert told(room, third).start == 0


def test_a_long_chain_is_cut_and_shares_its_points(
    client: TestClient, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def sampled(session: Session, job_id: str, most: int) -> list[Epoch]:
        read.append(most)
        return []

    monkeypatch.setattr("api.curve_story.sampled_epochs", sampled)
    job_id = submit(client)["id"]
    for _ in range(MOST_BEFORE + 2):
        job_id = goes_on(room, job_id, 1)
    assert len(told(room, job_id).before) == MOST_BEFORE
    assert (len(read), sum(read) <= MOST_POINTS) == (MOST_BEFORE + 1, True)
