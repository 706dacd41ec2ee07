"""Options of the command line are read as MMEngine reads them."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import DictAction

from fourierkd.errors import ConfigError
from fourierkd.options import parse_options, parse_value, refuse_passwords


def of_mmengine(text: str) -> object:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=DictAction)
    return parser.parse_args(["--cfg-options", f"key={text}"]).cfg_options["key"]


@pytest.mark.parametrize(
    "text",
    ["1", "-2.5", "1e-3", "text", "a/b.pth", "true", "True", "false", "FALSE", "None", "inf"]
    + ["[1,2]", "(1,2)", "1,2", "[a,b]", "(a,b)", "a,b", "[]", "[1]", "(3)", "[(a,1),(b,2)]"]
    + ["[[1,true],[None,x]]", "a.b-c_d", "", "(1333,800)", "0.1,0.2,x"],
)
def test_values_are_those_of_mmengine(text):
    ours, theirs = parse_value(text), of_mmengine(text)
    assert ours == theirs
    assert type(ours) is type(theirs)


@pytest.mark.parametrize(
    "address",
    ["https://me:s3cret@host/a.pth", "http://s3cret@host:80/a", "mlflow+https://a:s3cret@b@host/x"],
)
def test_a_password_in_an_address_is_refused_at_any_depth_and_not_shown(address):
    for value in (address, {"a": [1, (address,)]}):
        with pytest.raises(ConfigError, match=r"\.\.\.@host") as error:
            refuse_passwords(value)
        assert "s3cret" not in str(error.value)


def test_other_addresses_and_texts_pass():
    refuse_passwords({"a": ["https://host/x@y", "me@host", "torchvision://resnet18", 3, None]})


def test_what_mmengine_has_no_words_for_is_a_python_literal():
    assert parse_value("none") is None
    assert parse_value("{'type': 'LowPass', 'cutoff': 0.5}") == {"type": "LowPass", "cutoff": 0.5}
    assert parse_value("[dict(a=1), 2]") == ["dict(a=1)", 2]  # a call is a text
    assert parse_value("'1, 2'") == "1, 2"
    assert parse_value('"true"') == "true"
    assert parse_value("[ 'a,b' , ( 1 , 2.5 ) ]") == ["a,b", (1, 2.5)]


@pytest.mark.parametrize("text", ["(", "[1,2", "it's", "a,b(", "((1,2)", "(1)+(2)", '"'])
def test_what_does_not_close_is_a_text(text):
    assert parse_value(text) == text


def test_what_only_closes_is_a_character():
    assert parse_value("1,2)") == [1, "2)"]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | st.integers() | FLOATS | st.text()


@given(st.lists(st.sampled_from(["a", "1.5", "true"]) | st.integers().map(str)))
def test_lists_need_no_quotes(words):
    assert parse_value(f"[{','.join(words)}]") == [parse_value(word) for word in words]


@given(st.text())
def test_any_text_is_some_value(text):
    parse_value(text)
    assert list(parse_options([f"a.b={text}"])) == ["a.b"]


@given(st.integers() | FLOATS | st.dictionaries(st.integers(), LEAVES))
def test_a_python_literal_is_itself(value):
    assert parse_value(repr(value)) == value


def test_keys():
    assert parse_options(["a=1", "b=x=y", " a = 2 "]) == {"a": 2, "b": "x=y"}
    for item in ("nonsense", "=1"):
        with pytest.raises(ConfigError, match=f"an option is KEY=VALUE, got '{item}'"):
            parse_options([item])
