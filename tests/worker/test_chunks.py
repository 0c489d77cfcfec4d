"""An epoch is cut so that every example is trained on once, however long chunks are; and so is what is measured."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spec import parse_spec
from worker.chunks import EVALUATION_BATCH, MOST_BATCHES, Chunks, Measured, rehearsal_chunks, training_chunks
from worker.rehearsal import chunks_of


@st.composite
def epochs(draw: st.DrawFn, most: int = 300) -> Chunks:
    """Any epoch in chunks of any length that is possible."""
    examples = draw(st.integers(1, most))
    batch_size = draw(st.integers(1, examples))
    longest = Chunks(examples, batch_size, 1).capacity
    return Chunks(examples, batch_size, draw(st.integers(1, longest)))


def order_of(chunks: Chunks) -> np.ndarray:
    """An order of the examples from 1 on, so that padding shows."""
    return np.arange(1, chunks.examples + 1, dtype=np.int32)


@given(epochs())
def test_every_example_is_in_one_batch_of_an_epoch(chunks: Chunks) -> None:
    order = order_of(chunks)
    cut = list(chunks.cut(order))
    assert len(cut) == chunks.count
    batches = [row for matrix, count, _, _ in cut for row in matrix[:count]]
    assert all(len(batch) == chunks.batch_size for batch in batches)
    endings = [rest for _, _, rest, ending in cut for _ in range(ending)]
    assert np.concatenate([*batches, *endings]).tolist() == order.tolist()
    assert chunks.batches == len(batches) + len(endings)


@given(epochs())
def test_a_chunk_is_padded_to_the_capacity(chunks: Chunks) -> None:
    for matrix, count, rest, _ in chunks.cut(order_of(chunks)):
        assert matrix.shape == (chunks.capacity, chunks.batch_size)
        assert 1 <= count <= chunks.rows
        assert matrix[:count].all()
        assert not matrix[count:].any()
        assert len(rest) == chunks.rest
        assert {matrix.dtype, rest.dtype} == {np.dtype(np.int32)}


@given(epochs())
def test_the_partial_batch_comes_once_and_at_the_end(chunks: Chunks) -> None:
    endings = [ending for *_, ending in chunks.cut(order_of(chunks))]
    assert endings == [0] * (chunks.count - 1) + [int(chunks.rest > 0)]


@given(epochs(most=3 * MOST_BATCHES), st.integers(-5, 4 * MOST_BATCHES))
def test_chunks_of_so_many_batches_are_no_longer_and_about_equal(chunks: Chunks, asked: int) -> None:
    found = chunks.of_rows(asked)
    most = max(1, min(asked, chunks.capacity))
    assert (found.examples, found.batch_size) == (chunks.examples, chunks.batch_size)
    assert 1 <= found.rows <= most
    assert found.count <= -(-chunks.whole // most)
    # Shorter ones would be more.
    assert found.rows == 1 or Chunks(chunks.examples, chunks.batch_size, found.rows - 1).count > found.count


def test_a_chunk_never_has_more_batches_than_a_schedule_holds_rates_for() -> None:
    chunks = Chunks(10 * MOST_BATCHES, 2, 1)
    assert chunks.capacity == MOST_BATCHES
    assert chunks.of_rows(10**9).rows == MOST_BATCHES
    assert Chunks(30, 7, 1).capacity == 4


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, first: int, rows: int = 1) -> list[int]:
        chunks = Chunks(20, 6, rows)
        taken = training_chunks(chunks, seed, first).take(chunks.count).as_numpy_iterator()
        return [int(n) for matrix, count, rest, ending in taken for n in (*matrix[:count].flat, *rest[: 6 * ending])]

    assert order(0, 1) == order(0, 1, rows=2) == order(0, 1, rows=3)
    assert sorted(order(0, 1)) == list(range(20))
    assert len({tuple(order(0, 0)), tuple(order(0, 1)), tuple(order(1, 0))}) == 3


def test_the_second_epoch_of_one_training_is_the_first_of_one_that_begins_there() -> None:
    chunks = Chunks(20, 6, 2)
    whole = list(training_chunks(chunks, 3, 0).take(2 * chunks.count).as_numpy_iterator())
    later = list(training_chunks(chunks, 3, 1).take(chunks.count).as_numpy_iterator())
    for mine, theirs in zip(whole[chunks.count :], later, strict=True):
        for part, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(part, other)


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_rehearsed_chunk_looks_like_one_that_is_trained_on(batches: int) -> None:
    chunks = Chunks(20, 6, 2)
    data = rehearsal_chunks(chunks, batches)
    assert data.element_spec == training_chunks(chunks, 0, 0).element_spec
    matrix, count, _, ending = next(data.as_numpy_iterator())
    assert (count, ending) == (batches, 0)
    assert matrix.max() < chunks.examples


@settings(max_examples=25)
@given(st.integers(0, 500), st.integers(1, 4 * EVALUATION_BATCH), st.integers(1, 5))
def test_a_measurement_has_each_example_once_and_in_order(start: int, examples: int, rows: int) -> None:
    measured = Measured(start, examples, rows)
    matrices = list(measured.data().take(2 * measured.steps).as_numpy_iterator())
    assert all(len(matrix) <= rows and matrix.shape[1] <= EVALUATION_BATCH for matrix in matrices)
    for one in (matrices[: measured.steps], matrices[measured.steps :]):
        assert np.concatenate([matrix.ravel() for matrix in one]).tolist() == list(range(start, start + examples))


def test_every_number_of_examples_is_measured_by_the_same_function() -> None:
    assert Measured(0, 30).data().element_spec == Measured(30, 2500, 2).data().element_spec


@pytest.mark.parametrize(("batch_size", "expected"), [(64, 64), ("full", 54_000)])
def test_an_epoch_is_cut_as_the_spec_says(batch_size: int | str, expected: int) -> None:
    chunks = chunks_of(parse_spec({"dataset": "mnist", "batch_size": batch_size}), 54_000)
    assert (chunks.examples, chunks.batch_size) == (54_000, expected)
    assert chunks.count == 1
