"""The figures of the gallery: of jobs, of studies and beside published ones, and the tables and plots they are in."""

import io
from typing import Any

import pytest
from PIL import Image

from examples.gallery import plots
from examples.gallery.page import tables
from examples.gallery.runner import Outcome, job_figures
from examples.gallery.studies import covers, renamed, result_figures, study_figures, with_last

Json = dict[str, Any]


def test_figures_of_a_job_know_best_and_last_epochs() -> None:
    rows = [
        {"epoch": n, "seconds": 0.5, "learning_rate": 0.1, "metrics": {"loss": loss}}
        for n, loss in enumerate([3.0, 1.0, 2.0, None], start=1)
    ]
    times = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:00:02.500Z"}
    figures = job_figures({"status": "failed", "failure": {"kind": "diverged"}, "evaluation": None} | times, rows)
    assert (figures["failure"], figures["epochs"], figures["seconds"]) == ("diverged", 4, 2.5)
    assert (figures["first"], figures["last"]) == ({"loss": 3.0}, {"loss": None})
    assert (figures["min"], figures["epoch_of_min"], figures["epoch_of_max"]) == (
        {"loss": 1.0},
        {"loss": 2},
        {"loss": 1},
    )
    assert figures["fifths"] == {}


def test_figures_of_a_job_have_the_means_of_the_fifths_of_its_epochs() -> None:
    rows = [{"epoch": n, "seconds": 0.5, "learning_rate": 0.1, "metrics": {"loss": float(n)}} for n in range(1, 12)]
    assert job_figures({"status": "running"}, rows)["fifths"] == {"loss": [2.0, 4.5, 6.5, 8.5, 10.5]}


def test_figures_of_a_study_are_named_so_that_claims_can_use_them() -> None:
    trials = [
        {"label": "units 8", "mean": 0.8, "interval": [0.7, 0.9], "runs": [{}, {}]},
        {"label": "sgd momentum 0.9", "mean": None, "interval": None, "runs": [{}]},
    ]
    study = {"objective": "val_accuracy", "trials": trials, "best": {"mean": 0.8}, "verdict": ["One sentence."]}
    figures = study_figures(study)
    assert list(figures["settings"]) == ["units_8", "sgd_momentum_0_9"]
    assert figures["settings"]["units_8"]["interval"] == pytest.approx(0.1)
    assert (figures["best"], figures["late_mean"], figures["runs"]) == (0.8, None, 3)
    assert list(study_figures(study, ["small", "quick"])["settings"]) == ["small", "quick"]


def _spiral() -> Json:
    """The figures of a study of two settings, one with published ranges."""
    trials = [
        {"label": "fast", "mean": 0.7, "interval": None, "runs": [{"job_id": "a"}, {"job_id": "b"}]},
        {"label": "slow", "mean": None, "interval": None, "runs": [{"job_id": "c"}]},
    ]
    study = {"objective": "accuracy", "trials": trials, "best": None, "verdict": []}
    latest: dict[str, Json] = {"a": {"accuracy": 0.6, "loss": 0.9}, "b": {"accuracy": 0.8, "loss": None}, "c": {}}
    figures = with_last(study_figures(study), study, latest) | {"show": ["accuracy", "loss"]}
    figures["settings"]["fast"]["published"] = {"accuracy": [0.61, 0.63], "loss": [0.95]}
    return figures


def test_figures_of_a_study_have_what_its_runs_ended_with() -> None:
    settings = _spiral()["settings"]
    assert settings["fast"]["last"] == {
        "accuracy": {"mean": pytest.approx(0.7), "min": 0.6, "max": 0.8, "values": [0.6, 0.8]},
        "loss": {"mean": 0.9, "min": 0.9, "max": 0.9, "values": [0.9]},
    }
    assert settings["slow"]["last"] == {}


def test_a_verdict_has_the_names_of_the_page() -> None:
    labels = ["sgd", "sgd momentum 0.9", "layers [...]", "layers [...]"]
    verdict = ["Higher is better.", "sgd momentum 0.9 is better than sgd.", "layers [...] and sgd are alike."]
    names = ["plain", "with 0\\1", "one", "two"]
    assert renamed(verdict, labels, names) == ["Higher is better.", "with 0\\1 is better than plain."]


@pytest.mark.parametrize(
    ("published", "word"),
    [([0.61, 0.63], "yes"), ([0.6], "yes"), ([0.5, 0.65], "partly"), ([0.7, 0.9], "partly"), ([0.81, 0.91], "no")],
)
def test_the_page_says_whether_published_figures_lie_within_ours(published: list[float], word: str) -> None:
    assert covers({"min": 0.6, "max": 0.8}, published) == word


def test_a_search_is_a_row_among_the_runs() -> None:
    trials: list[Json] = [{"label": f"rate {n}", "mean": n / 10, "interval": None, "runs": [{}]} for n in range(3)]
    best = {"mean": 0.2, "label": "rate 2"}
    study = {"objective": "accuracy", "trials": trials, "best": best, "verdict": ["So."], "spec": {"sampler": "tpe"}}
    (only,) = tables(["best", "best_setting", "runs"], {"search": study_figures(study)})
    assert "| search | 0.2000 | rate 2 | 3 |" in only


def test_a_study_with_published_figures_has_them_in_its_table_and_plot() -> None:
    (table,) = tables([], {"spiral": _spiral()})
    assert "| fast | 2 | 0.7000 | 0.600 to 0.800 | 0.61 to 0.63 | yes | 0.9000 | 0.900 to 0.900 | 0.95 | no |" in table
    assert "| slow | 1 | - | - | - | - | - | - | - | - |" in table
    plot = {"type": "ranges", "of": "spiral", "show": ["accuracy", "loss"]}
    made = plots.make(plot, Outcome(runs={"spiral": _spiral()}), _Rows())  # type: ignore[arg-type]
    assert made is not None
    assert Image.open(io.BytesIO(made[1])).size[0] > 700
    assert plots.make(plot, Outcome(), _Rows()) is None  # type: ignore[arg-type]


def test_figures_of_initial_values_are_those_of_the_outer_hidden_layers() -> None:
    def layer(size: float, kernel: bool = True) -> Json:
        return {"has_kernel": kernel, "outputs": {"stddev": size}, "output_gradient": {"stddev": size / 10}}

    one = {"label": "random_normal(stddev=0.01)", "layers": [layer(1.0), layer(9.0, False), layer(2.0), layer(3.0)]}
    figures = result_figures({"kind": "initialization", "initializers": [one], "summary": ["A sentence."]})
    assert figures["by"] == {
        "random_normal_stddev_0_01": {
            "first_output": 1.0, "last_output": 2.0, "first_gradient": 0.1, "last_gradient": 0.2,
        }
    }  # fmt: skip


def test_a_study_is_drawn_with_the_names_of_the_page() -> None:
    study = {"trials": [{"runs": [{"job_id": "a"}, {"job_id": "b"}]}, {"runs": [{"job_id": "c"}]}]}
    outcome = Outcome(runs={"spiral": _spiral()}, studies={"spiral": study})
    made = plots.make({"type": "settings", "of": "spiral", "show": ["loss"]}, outcome, _Rows())  # type: ignore[arg-type]
    assert made is not None
    assert Image.open(io.BytesIO(made[1])).size[0] > 500
    assert plots.make({"type": "settings", "of": "spiral", "show": []}, Outcome(), _Rows()) is None  # type: ignore[arg-type]


def test_searches_are_drawn_by_trial() -> None:
    studies = {name: {"trials": [{"mean": mean} for mean in (0.5, None, 0.9, 0.7)]} for name in ("a", "b")}
    plot = {"type": "best_so_far", "of": {"random": ["a"], "tpe": ["b", "left out"], "none": ["left out"]}}
    made = plots.make(plot, Outcome(studies=studies), _Rows())  # type: ignore[arg-type]
    assert made is not None
    assert Image.open(io.BytesIO(made[1])).size[0] > 700


class _Rows:
    """A service with two epochs of job a, one of job b, and none of any other."""

    def metrics(self, job: str) -> list[Json]:
        known = {"a": 2, "b": 1}
        return [{"epoch": n + 1, "learning_rate": 0.1, "metrics": {"loss": 0.5}} for n in range(known.get(job, 0))]
