"""The pure parts of the side-by-side benchmark: operations, rotation, medians, ratios, the table, who is skipped."""

import sys
from pathlib import Path

import pytest

from benchmarks.cases import CASES, epoch_operations, products
from benchmarks.machine import cpu_fields
from benchmarks.protocol import Task
from benchmarks.rounds import Contestant, ContestantFailed, Run, rotated
from benchmarks.table import paired_ratio, rendered, summarize
from benchmarks.training import ENTRIES, parse, why_skipped


def run(seconds: list[float], accuracy: float = 0.9, peak: int = 100) -> Run:
    """A run with these epochs."""
    return Run([{"seconds": value, "val_accuracy": accuracy} for value in seconds], {"peak_rss_mb": peak})


@pytest.mark.parametrize(
    ("case", "shapes"),
    [
        ("dense-32", [(32, 784, 32), (32, 32, 10)]),
        ("dense-784", [(200, 784, 784), (200, 784, 784), (200, 784, 10)]),
        ("cnn", [(128 * 26 * 26, 9, 32), (128 * 11 * 11, 288, 64), (128, 1600, 10)]),
    ],
)
def test_each_layer_with_weights_is_one_matrix_product(case: str, shapes: list[tuple[int, int, int]]) -> None:
    assert list(products(CASES[case])) == shapes


def test_operations_leave_out_the_gradient_of_the_pixels() -> None:
    first, second = 2 * 784 * 32, 2 * 32 * 10
    assert epoch_operations(CASES["dense-32"], 1, 0) == 2 * first + 3 * second
    assert epoch_operations(CASES["dense-32"], 0, 1) == first + second
    assert epoch_operations(CASES["dense-32"], 60, 10) == 60 * (2 * first + 3 * second) + 10 * (first + second)


def test_everybody_goes_first_in_turn() -> None:
    assert [rotated(["a", "b", "c"], number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


def test_ratios_compare_rounds_not_medians() -> None:
    # The second round was slow for both; the ratio of medians would be 4 / 1.5.
    assert paired_ratio([3.0, 20.0, 4.0], [1.0, 10.0, 1.5]) == pytest.approx(4 / 1.5)
    assert paired_ratio([2.0, 40.0, 9.0], [1.0, 10.0, 3.0]) == 3.0
    assert paired_ratio(None, [1.0]) is None


def test_the_first_epochs_of_each_seed_do_not_count() -> None:
    runs = {
        "keras fit": [run([99, 2, 4]), run([99, 6, 8])],
        "trainyard": [run([50, 1, 1], 0.96, 400), run([50, 2, 2], 0.98, 300)],
    }
    stock, ours = summarize(runs, drop=1, floor=0.5)
    assert (stock.median, stock.quickest, stock.slowest) == (5, 2, 8)
    assert (ours.median, ours.quickest, ours.slowest, ours.to_floor) == (1.5, 1, 2, 3)
    assert ours.to_stock == 3.5
    assert ours.to_jax is None
    assert (ours.accuracies, ours.peak_rss_mb) == ((0.96, 0.98), 400)


def test_the_table_has_a_line_a_contestant_and_columns_that_align() -> None:
    runs = {"keras fit": [run([2.0, 2.0], 0.9), run([2.0, 2.0], 0.92)], "jax": [run([0.5, 0.5]), run([0.5, 0.5])]}
    heading, stock, jax = rendered(summarize(runs, drop=0, floor=0.1)).splitlines()
    assert heading.split()[:4] == ["contestant", "s/epoch", "min", "max"]
    assert stock.split() == [
        "keras",
        "fit",
        "2.000",
        "2.000",
        "2.000",
        "1.00",
        "0.25",
        "20.0",
        "0.9100",
        "(0.9000-0.9200)",
        "100",
    ]
    assert jax.split()[4:6] == ["4.00", "1.00"]
    assert len({len(line) for line in (heading, stock, jax)}) == 1


def test_who_cannot_take_part_is_skipped_with_the_reason() -> None:
    assert why_skipped(ENTRIES["jax"], ["amx_bf16"], False) == "not installed (make bench-setup)"
    assert why_skipped(ENTRIES["trainyard bf16"], [], True) == "the processor has no bfloat16"
    assert why_skipped(ENTRIES["trainyard"], [], False) is None
    assert why_skipped(ENTRIES["pytorch bf16"], ["avx512_bf16"], True) is None


def test_cpu_fields_are_those_of_the_first_processor() -> None:
    text = "processor\t: 0\nmodel name\t: A\nflags\t\t: fpu amx_bf16\n\nprocessor\t: 1\nmodel name\t: B\n"
    assert cpu_fields(text) == {"processor": "0", "model name": "A", "flags": "fpu amx_bf16"}


def test_dropping_every_epoch_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--epochs", "2", "--drop", "2"])
    assert "Received: --epochs 2 --drop 2" in capsys.readouterr().err


def test_a_contestant_that_dies_is_named_with_what_it_said() -> None:
    task = Task("dense-32", "none.npz", epochs=1, seed=0)
    contestant = Contestant("ours", Path(sys.executable), "no_such_module", task)
    try:
        with pytest.raises(ContestantFailed, match=r"(?s)^ours ended with code 1:.*no_such_module"):
            contestant.wait_until_ready()
    finally:
        contestant.close()
