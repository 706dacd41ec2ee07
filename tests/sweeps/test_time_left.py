"""Time left, by hand."""

import pytest

from fourierkd.records import Phase
from sweeps.time_left import Going, Kind, Pace, time_left

SEARCH, FULL = Kind.SEARCH, Kind.FULL


def test_kinds():
    assert [Kind.of(phase) for phase in (Phase.BASELINE, Phase.TRIAL)] == [SEARCH, SEARCH]
    assert [Kind.of(phase) for phase in (Phase.RUNG, Phase.FINAL)] == [FULL, FULL]


def test_the_pace_of_a_run():
    pace = Pace(("iter", 100))
    assert pace.left(0.0) is None
    assert pace.elapsed(0.0) is None
    pace.add([{"iter": 10, "seconds": 8.0}])
    assert pace.left(0.0) is None  # one row gives no rate
    pace.add([{"iter": 30, "seconds": 18.0}, {"iter": 30, "train/loss": 1.0}])
    assert pace.left(0.0) == 35.0
    assert (pace.left(5.0), pace.elapsed(5.0)) == (30.0, 23.0)
    assert pace.left(99.0) == 0.0


def test_a_resumed_run_has_the_pace_of_its_present_process():
    pace = Pace(("iter", 100))
    pace.add([{"iter": 10, "seconds": 10.0}, {"iter": 50, "seconds": 50.0}])
    pace.add([{"event": "resume", "iter": 20}])
    assert pace.left(0.0) is None
    pace.add([{"iter": 30, "seconds": 60.0}, {"iter": 40, "seconds": 90.0}])
    assert pace.left(0.0) == 180.0
    assert pace.elapsed(0.0) == 90.0


def test_a_run_of_unknown_length_tells_nothing():
    pace = Pace()
    pace.add([{"iter": 10, "seconds": 8.0}, {"iter": 30, "seconds": 18.0}])
    assert pace.left(0.0) is None


CASES = {
    "nothing waits": (({}, [], {}, {}), 0.0),
    "nothing is known": (({SEARCH: 3}, [], {}, {}), None),
    "the mean of those that ended": (({SEARCH: 3}, [], {SEARCH: [10.0, 20.0]}, {}), 45.0),
    "two at once": (({SEARCH: 3}, [], {SEARCH: [10.0, 20.0]}, {SEARCH: 2}), 22.5),
    "a live run foretells": (({SEARCH: 2}, [Going(SEARCH, 30.0, 70.0)], {}, {}), 270.0),
    "no less than the longest live run": (
        ({}, [Going(SEARCH, 30.0, 70.0), Going(SEARCH, 90.0, 10.0)], {}, {SEARCH: 2}),
        70.0,
    ),
    "one that tells nothing takes as long as others": (
        ({}, [Going(SEARCH, 4.0, None)], {SEARCH: [10.0]}, {}),
        6.0,
    ),
    "a live run without anything known": (({}, [Going(SEARCH, 4.0, None)], {}, {}), None),
    "full runs like those of the search until one is known": (
        ({FULL: 2}, [], {SEARCH: [10.0]}, {}),
        20.0,
    ),
    "kinds have their own length and places": (
        ({SEARCH: 1, FULL: 4}, [], {SEARCH: [10.0], FULL: [100.0]}, {FULL: 2}),
        210.0,
    ),
}


@pytest.mark.parametrize(("given", "expected"), CASES.values(), ids=CASES.keys())
def test_time_left(given, expected):
    assert time_left(*given) == expected
