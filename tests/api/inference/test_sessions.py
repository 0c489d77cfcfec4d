"""Predictors answer as the model says, and the cache of them is bounded and loads once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from api.inference.sessions import CHUNK, Predictor, SessionCache
from tests.factories.networks import linear_onnx

WEIGHTS = np.random.default_rng(0).normal(size=(784, 10)).astype(np.float32)
MODEL = linear_onnx(WEIGHTS)


@pytest.mark.parametrize("count", [1, CHUNK, 2 * CHUNK + 3])
def test_predictions_are_the_models_in_chunks_or_not(count: int) -> None:
    images = np.random.default_rng(1).uniform(0, 1, (count, 28, 28, 1)).astype(np.float32)
    outputs = Predictor(MODEL).predict(images)
    assert outputs.shape == (count, 10)
    assert outputs.dtype == np.float32
    np.testing.assert_allclose(outputs, images.reshape(count, 784) @ WEIGHTS, atol=1e-3)


def never() -> bytes:
    raise AssertionError("loaded although it should be here")


def test_a_model_is_loaded_once() -> None:
    cache = SessionCache(max_bytes=10 * len(MODEL))
    first = cache.get("a", lambda: MODEL)
    assert cache.get("a", never) is first


def test_the_least_recently_used_goes_first() -> None:
    cache = SessionCache(max_bytes=int(2.5 * len(MODEL)))
    for key in ("a", "b"):
        cache.get(key, lambda: MODEL)
    cache.get("a", never)
    cache.get("c", lambda: MODEL)
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)


def test_a_model_larger_than_the_bound_is_kept_alone() -> None:
    cache = SessionCache(max_bytes=1)
    cache.get("a", lambda: MODEL)
    cache.get("b", lambda: MODEL)
    assert len(cache) == 1
    assert cache.get("b", never).size == len(MODEL)


def test_a_dropped_model_is_loaded_again() -> None:
    cache = SessionCache(max_bytes=10 * len(MODEL))
    first = cache.get("a", lambda: MODEL)
    cache.drop("a")
    cache.drop("never there")
    assert cache.get("a", lambda: MODEL) is not first


def test_concurrent_callers_load_once() -> None:
    cache = SessionCache(max_bytes=10 * len(MODEL))
    loads = []
    begun, go_on = threading.Event(), threading.Event()

    def load() -> bytes:
        loads.append(threading.get_ident())
        begun.set()
        assert go_on.wait(10)
        return MODEL

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(cache.get, "a", load)]
        assert begun.wait(10)
        waiting += [pool.submit(cache.get, "a", load) for _ in range(7)]
        go_on.set()
        predictors = {id(each.result(10)) for each in waiting}
    assert (len(predictors), len(loads)) == (1, 1)


def test_loading_one_model_does_not_hold_up_another() -> None:
    cache = SessionCache(max_bytes=10 * len(MODEL))
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        assert go_on.wait(10)
        return MODEL

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(cache.get, "slow", slow)
        assert begun.wait(10)
        cache.get("quick", lambda: MODEL)
        assert not waiting.done()
        go_on.set()
        waiting.result(10)
    assert len(cache) == 2


def test_a_model_dropped_while_it_loads_is_not_kept() -> None:
    cache = SessionCache(max_bytes=10 * len(MODEL))

    def load() -> bytes:
        cache.drop("a")
        return MODEL

    assert cache.get("a", load).size == len(MODEL)
    assert "a" not in cache


def test_a_failed_load_is_raised_and_not_remembered() -> None:
    cache = SessionCache(max_bytes=10 * len(MODEL))

    def fail() -> bytes:
        raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError):
        cache.get("a", fail)
    assert cache.get("a", lambda: MODEL).size == len(MODEL)
