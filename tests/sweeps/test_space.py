import pytest

from fourierkd.errors import ConfigError
from sweeps.space import Methods, Tunable, check_space, describe, suggest

WEIGHT = "model.losses.a.loss.loss_weight"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: suggest.float(100, 0.1),
            "low must be below high, got (100, 0.1); use suggest.float(0.1, 100)",
        ),
        (lambda: suggest.float(1, 1), "low must be below high"),
        (lambda: suggest.float(0, 1, log=True), "log=True needs low > 0, got 0"),
        (lambda: suggest.float("0", 1), "low must be a finite number, got '0'"),
        (lambda: suggest.float(0, float("inf")), "high must be a finite number"),
        (lambda: suggest.float(0, 1, step=2), "step must be in"),
        (lambda: suggest.float(1, 10, log=True, step=1), "step must be in"),
        (lambda: suggest.int(5, 2), "low must be below high"),
        (lambda: suggest.int(0.5, 2), "low must be a whole number, got 0.5"),
        (lambda: suggest.categorical([]), "takes a list of values"),
        (lambda: suggest.categorical("ab"), "takes a list of values"),
        (lambda: suggest.categorical([{"type": "x"}]), "suggest.choice(name=value, ...)"),
        (lambda: suggest.categorical([1, 1]), "each value once"),
        (suggest.choice, "needs a named value"),
        (lambda: suggest.flaot(0, 1), "did you mean 'float'?"),
    ],
)
def test_bad_nodes_are_refused(make, message):
    with pytest.raises(ConfigError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"a.b": 1}, "needs a suggest node"),
        ({"a": suggest.float(0, 1), "a.b": 1}, "space holds a and an option inside it"),
        ({"a..b": suggest.float(0, 1)}, "dotted option"),
        ({"a": suggest.float(0, 1), "b": object()}, "plain values"),
        ([], "dict of dotted option"),
    ],
)
def test_bad_spaces_are_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        check_space(space)


def test_describe_tells_spaces_apart():
    first, second = ({"lr": suggest.float(0.1, high)} for high in (1, 2))
    assert describe(first) != describe(second)
    assert describe(first) == {
        "lr": {"suggest": "float", "low": 0.1, "high": 1.0, "log": False, "step": None}
    }


def test_methods_share_a_parameter_where_they_mean_the_same():
    narrow = {WEIGHT: Tunable(suggest.float(1.0, 2.0), 1.0)}
    wide = {WEIGHT: Tunable(suggest.float(1.0, 9.0), 1.0)}
    check_space({"method": Methods({"a": narrow, "b": narrow})})
    with pytest.raises(ConfigError, match="two parameters have one name.*a.loss_weight"):
        check_space({"method": Methods({"a": narrow, "b": wide})})
    twice = {**narrow, "model.losses.a.loss_weight": narrow[WEIGHT]}
    with pytest.raises(ConfigError, match="two parameters have one name"):
        check_space({"method": Methods({"a": twice})})
    for space in (
        {"other": Methods({"a": {}})},
        {"method": suggest.categorical(["a", "b"])},
        {"other": suggest.choice(a=Methods({"a": {}}))},
    ):
        with pytest.raises(ConfigError, match='suggest.method stands at the option "method"'):
            check_space(space)
    check_space({"method": "a", **{option: node for option, (node, _) in narrow.items()}})
    for names in ((), ("a", "a"), (1,)):
        with pytest.raises(ConfigError, match="suggest.method takes"):
            suggest.method(*names)
