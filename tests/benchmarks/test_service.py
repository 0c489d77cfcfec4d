"""The pure parts of the benchmark of the service: when the first batch began, how long a long job is, its table."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.service import Amount, epochs_for, first_batch, since, spec_of
from benchmarks.service_table import Line, accuracies_differ, lines_of, overhead_lines, rendered, script_line
from benchmarks.training import parse
from models.spec import parse_spec

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
JOB = {"accepted": 0.1, "first_batch": 0.5, "first_epoch": 1.0, "succeeded": 4.0}


def figures(images: int | None = None) -> dict[str, Any]:
    """One repeat of everything."""
    pair = {"bare": 20.0, "job": 21.5, "val_accuracy": [0.96, 0.96]}
    groups = {name: [JOB] for name in ("cold", "first", "second")}
    return {"amount": {"images": images}, "script": [24.0], "pairs": [pair], **groups}


@given(st.lists(st.tuples(st.floats(0.01, 9), st.floats(0, 3)), min_size=1, max_size=8), st.data())
def test_the_first_batch_is_never_before_its_time_and_exact_when_a_row_came_at_once(
    epochs: list[tuple[float, float]], data: st.DataObject
) -> None:
    prompt = data.draw(st.integers(0, len(epochs) - 1))
    passed, rows = 0.0, []
    for place, (seconds, late) in enumerate(epochs):
        passed += seconds
        at = BEGAN + timedelta(seconds=passed + (0 if place == prompt else late))
        rows.append({"seconds": seconds, "at": at.isoformat().replace("+00:00", "Z")})
    assert since(BEGAN, first_batch(rows)) == pytest.approx(0, abs=1e-4)


def test_a_long_job_is_as_long_as_the_later_epochs_say() -> None:
    assert epochs_for(20, [(5.0, 5.0, 0.2, 0.2), (9.0, 0.2)]) == 100
    assert epochs_for(0.1, [(3.0,)]) == 1


def test_the_job_is_what_the_script_does() -> None:
    spec = parse_spec(spec_of(Amount().epochs, None))
    assert (spec.epochs, spec.batch_size, spec.dataset.train_size) == (10, 32, None)
    assert spec.loss.type == "sparse_categorical_crossentropy"
    assert [node.layer.type for node in spec.nodes] == ["flatten", "dense", "dense"]


def test_ratios_to_the_script_are_those_of_each_turn() -> None:
    line = script_line("ratio", [20.0, 60.0, 24.0], [4.0, 6.0, 6.0])
    assert (line.values, line.verdict) == ([5.0, 10.0, 4.0], "at least 5 x: met")
    assert script_line("ratio", [20.0], [4.1]).verdict == "at least 5 x: MISSED"


@pytest.mark.parametrize(("job", "verdict"), [(21.9, "at most 2.00 s: met"), (22.1, "at most 2.00 s: MISSED")])
def test_overhead_may_be_a_share_and_a_second(job: float, verdict: str) -> None:
    *_, seconds, shares = overhead_lines([{"bare": 20.0, "job": job}])
    assert seconds.values == [pytest.approx(job - 20)]
    assert shares.values == [pytest.approx((job - 20) * 5)]
    assert seconds.verdict == verdict


def test_targets_are_for_whole_data_only() -> None:
    assert [line.verdict for line in lines_of(figures()) if line.verdict] == [
        "at least 5 x: met",
        "at least 5 x: met",
        "at most 2.00 s: met",
    ]
    assert not any(line.verdict for line in lines_of(figures(images=2000)))


def test_the_table_shows_the_median_and_every_repeat_in_order() -> None:
    heading, first, second = rendered([Line("one", [3.0, 1.0, 2.5], verdict="fine"), Line("longer", [7.0], "x")]).split(
        "\n"
    )
    assert heading.split()[0] == "median"
    assert first.split() == ["one", "2.50", "s", "3.00", "1.00", "2.50", "fine"]
    assert second.split() == ["longer", "7.00", "x", "7.00"]


def test_other_accuracies_are_noticed() -> None:
    assert not accuracies_differ([{"val_accuracy": [0.9612, 0.96120001]}])
    assert accuracies_differ([{"val_accuracy": [0.96, 0.96]}, {"val_accuracy": [0.96, 0.9601]}])


def test_no_repeats_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--repeats", "0"])
    assert "Received: --repeats 0" in capsys.readouterr().err
