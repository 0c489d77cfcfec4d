"""The examples: pictures as they are drawn, valid specs, experiments that are whole, a page that shows them."""

import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from api.inference.recipe import see_digit
from examples.draw_digits import DRAWINGS, FOLDER, draw
from examples.gallery import animation, plots
from examples.gallery.__main__ import run_all
from examples.gallery.claims import figures_in, judge
from examples.gallery.experiment import PLACEHOLDER, Experiment, Step, fill, read_all
from examples.gallery.mending import patch_words
from examples.gallery.page import compact, section, write_page
from examples.gallery.runner import Outcome, Runner
from models.spec import parse_spec
from models.spec.study import StudySpec
from models.spec.study_checks import check_study
from trainyard.errors import ApiError, Unreachable

Json = dict[str, Any]
EXPERIMENTS = read_all()
# One for each experiment that the project promises to show, in order.
NAMES = (
    "mnist-sigmoid", "activations-with-mse", "losses", "optimizers", "schedules", "depth", "polynomial", "overfitting",
    "first-fashion", "capacity", "against-overfitting", "pretraining", "initial-values", "spiral", "descent", "shapes",
    "search", "gradient-check", "mending",
)  # fmt: skip
OF_JOBS = {"status", "failure", "epochs", "seconds", "epoch_seconds", "last_learning_rate", "test", "first", "last",
           "min", "max", "epoch_of_min", "epoch_of_max", "fifths"}  # fmt: skip
OF_STUDIES = {"settings", "best", "best_setting", "late_mean", "runs"}
OF_RESULTS = {"by", "seconds", "passed", "largest_relative_error", "compared", "kinks"}
OF_MENDED = {"verdict", "applied", "before", "after"}
OF_PREDICTIONS = {"label", "class_name", "probability"}


@pytest.mark.parametrize("digit", range(10))
def test_the_digit_files_are_drawn_by_the_script(digit: int) -> None:
    path = FOLDER / f"{digit}.png"
    assert path.stat().st_size < 6_000
    with Image.open(path) as stored:
        np.testing.assert_allclose(np.asarray(stored, float), np.asarray(draw(DRAWINGS[digit], digit), float), atol=2)
    assert see_digit(path.read_bytes()).warnings == []


@pytest.mark.parametrize("path", sorted((FOLDER.parent / "specs").glob("*.json")), ids=lambda path: path.stem)
def test_every_example_spec_is_valid(path: Path) -> None:
    spec = parse_spec(json.loads(path.read_text()))
    assert spec.name == path.stem


def _scripts(experiment: Experiment) -> list[Step]:
    return [step for step in experiment.steps() if step.kind == "script"]


def test_every_experiment_has_its_file() -> None:
    assert [(each.number, each.name) for each in EXPERIMENTS] == [(f"{n:02}", name) for n, name in enumerate(NAMES, 1)]


@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_every_spec_of_an_experiment_is_valid(experiment: Experiment, quick: bool) -> None:
    known: dict[str, Json] = {}
    for step in experiment.steps(quick):
        filled = step.filled(known)
        assert not PLACEHOLDER.search(json.dumps(filled.body) + filled.model), "only what has run can be referred to"
        match step.kind:
            case "job":
                parse_spec(filled.body)
                known[step.label] = {"job": f"job_{step.label}", "model": "some:1"}
            case "mend":
                parse_spec(filled.body)
            case "study":
                checked = check_study(StudySpec.model_validate(filled.body))
                names = step.source.get("labels", ())
                assert quick or not names or len(names) == checked.spec.settings
            case "script" | "predict":
                assert (FOLDER.parents[1] / filled.body).exists()
        if quick:
            assert experiment.datasets(quick) == set()
    assert known or any(step.kind != "job" for step in experiment.steps(quick))


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=NAMES)
def test_plots_figures_and_claims_name_what_there_is(experiment: Experiment) -> None:
    steps = {step.label: step for step in experiment.steps()}
    assert len(steps) == len(experiment.steps()), "labels must differ"
    for plot in experiment.body["plots"]:
        assert plot["type"] in plots.TYPES
        before = {f"{label}-before" for label, step in steps.items() if step.kind == "mend"}
        assert set(_labels_of(plot)) <= steps.keys() | before
    for figure in experiment.body["figures"]:
        assert any(_knows(step, figure) for step in steps.values()), figure
    for claim in experiment.body["expect"]:
        judge(claim, {})
        for figure in figures_in(claim):
            label, _, name = figure.partition(".")
            assert _knows(steps[label], name), figure


def _labels_in(claim: str) -> set[str]:
    return {figure.partition(".")[0] for figure in figures_in(claim)}


def _labels_of(plot: Json) -> list[str]:
    of = plot.get("of", [])
    if isinstance(of, dict):
        return [label for labels in of.values() for label in labels]
    return of if isinstance(of, list) else [of]


def _knows(step: Step, figure: str) -> bool:
    first = figure.partition(".")[0]
    match step.kind:
        case "script":
            return True
        case "study":
            return first in OF_STUDIES
        case "predict":
            return first in OF_PREDICTIONS
        case "mend":
            return first in OF_MENDED
        case "job":
            return first in (OF_JOBS if step.body.get("kind", "train") in ("train", "ensemble") else OF_RESULTS)


@pytest.mark.parametrize("experiment", [each for each in EXPERIMENTS if _scripts(each)], ids=lambda each: each.name)
def test_the_claims_of_the_scripts_hold(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {}
    for step in _scripts(experiment):
        # In this process, which has TensorFlow already: three more of them would take three times as long.
        import_module(step.body.removesuffix(".py").replace("/", ".")).main(tmp_path / f"{step.label}.png")
        runs[step.label] = json.loads(capsys.readouterr().out)
        assert (tmp_path / f"{step.label}.png").stat().st_size > 10_000
    claims = [claim for claim in experiment.body["expect"] if _labels_in(claim) <= runs.keys()]
    verdicts = [judge(claim, runs) for claim in claims]
    assert verdicts
    assert [verdict.measured for verdict in verdicts if not verdict.holds] == []


def test_a_script_is_run_with_the_place_of_its_picture(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(b'PNG'); print('{\"x\": 1}')")
    body = {"run": [{"as": "made", "script": str(script)}], "plots": [{"type": "script", "of": "made"}]}
    entry = _entry(Experiment("01", "x", body | {"expect": ["made.x == 1"]}), tmp_path)
    assert (entry["failed"], entry["runs"], entry["plots"]) == (None, {"made": {"x": 1}}, ["01-1-script.png"])
    assert entry["ticks"] == [{"claim": "made.x == 1", "holds": True, "measured": "1 == 1.0000"}]
    script.write_text("raise SystemExit('no paper')")
    assert "no paper" in _entry(Experiment("01", "x", body), tmp_path)["failed"]


def _entry(experiment: Experiment, folder: Path) -> Json:
    return Runner(_Away(), folder, False, lambda line: None).run(experiment)  # type: ignore[arg-type]


class _Away:
    """A service whose every answer is `error`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error or Unreachable("Nobody answers.")

    def submit(self, spec: Json) -> Json:
        raise self.error


def test_an_experiment_that_fails_says_so_and_the_next_one_runs(tmp_path: Path) -> None:
    page, folder = tmp_path / "experiments.md", tmp_path / "experiments"
    folder.mkdir()
    service = _Away(ApiError(422, {"title": "Unprocessable Content", "detail": "The body has 1 mistake."}))
    runner = Runner(service, folder, True, lambda line: None)  # type: ignore[arg-type]
    chosen = EXPERIMENTS[:2]
    assert run_all(runner, chosen, chosen, page) == 1
    figures = json.loads((folder / "figures.json").read_text())
    assert [figures[each.number]["failed"].partition(":")[0] for each in chosen] == ["ApiError", "ApiError"]
    assert "ticks" not in figures["01"]


def test_a_service_that_goes_away_leaves_earlier_results_alone(tmp_path: Path) -> None:
    runner = Runner(_Away(), tmp_path, True, lambda line: None)  # type: ignore[arg-type]
    assert run_all(runner, EXPERIMENTS[:2], EXPERIMENTS[:2], tmp_path / "experiments.md") == 1
    assert not (tmp_path / "figures.json").exists()


class _Ward:
    """A service on which jobs fail to learn, until they are changed or there is a new one."""

    def __init__(self, found: bool) -> None:
        self.jobs: dict[str, Json] = {}
        self.finding = {"verdict": "learning_rate_too_low", "epoch": 2, "sentence": "It hardly moves.",
                        "advice": "Try 0.01.", "evidence": {}, "patch": {"/optimizer/learning_rate": 0.01}}  # fmt: skip
        self.found = found

    def submit(self, spec: Json) -> Json:
        job_id = f"job_{len(self.jobs) + 1}"
        self.jobs[job_id] = {"id": job_id, "kind": "train", "status": "running", "is_terminal": False, "spec": spec}
        return self.jobs[job_id]

    def job(self, job_id: str) -> Json:
        return self.jobs[job_id]

    def wait(self, job_id: str, timeout: float, check: bool) -> Json:
        job = self.jobs[job_id]
        job |= {"status": "succeeded", "is_terminal": True, "evaluation": {"accuracy": 0.9 if "mended" in job else 0.1}}
        return job

    def diagnosis(self, job_id: str) -> Json:
        return {"data": [self.finding] if self.found else []}

    def apply(self, job_id: str) -> Json:
        if not self.jobs[job_id]["is_terminal"]:
            self.jobs[job_id]["mended"] = True
            return {"change": {"number": 1, "new": {"learning_rate": 0.01}}, "job": None}
        made = self.submit({})
        made["mended"] = True
        return {"change": None, "job": made}

    def changes(self, job_id: str) -> list[Json]:
        return [{"number": 1, "applied_at_step": 70}]

    def metrics(self, job_id: str) -> list[Json]:
        return [{"epoch": 1, "seconds": 1.0, "learning_rate": 0.1, "metrics": {"loss": 1.0}}]


@pytest.mark.parametrize(
    ("while_running", "found", "applied", "jobs"),
    [
        (True, True, "a change of the running job, at batch 70", 2),
        (False, True, "a new job", 2),
        (False, False, "-", 1),
    ],
)
def test_a_job_is_mended_by_what_its_diagnosis_advises(
    tmp_path: Path, while_running: bool, found: bool, applied: str, jobs: int
) -> None:
    step = {"mend": "sgd / 10,000", "as": "low", "while_running": while_running, "set": {"/epochs": 77}}
    body = {"title": "t", "claim": "c", "what_to_see": "w", "run": [step], "expect": ["low.after.test.accuracy > 0.5"]}
    experiment, ward = Experiment("01", "x", body), _Ward(found)
    entry = Runner(ward, tmp_path, False, lambda line: None).run(experiment)  # type: ignore[arg-type]
    assert (entry["failed"], len(ward.jobs), ward.jobs["job_1"]["spec"]["name"]) == (None, jobs, "sgd / 10,000")
    assert {job["spec"].get("epochs", 77) for job in ward.jobs.values()} == {77}
    assert entry["ticks"][0]["holds"] is found
    text = section(experiment, entry, "")
    verdict, mended = ("learning rate too low", "0.9000") if found else ("none", "-")
    assert f"| low | sgd / 10,000 | {verdict} |" in text
    assert f"| {applied} | 0.1000 | {mended} |" in text
    said = "- `low`: It hardly moves. *Try 0.01.* Patch: `/optimizer/learning_rate 0.01`."
    assert (said in text) is found
    assert "What the service says of" not in text, "the list has it"
    assert "/diagnosis/1/apply" in text


def test_a_patch_of_layers_is_told_by_what_is_different() -> None:
    layers: list[Json] = [
        {"type": "flatten"},
        *({"type": "dense", "units": n, "activation": {"type": "tanh"}} for n in (9, 9, 3)),
    ]
    spec = {"network": {"layers": layers}}
    mended = [layer | {"activation": {"type": "relu"}} if layer.get("units") == 9 else layer for layer in layers]
    assert patch_words(spec, {"/network/layers": mended}) == "/network/layers (activation relu) in 2 of 4"
    fewer = {"/network/layers": layers[::3], "/early_stopping": {"patience": 3}}
    assert patch_words(spec, fewer) == '/network/layers flatten, dense; /early_stopping {"patience": 3}'


def test_each_writes_out_one_job_a_value() -> None:
    source = {"job": {"dataset": "digits", "optimizer": "{optimizer}"}, "as": "with-{optimizer}"}
    body = {"run": [source | {"each": {"optimizer": {"slow": "sgd", "fast": {"type": "adam"}}}}]}
    steps = Experiment("01", "x", body | {"quick": {"each": 1, "set": {"/epochs": 2}}}).steps()
    assert [(step.label, step.body["optimizer"]) for step in steps] == [
        ("with-slow", "sgd"),
        ("with-fast", {"type": "adam"}),
    ]
    (short,) = Experiment("01", "x", body | {"quick": {"each": 1, "set": {"/epochs": 2}}}).steps(quick=True)
    assert short.body == {"dataset": {"name": "digits"}, "optimizer": "sgd", "epochs": 2}
    assert "epochs" not in source["job"], "the file's own text stays as it is"


def test_placeholders_are_replaced_inside_and_as_a_whole() -> None:
    names = {"a.model": "m:3", "rate": 0.5}
    assert fill({"x": ["{a.model}", "{rate}", "rate {rate}", "{other}"]}, names) == {
        "x": ["m:3", 0.5, "rate 0.5", "{other}"]
    }


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        ("a.loss < 0.5", True),
        ("0.1 <= a.loss <= 0.2", False),
        ("a.loss < 2 * b.loss", True),
        ("b.loss >= a.loss + 0.1", False),
        ("b.loss + -0.1 < a.loss", True),
        ("a.status == 'failed'", True),
        ("a.missing < 1", False),
        ("b.rows.-1 == 7", True),
    ],
)
def test_claims_are_judged_by_the_figures(claim: str, holds: bool) -> None:
    runs = {"a": {"loss": 0.25, "status": "failed"}, "b": {"loss": 0.3, "rows": [1, 7]}}
    assert judge(claim, runs).holds is holds


def test_a_claim_shows_what_was_measured() -> None:
    assert judge("0.1 <= a.loss <= 0.2", {"a": {"loss": 0.25}}).measured == "0.1000 <= 0.2500 <= 0.2000"
    with pytest.raises(ValueError, match="A claim compares"):
        judge("a.loss", {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
    max_leaves=30,
)


@given(JSON, st.integers(10, 120))
def test_compact_json_says_the_same(value: Any, room: int) -> None:
    assert json.loads(compact(value, room)) == value


def test_jobs_are_drawn_together() -> None:
    rows = [{"epoch": n, "learning_rate": 0.1, "metrics": {"loss": 1 / n, "val_loss": None}} for n in range(1, 2000)]
    outcome = Outcome(rows={"a": rows, "b": rows[:3]})
    made = plots.make({"type": "together", "show": ["loss", "val_loss"], "log": ["loss"]}, outcome, _Away())  # type: ignore[arg-type]
    assert made is not None
    assert Image.open(io.BytesIO(made[1])).size[0] > 700
    epochs, values = plots.line_of(rows, "val_loss")
    assert len(epochs) < 700
    assert np.isnan(values).all()


def test_the_animation_shows_the_regions_that_the_weights_decide_for() -> None:
    # Two relu units, x and -x, and three classes: right, left, and one that never wins.
    weights = {
        "dense/0": np.array([[1.0, -1.0], [0.0, 0.0]]), "dense/1": np.zeros(2),
        "dense_1/0": np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), "dense_1/1": np.array([0.0, 0.0, -1.0]),
    }  # fmt: skip
    assert animation.scores(weights, np.array([[0.5, 0.3], [-0.5, 0.3]])).argmax(axis=1).tolist() == [0, 1]
    frame = animation.draw(weights, np.zeros((1, 2)), np.array([2]), "epoch 1")
    right, left = frame.getpixel((animation.SIDE - 5, 100)), frame.getpixel((5, 100))
    assert (right, left) == (tuple(animation.REGION[0]), tuple(animation.REGION[1]))
    moving = Image.open(io.BytesIO(animation.gif([frame, frame.rotate(90)])))
    assert getattr(moving, "n_frames", 1) == 2


def test_the_page_shows_claims_figures_ticks_and_specs(tmp_path: Path) -> None:
    page, folder = tmp_path / "experiments.md", tmp_path / "experiments"
    folder.mkdir()
    first, second = EXPERIMENTS[0], EXPERIMENTS[1]
    ticks = [
        {"claim": "sigmoid.test.accuracy >= 0.97", "holds": True, "measured": "0.9812 >= 0.9700"},
        {"claim": "sigmoid.last.loss < 0.1", "holds": False, "measured": "0.2 < 0.1"},
    ]
    entry = {"date": "2026-01-01", "seconds": 41.2, "failed": None, "plots": ["01-1-curves.png"], "ticks": ticks,
             "runs": {"sigmoid": {"test": {"accuracy": 0.98123, "loss": 0.0612}}}}  # fmt: skip
    write_page(page, folder, [first, second], {"01": entry, "machine": "2026-01-01, 2 cores"})
    text = page.read_text()
    assert "Last run: 2026-01-01, 2 cores." in text
    assert first.body["claim"] in text
    assert "| sigmoid | 0.9812 | 0.0612 |" in text
    assert "- [x] `sigmoid.test.accuracy >= 0.97`: 0.9812 >= 0.9700" in text
    assert "- [ ] `sigmoid.last.loss < 0.1`: 0.2 < 0.1" in text
    assert "![MNIST with sigmoid units](experiments/01-1-curves.png)" in text
    assert "1 of 2 claims held" in text
    assert "It has not run here yet." in text
    body = text.split("-d @- <<'JSON'\n")[1].split("\nJSON\n")[0]
    assert json.loads(body) == first.body["run"][0]["job"]


def test_a_failed_run_is_shown_as_one(tmp_path: Path) -> None:
    entry = {"date": "2026-01-01", "seconds": 1.0, "failed": "Unexpected: it broke", "plots": [], "runs": {}}
    write_page(tmp_path / "experiments.md", tmp_path / "experiments", EXPERIMENTS[:1], {"01": entry})
    text = (tmp_path / "experiments.md").read_text()
    assert "**This run failed.** Unexpected: it broke" in text
    assert ": failed" in text
