"""Resolved configs as text: equal values back, and nothing in a file is run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourierkd.errors import ConfigError
from fourierkd.literals import config_text, read_literals

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_text_reads_back_equal(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("text") / "config.py"
    path.write_text(config_text({"key": value}))
    assert read_literals(path) == {"key": value}


def test_a_path_is_text_and_nan_stays(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(config_text({"path": Path("/x"), "nan": math.nan, "inf": [-math.inf]}))
    values = read_literals(path)
    assert (values["path"], values["inf"]) == ("/x", [-math.inf])
    assert math.isnan(values["nan"])


@pytest.mark.parametrize(
    "text",
    [
        "open({!r}, 'w')",
        "a = open({!r}, 'w')",
        "import os",
        "def f(): pass",
        "a = b = 1",
        "a.b = 1",
        "a = float(open({!r}, 'w'))",
        "a = [x for x in (1,)]",
        "a = (",
        "a = {{[]: 1}}",
        "a = 1\0",
    ],
)
def test_anything_but_literals_is_refused_and_not_run(tmp_path, text):
    path = tmp_path / "config.py"
    path.write_text(text.format(str(tmp_path / "ran")))
    with pytest.raises(ConfigError, match="is plain values and is not run"):
        read_literals(path)
    assert not (tmp_path / "ran").exists()
