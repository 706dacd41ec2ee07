"""A training server without torch: protocol and folders of the real one, milliseconds a run.

The score is a known function of options and seed; where it is minimised it is an error, 100 minus
that. Options of its own: ``fake.sleep`` (seconds an iteration), ``fake.fail`` (how a run ends
badly; ``..._once``: the first time only), ``fake.fail_above`` (the loss weight from which on it
does), ``fake.fail_phase`` (the only phase in which it does) and ``fake.lucky`` (the loss weight
that scores 100 more, but at the search's seed only).
"""

import ctypes
import json
import os
import random
import select
import signal
import sys
import time
from pathlib import Path

from fourierkd.fingerprint import file_sha256
from fourierkd.records import (
    MAXIMIZE,
    Best,
    Checkpoints,
    Conditions,
    Metric,
    Result,
    State,
    Stop,
    checked_direction,
)
from fourierkd.run_dir import RunDir, write_atomic

VAL_EVERY = 2
GFLOPS = {"student_alone": 8.0, "pkd": 10.0, "feature_l2": 16.0, "cwd": 4.0}  # of a step
signals: list[str] = []


def score(options: dict, seed: int) -> float:
    """Best at loss weight 3 with the low-pass mask at 0.4; the student alone is worst."""
    if options.get("model.teacher", "here") is None:
        value = 10.0
    else:
        weight = float(options.get("model.losses.fourier.loss.loss_weight", 1.0))
        mask = options.get("model.losses.fourier.loss.mask") or {}
        value = 30.0 - abs(weight - 3.0)
        if mask.get("type") == "LowPass":
            value += 5.0 - 5.0 * abs(mask["cutoff"] - 0.4)
        if seed < 1000 and weight == options.get("fake.lucky"):
            value += 100.0
    return value + random.Random(seed).uniform(-0.1, 0.1)


def weights(options: dict) -> str | None:
    """SHA-256 of the teacher's; the student alone has none."""
    path = options.get("model.teacher.checkpoint")
    alone = options.get("model.teacher", "") is None or options.get("method") == "student_alone"
    return None if alone or path is None or not Path(path).is_file() else file_sha256(path)


def check(path: Path) -> None:
    """What has ``fake.refuse`` cannot be built."""
    refused = [
        (name, request["options"]["fake.refuse"])
        for name, request in json.loads(path.read_text()).items()
        if "fake.refuse" in request["options"]
    ]
    name, error = refused[0] if refused else (None, None)
    named = {
        request["options"].get("model.teacher.checkpoint")
        for request in json.loads(path.read_text()).values()
    } - {None, "random"}
    answer = {"name": name, "error": error, "teachers": {p: file_sha256(p) for p in named}}
    write_atomic(path.with_name(f"{path.name}.answer"), json.dumps(answer))


def measure(path: Path) -> None:
    """A GFLOP takes a second; ``slower`` in the work dir says how many times as long."""
    slower = path.with_name("slower")
    factor = float(slower.read_text()) if slower.exists() else 1.0
    costs, schedules = {}, {}
    for name, request in json.loads(path.read_text()).items():
        options, gflop = request["options"], GFLOPS[name]
        costs[name] = {
            "parameters": int(gflop),
            "gflop": gflop,
            "seconds": factor * gflop,
            "peak_mib": None,
        }
        loop = {"max_iters": options.get("train_cfg.max_iters", 10), "val_interval": VAL_EVERY}
        schedules[name] = {
            "train_cfg": {"max_epochs": 3} if options.get("fake.epochs") else loop,
            "param_scheduler": options.get("param_scheduler"),
        }
    answer = {
        "error": options.get("fake.unmeasurable"),
        "costs": costs,
        "schedules": schedules,
        "environment": {"threads": 1, "processor": f"{factor:g}"},
    }
    with open(path.with_name("measured"), "a") as file:
        file.write(f"{' '.join(costs)}\n")
    write_atomic(path.with_name(f"{path.name}.answer"), json.dumps(answer))


def train(run_dir: RunDir, resume: bool) -> None:
    request = run_dir.read_request()
    options, seed = request.options, request.seed
    iters = int(options.get("train_cfg.max_iters", 10))
    start = time.monotonic()
    with run_dir.lock(patience=60.0):
        stands = run_dir.read_result()
        if stands is not None and stands.state != State.STOPPED:
            return
        resume = resume or run_dir.scalars.exists()
        run_dir.result.unlink(missing_ok=True)
        run_dir.clear_stop()
        write_atomic(
            run_dir.environment, json.dumps({"max_iters": iters, "versions": {"fake": "1"}})
        )
        run_dir.config.write_text(f"train_cfg = dict(max_iters={iters})\n")
        run_dir.checkpoints.mkdir(exist_ok=True)
        first, checkpoint = 0, run_dir.last_checkpoint()
        if resume:
            first = json.loads(checkpoint.read_text())["iter"] if checkpoint else 0
            run_dir.append({"event": "resume", "iter": first})
        failing, once = options.get("fake.fail"), run_dir.path / "once"
        if float(options.get("model.losses.fourier.loss.loss_weight", 0)) <= options.get(
            "fake.fail_above", -1
        ):
            failing = None
        if options.get("fake.fail_phase") not in (None, request.phase):
            failing = None
        final = score(options, seed)
        error = options.get("direction") == "minimize"
        best = {"iter": 0, "value": None}
        if first and run_dir.best_checkpoint().exists():  # as the real one: it survives a kill
            best = json.loads(run_dir.best_checkpoint().read_text())

        def end(state, reason=None, metrics=None):
            spent = time.monotonic() - start
            run_dir.write_result(
                Result(
                    state=State(state),
                    reason=reason,
                    metric=Metric("score", checked_direction(options.get("direction", MAXIMIZE))),
                    best=Best(**best) if best["value"] is not None else None,
                    metrics=metrics or {},
                    iters=i,
                    seconds={
                        "total": spent,
                        "train": 0.8 * spent,
                        "val": 0.1 * spent,
                        "setup": 0.1 * spent,
                    },
                    checkpoints=Checkpoints(best="checkpoints/best.pth"),
                    conditions=Conditions(teacher_sha256=weights(options)),
                )
            )

        i = first
        try:
            for i in range(first + 1, iters + 1):
                with open(run_dir.path / "executed.txt", "a") as file:
                    file.write(f"{i}\n")
                time.sleep(float(options.get("fake.sleep", 0.0)))
                row = {
                    "iter": i,
                    "epoch": 0,
                    "seconds": time.monotonic() - start,
                    "train/loss": 1.0 / i,
                }
                if i % VAL_EVERY == 0:
                    value = final * i / iters
                    row["val/score"] = 100.0 - value if error else value
                    best = {"iter": i, "value": row["val/score"]}
                    write_atomic(run_dir.best_checkpoint(), json.dumps(best))
                run_dir.append(row)
                freed = run_dir.path.parent.parent / "freed"
                if i >= 5 and str(failing).endswith("_once") and not once.exists():
                    once.touch()
                    if failing == "lose_once":
                        end("stopped", "LostWorkerError: a data loader's worker died")
                        sys.exit(2)
                    if failing == "hang_once":
                        time.sleep(1000)
                    os.kill(os.getpid(), signal.SIGKILL)
                if i >= 3 and failing == "enospc" and not freed.exists():
                    Path("/dev/full").write_text("checkpoint")
                mended = run_dir.path.parent.parent / "mended"
                if i >= 3 and failing == "exception" and not mended.exists():
                    raise RuntimeError("boom")
                if i >= 3 and failing == "input":
                    end("failed", "DataError: an image must be readable, got 'x.png'")
                    sys.exit(2)
                if i >= 3 and failing == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if i >= 3 and failing == "exit":
                    os._exit(3)
                if i % VAL_EVERY == 0:
                    path = run_dir.checkpoints / f"iter_{i}.pth"
                    write_atomic(path, json.dumps({"iter": i}))
                    write_atomic(run_dir.checkpoints / "last_checkpoint", path.name)
                asked = run_dir.stop_asked()
                if signals:
                    asked = Stop(state=State.STOPPED, reason=f"signal {signals[0]}")
                    write_atomic(run_dir.checkpoint(i), json.dumps({"iter": i}))
                    run_dir.keep_only(run_dir.checkpoint(i))
                if asked is not None and i < iters:
                    end(asked.state, asked.reason)
                    return
        except (RuntimeError, OSError) as error:
            end("failed", f"{type(error).__name__}: {error}")
            sys.exit(1)
        metrics = {"val/score": best["value"]}
        if request.test_split:
            metrics[f"{request.test_split}/score"] = best["value"] + (1.0 if error else -1.0)
        end("complete", metrics=metrics)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    children: dict[int, str] = {}

    def emit(**event):
        os.write(1, (json.dumps(event) + "\n").encode())

    emit(event="ready")
    pending = b""
    while True:
        if select.select([0], [], [], 0.01)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "kill" in message:
                    for pid, run in children.items():
                        if run == message["kill"]:
                            os.killpg(pid, signal.SIGKILL)
                    continue
                if "check" in message or "measure" in message:
                    ask, path = next((a, message[a]) for a in ("check", "measure") if a in message)
                    (check if ask == "check" else measure)(Path(path))
                    emit(event="exited", run=path, code=0, signal=None)
                    continue
                pid = os.fork()
                if pid == 0:
                    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
                    signal.signal(signal.SIGTERM, lambda number, frame: signals.append("SIGTERM"))
                    os.setpgid(0, 0)
                    code = 1
                    try:
                        run = Path(message["run"])
                        log = os.open(run / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                        os.dup2(log, 2)
                        Path(run / "env.json").write_text(json.dumps(message["env"]))
                        train(RunDir(run), message["resume"])
                        code = 0
                    except SystemExit as stop:
                        code = stop.code
                    finally:
                        os._exit(code)
                children[pid] = message["run"]
                emit(event="started", run=message["run"], pid=pid)
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                run = children.pop(pid)
                emit(
                    event="exited",
                    run=run,
                    code=code if code >= 0 else None,
                    signal=-code if code < 0 else None,
                )


if __name__ == "__main__":
    main()
