"""Optuna's dashboard of a study: what it says, and that it says it without writing a byte."""

import importlib.util
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from wsgiref.util import setup_testing_defaults

import cv2
import numpy as np
import pytest
from tiny_study import FAKE, REPO, outcome, run_dirs, trials_of, wait_for, write_study

from fourierkd.errors import ConfigError, StudyError
from fourierkd.run_dir import RunDir, json_text, write_atomic
from sweeps import optuna_page
from sweeps.coordinator import run_study
from sweeps.executors.local import LocalExecutor
from sweeps.optuna_page import REFUSED, Page, ReadJournal
from sweeps.run import main
from sweeps.study_file import load_study

pytest.importorskip("optuna_dashboard")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 300_000  # milliseconds, on a busy machine
WRITES = [
    ("PUT", "/api/studies/0/note", {"version": 99, "body": "mine"}),
    ("DELETE", "/api/studies/0", {}),
    ("POST", "/api/studies", {"study_name": "new", "directions": ["maximize"]}),
    ("POST", "/api/studies/0/rename", {"study_name": "other"}),
    ("POST", "/api/trials/0/tell", {"state": "Fail"}),
    ("POST", "/api/trials/0/user-attrs", {"user_attrs": {"a": 1}}),
    ("POST", "/api/artifacts/0/0", {"file": "data:text/plain,x", "filename": "x"}),
]


@pytest.fixture(autouse=True)
def looks_each_time(monkeypatch):
    monkeypatch.setattr(optuna_page, "LOOK_EVERY", -1.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    study = load_study(write_study(folder), {"trials": 4, "rung_trials": 0, "final_seeds": 1})
    executor = LocalExecutor(folder / "work/worker.log", command=FAKE)
    command = "python sweeps/run.py study tiny.py"
    run_study(study, folder / "work", executor=executor, command=command)
    return folder / "work"


@pytest.fixture
def finished(made, tmp_path):
    """Work dir of a finished study, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "finished"))


def ask(page, path, method="GET"):
    """Status and body of one request."""
    told = []
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_ACCEPT_ENCODING": ""}
    setup_testing_defaults(environ)
    body = page(environ, lambda status, *_: told.append(status))
    return int(told[0].split()[0]), b"".join(body)


def study_of(page, number=0):
    """What the page is told of one of Optuna's studies."""
    status, body = ask(page, f"/api/studies/{number}")
    assert status == 200
    return json.loads(body)


def files(work_dir):
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in work_dir.rglob("*")
        if path.is_file()
    }


def draw(path, value):
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), np.full((40, 60, 3), value, np.uint8))
    return path.read_bytes()


def fetch(address, method="GET", content=None):
    data = None if content is None else json.dumps(content).encode()
    asked = urllib.request.Request(address, data=data, method=method)
    asked.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.fixture
def serve(tmp_path):
    """Start ``dashboard WORK_DIR --optuna`` as a process; gives its address."""
    started = []

    def start(work_dir):
        command = [sys.executable, str(REPO / "sweeps/run.py"), "dashboard", str(work_dir)]
        process = subprocess.Popen(
            [*command, "--optuna", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONUNBUFFERED": "1", "PATH": "", "PYTHONPATH": str(REPO)},
            cwd=tmp_path,
        )
        started.append(process)
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, (line, process.communicate())
        return found[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_it_leaves_a_running_study_alone(start_cli, serve, tmp_path, straight):
    work_dir = tmp_path / "work"
    process = start_cli("--set", "final_seeds=0", "options.fake.sleep=0.03")
    journal = work_dir / "optuna.log"  # which exists before it names a study
    wait_for(lambda: journal.exists() and '"op_code":4' in journal.read_text(), process, 120.0)
    process.send_signal(signal.SIGSTOP)  # until the dashboard has loaded its packages
    address = serve(work_dir)
    process.send_signal(signal.SIGCONT)
    seen = set()
    while process.poll() is None:
        for path in ("/api/studies", "/api/studies/0", "/api/studies/0/plot/slice", "/csv/0"):
            assert fetch(address + path)[0] in (200, 500)  # a plot of no value
        for method, path, content in WRITES:
            status, body = fetch(address + path, method, content)
            assert (status, json.loads(body)["reason"]) == (405, REFUSED)
        told = json.loads(fetch(f"{address}/api/studies/0")[1])
        seen.add((len(told["trials"]), "running, process" in told["note"]["body"]))
    assert process.wait() == 0, process.communicate()
    assert len(seen) > 1  # it was looked at while it ran, and more came
    assert outcome(work_dir) == straight
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    writers = {entry["worker_id"].rpartition("-")[0] for entry in entries}
    assert len(writers) == 1  # the coordinator

    before = files(work_dir)
    for method, path, content in WRITES:
        assert fetch(address + path, method, content)[0] == 405
    told = json.loads(fetch(f"{address}/api/studies/0")[1])
    assert len(told["trials"]) == len(straight)
    assert files(work_dir) == before
    assert not (work_dir / "optuna.log.lock").exists()


def test_what_it_says_of_a_study(finished):
    told = study_of(Page(finished))
    assert told["objective_names"] == ["score"]
    (best,) = told["best_trials"]
    note = told["note"]["body"]
    assert f"tiny ({finished}): " in note
    assert "runs: 8 of 8 done" in note
    assert f"Best trial of this search: {best['number']}, val score {best['values'][0]:.4g}" in note
    (weight,) = [p for p in best["params"] if p["name"] == "fourier.loss_weight"]
    assert f"| fourier.loss_weight | `{float(weight['param_external_value']):.4g}` |" in note
    assert re.search(r"\| config \| `.*run_config.py` \|", note)
    attributes = {a["key"]: a["value"] for a in told["user_attrs"]}
    assert attributes["config"].endswith("run_config.py")
    assert attributes["command"] == "python sweeps/run.py study tiny.py"
    assert "| command | `python sweeps/run.py study tiny.py` |" in note


def test_a_study_of_an_older_version_has_a_metric_name_too(finished):
    journal = finished / "optuna.log"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if "study:metric_names" not in line))
    assert study_of(Page(finished))["objective_names"] == ["score"]


def test_pictures_of_trials(finished, tmp_path):
    """Newest spectra of a trial's own run, and what a final run with its parameters predicts."""
    page = Page(finished)
    assert not any(t["artifacts"] for t in study_of(page)["trials"])
    runs = run_dirs(finished)
    tuned = next(run for name, run in runs.items() if name.startswith("final_tuned"))
    number = int(re.search(r"_t(\d+)_", tuned.path.name)[1])
    trial = runs[f"trial_{number:03d}"]
    draw(trial.picture(2, "fourier_0"), 50)
    assert [a["filename"] for a in study_of(page)["trials"][number]["artifacts"]] == [
        f"{trial.path.name}/spectra_000002_fourier_0.png"
    ]
    bytes_of = {
        f"{trial.path.name}/spectra_000010_fourier_0.png": draw(trial.picture(10, "fourier_0"), 90),
        f"{tuned.path.name}/predictions_worst.png": draw(tuned.prediction_picture("worst"), 140),
    }
    secret = tmp_path / "secret.png"
    draw(secret, 1)
    for name in ("pictures/predictions_worst.png", str(secret)):
        row = json_text({"iter": 10, "name": "x", "picture": name}) + "\n"
        write_atomic(
            tuned.predictions, (tuned.predictions.read_text() if name[0] == "/" else "") + row
        )
    told = study_of(page)
    pictures = {a["filename"]: a for a in told["trials"][number]["artifacts"]}
    outside = pictures.pop(f"{tuned.path.name}/secret.png")  # no file of another folder is shown
    assert set(pictures) == set(bytes_of)
    trial_id = told["trials"][number]["trial_id"]
    for name, artifact in pictures.items():
        address = f"/artifacts/0/{trial_id}/{artifact['artifact_id']}"
        assert artifact["mimetype"] == "image/png"
        assert ask(page, address) == (200, bytes_of[name])
    assert ask(page, f"/artifacts/0/{trial_id}/{outside['artifact_id']}")[0] != 200
    others = [t for t in told["trials"] if t["number"] != number]
    assert not any(t["artifacts"] for t in others)


def test_each_search_of_a_journal_has_its_own(finished):
    """A comparison that tunes its methods has a study of Optuna's for each."""
    journal, first = finished / "optuna.log", len(trials_of(finished))
    shifted = {"study_id": 1, "trial_id": first}
    for line in journal.read_text().splitlines():
        entry = json.loads(line)
        entry |= {key: entry[key] + by for key, by in shifted.items() if key in entry}
        entry |= {"study_name": "tiny:cwd"} if "study_name" in entry else {}
        with open(journal, "a") as file:
            file.write(json.dumps(entry) + "\n")
    page = Page(finished)
    own, tuned = study_of(page, 0), study_of(page, 1)
    assert "| tunes | `cwd` |" in tuned["note"]["body"]
    assert "| tunes" not in own["note"]["body"]
    draw(RunDir(finished / "runs/trial_001").picture(2, "fourier_0"), 50)
    own, tuned = study_of(page, 0), study_of(page, 1)
    assert [t["number"] for t in own["trials"] if t["artifacts"]] == [1]
    assert not any(t["artifacts"] for t in tuned["trials"])  # whose runs are called otherwise


def test_a_study_that_makes_way_for_another(finished, tmp_path):
    page, trials = Page(finished), len(trials_of(finished))
    assert len(study_of(page)["trials"]) == trials > 1
    old = tmp_path / "old.log"
    shutil.move(finished / "optuna.log", old)
    assert len(study_of(page)["trials"]) == trials  # nothing has come in its place
    lines = old.read_text().splitlines(keepends=True)
    begun = next(n for n, line in enumerate(lines, 1) if json.loads(line)["op_code"] == 4)
    (finished / "optuna.log").write_text("".join(lines[:begun]))
    assert len(study_of(page)["trials"]) == 1


def test_half_a_line_is_left_to_its_writer(tmp_path):
    path = tmp_path / "optuna.log"
    path.write_text('{"op_code": 0}\n{"op_co')
    journal = ReadJournal(path)
    assert list(journal.read_logs(0)) == [{"op_code": 0}]
    journal.append_logs([{"op_code": 2}])
    with open(path, "a") as file:
        file.write('de": 4}\n')
    assert list(journal.read_logs(1)) == [{"op_code": 2}, {"op_code": 4}]
    assert path.read_text() == '{"op_code": 0}\n{"op_code": 4}\n'


def test_where_no_search_has_begun(finished, tmp_path):
    with pytest.raises(StudyError, match=r"holds study\.json.*check the path"):
        main(["dashboard", str(tmp_path / "none"), "--optuna"])
    assert not (tmp_path / "none").exists()
    (finished / "optuna.log").unlink()
    with pytest.raises(StudyError, match="shows a search, and none has begun here"):
        main(["dashboard", str(finished), "--optuna"])


def test_not_beside_a_dry_run(finished):
    with pytest.raises(ConfigError, match="--dry-run is of W&B's dashboard"):
        main(["dashboard", str(finished), "--optuna", "--dry-run"])


@pytest.mark.parametrize("port", ["taken", 70000])
def test_a_port_that_cannot_be_had(finished, port):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        given = held.getsockname()[1] if port == "taken" else port
        with pytest.raises(ConfigError, match=f"a port of its own .*got {given}.*--port 0"):
            main(["dashboard", str(finished), "--optuna", "--port", str(given)])


def test_without_optuna_dashboard(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'fourierkd\[dashboard\]'"):
        main(["dashboard", str(finished), "--optuna"])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)")
@pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="needs playwright")
def test_it_is_seen_in_a_browser(finished, serve):
    from playwright.sync_api import sync_playwright

    trial = run_dirs(finished)["trial_002"]
    draw(trial.picture(2, "fourier_0"), 50)
    address = serve(finished)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}/dashboard/studies/0/note")
        page.get_by_text("Best trial of this search").first.wait_for()
        page.get_by_role("cell", name="command", exact=True).wait_for()
        page.goto(f"{address}/dashboard/studies/0/trials?numbers=2")
        picture = page.locator("img[src*='/artifacts/']").first
        picture.wait_for()
        page.wait_for_function("document.querySelector(\"img[src*='/artifacts/']\").naturalWidth")
        assert picture.evaluate("image => image.naturalWidth") == 60
        browser.close()
