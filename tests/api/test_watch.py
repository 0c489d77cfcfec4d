"""Life is judged by change alone."""

from api.watch import Watch


def test_at_the_first_look_nothing_has_changed() -> None:
    sights = Watch().look({"a": 1}, 10.0)
    assert (sights["a"].changed, sights["a"].since) == (False, 10.0)


def test_a_change_counts_from_when_it_was_seen() -> None:
    watch = Watch()
    watch.look({"a": 1, "b": 1}, 0.0)
    watch.look({"a": 2, "b": 1}, 1.0)
    sights = watch.look({"a": 2, "b": 1, "new": 5}, 2.0)
    assert (sights["a"].since, sights["a"].changed) == (1.0, True)
    assert (sights["b"].since, sights["b"].changed) == (0.0, False)
    assert (sights["new"].since, sights["new"].changed) == (2.0, True)


def test_what_is_not_there_is_forgotten() -> None:
    watch = Watch()
    watch.look({"a": 1}, 0.0)
    watch.look({}, 1.0)
    assert watch.look({"a": 1}, 2.0)["a"].since == 2.0


def test_time_in_which_nobody_looked_is_left_out() -> None:
    watch = Watch()
    watch.look({"a": 1}, 0.0)
    watch.postpone(100.0)
    assert watch.look({"a": 1}, 101.0)["a"].since == 100.0
