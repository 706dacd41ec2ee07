import pytest

from fourierkd.run_dir import RunDir
from sweeps import watch
from sweeps.watch import FLOOR, Pulse


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes by hand."""
    clock = [100.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    return clock


def watched(pulse, clock, seconds):
    """Look twice a second for so long."""
    for _ in range(int(2 * seconds)):
        clock[0] += 0.5
        pulse.look()


def test_silence_lasts_from_the_last_sign_of_life(tmp_path, clock):
    run = RunDir(tmp_path)
    pulse = Pulse(run)
    watched(pulse, clock, 30)
    assert pulse.silent == 30
    with run.lock():
        watched(pulse, clock, 3)
        assert pulse.silent == 2.5  # the lock itself was a sign
        run.beat()
        watched(pulse, clock, 0.5)
        assert pulse.silent == 0
    run.log.write_text("downloading\n")
    watched(pulse, clock, 2)
    assert pulse.silent == 1.5


def test_its_own_pace_begins_with_its_first_row_and_stretches_the_limit(tmp_path, clock):
    run = RunDir(tmp_path)
    pulse = Pulse(run)
    watched(pulse, clock, 500)  # its start
    run.append({"iter": 10})
    watched(pulse, clock, 0.5)
    assert (pulse.pace, pulse.limit(None)) == (0.0, FLOOR)
    watched(pulse, clock, 200)  # a long evaluation
    run.append({"iter": 20})
    watched(pulse, clock, 0.5)
    assert pulse.pace == pytest.approx(200, abs=1)
    assert pulse.limit(None) == 10 * pulse.pace
    assert pulse.limit(5.0) == 5.0


@pytest.mark.parametrize(("every", "counts"), [(0.1, 1.0), (5.0, 10.0)])
def test_who_was_suspended_saw_no_silence(tmp_path, clock, every, counts):
    pulse = Pulse(RunDir(tmp_path), every=every)
    clock[0] += 3600.0
    assert pulse.look() == counts
    clock[0] += every
    assert pulse.look() == pytest.approx(counts + every)  # a look in time counts in full
