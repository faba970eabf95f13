import functools
import itertools

import measure
import pytest
from measure import Rounds, Watch, busy_seconds, side_by_side


def make_round(shares):
    """Return a function that takes rounds whose results are numbered, with the given shares."""
    numbered = enumerate(shares)
    return lambda: next(numbered)


def test_an_undisturbed_round_is_taken_once():
    rounds = Rounds(10)
    assert [rounds.take(make_round([0.0, 0.5])) for _ in range(10)] == [0] * 10
    assert (rounds.retaken, rounds.disturbed) == (0, 0)


def test_a_disturbed_round_is_taken_again():
    rounds = Rounds(10)
    assert rounds.take(make_round([0.5, 0.2, 0.01, 0.0])) == 2
    assert rounds.report() == "2 taken again, 0 disturbed by other processes"


def test_retakes_are_bounded_and_the_least_disturbed_round_counts():
    rounds = Rounds(4)
    assert rounds.take(make_round([0.5, 0.2, 0.3, 0.0])) == 1
    assert rounds.take(make_round([0.9, 0.0])) == 0
    assert rounds.report() == "2 taken again, 2 disturbed by other processes"


def test_the_share_of_others_leaves_out_what_is_timed(monkeypatch):
    monkeypatch.setattr(measure.time, "perf_counter", itertools.count(0, 2).__next__)
    monkeypatch.setattr(measure.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(measure, "busy_seconds", itertools.count(100.0, 3.0).__next__)
    watch = Watch(itertools.count(50.0, 2.0).__next__)
    assert watch.share_of_others() == (3 - 2) / (2 * 2)


def test_the_system_counts_what_this_process_uses():
    if not busy_seconds():
        pytest.skip("the system does not tell how busy it is")
    before, end = busy_seconds(), measure.time.process_time() + 0.1
    while measure.time.process_time() < end:
        pass
    assert busy_seconds() - before >= 0.05


def test_where_the_system_tells_nothing_no_round_is_disturbed(monkeypatch):
    monkeypatch.setattr(measure, "busy_seconds", lambda: 0.0)
    assert Watch().share_of_others() == 0


def test_every_turn_begins_with_a_rest_and_calls_that_are_not_timed(monkeypatch):
    """A clock that goes on by a second with each call: two of them fit into the time to warm up."""
    events, seconds = [], [0.0]

    def call(name):
        events.append(name)
        seconds[0] += 1.0

    monkeypatch.setattr(measure.time, "sleep", events.append)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: seconds[0])
    monkeypatch.setattr(measure, "WARM", 2.0)
    monkeypatch.setattr(measure, "busy_seconds", lambda: 0.0)
    candidates = {name: functools.partial(call, name) for name in "ab"}
    medians = side_by_side(candidates, calls=3, rounds=2)
    assert medians == {"a": 1e6, "b": 1e6}
    turns = [measure.REST, *"aa", *"aaa", measure.REST, *"bb", *"bbb"]
    assert events == [*"aaabbb", *turns * 2]
