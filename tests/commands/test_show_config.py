"""``fourierkd config``: the text is that of a run folder, and a config again."""

import ast
from pathlib import Path

import pytest

from fourierkd.cli import main
from fourierkd.commands.show_config import resolved_text
from fourierkd.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
TOY = str(ROOT / "tests/engine/toy_config.py")
PAIR = str(ROOT / "configs/shapes/pspnet_fourier.py")


@pytest.fixture(autouse=True)
def _toy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests/engine"))
    monkeypatch.chdir(tmp_path)


def shown(capsys, *arguments):
    """Exit code, stdout and last line of stderr of ``fourierkd config``."""
    with pytest.raises(SystemExit) as end:
        main(["config", *map(str, arguments)])
    out, err = capsys.readouterr()
    return end.value.code, out, err.strip().rpartition("\n")[2]


def test_it_is_the_text_of_the_run_folder(capsys):
    options = ("--cfg-options", "train_cfg.max_iters=4", "train_cfg.val_interval=2")
    with pytest.raises(SystemExit) as end:
        main(["train", TOY, "--wandb", "disabled", "--work-dir", "run", *options])
    assert end.value.code == 0
    capsys.readouterr()
    code, out, _ = shown(capsys, TOY, *options)
    assert code == 0
    assert out == Path("run/config.py").read_text()


@pytest.mark.parametrize("method", [None, "pkd", "student_alone"])
def test_it_is_a_config_again(tmp_path, method):
    text = resolved_text(PAIR, {} if method is None else {"method": method})
    again = tmp_path / "again.py"
    again.write_text(text)
    assert resolved_text(str(again), {}) == text


def test_a_key_alone(capsys):
    code, out, _ = shown(capsys, PAIR, "--method", "pkd", "--key", "model.losses")
    assert code == 0
    assert list(ast.literal_eval(out)) == ["pkd"]
    _, out, _ = shown(capsys, PAIR, "--key", "train_dataloader.dataset.pipeline.0.type")
    assert isinstance(ast.literal_eval(out), str)


def test_a_key_that_is_not_there_is_named_with_near_ones(capsys):
    code, out, line = shown(capsys, PAIR, "--key", "model.loses.fourier")
    assert (code, out) == (2, "")
    assert "has no such key, got 'model.loses'; did you mean 'losses'" in line
    for key in ("param_scheduler.99", "metric.a"):
        with pytest.raises(ConfigError, match="has no such key"):
            resolved_text(PAIR, {}, key=key)


BAD = [
    (["--method", "pkdd"], "did you mean 'pkd'"),
    (["--cfg-options", "modle.losses=1"], "modle"),
    (["--cfg-options", "train_dataloader=None"], "a run config needs train_dataloader"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD)
def test_what_train_refuses_is_refused_in_its_words(capsys, arguments, words):
    code, out, line = shown(capsys, PAIR, *arguments)
    assert (code, out) == (2, "")
    assert words in line
    with pytest.raises(SystemExit):
        main(["train", PAIR, "--work-dir", "run", *arguments])
    assert capsys.readouterr().err.strip().rpartition("\n")[2] == line
    assert not Path("run").exists()
