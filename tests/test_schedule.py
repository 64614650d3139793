from __future__ import annotations

import pytest

from ortist.engine import InputError
from ortist.engine.schedule import parse_schedule


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (3, {0: 3, 0.5: 3, 1: 3}),
        ("3", {0: 3, 1: 3}),
        ("1,11", {0: 1, 0.25: 3.5, 1: 11}),
        ("1,11@0.5", {0: 1, 0.25: 6, 0.5: 11, 1: 11}),
        ("4@0.2,8@0.4", {0: 4, 0.2: 4, 0.3: 6, 0.9: 8}),
        ("1,3,2", {0: 1, 0.5: 3, 0.75: 2.5, 1: 2}),
        ("1|10@0.3", {0: 1, 0.29: 1, 0.3: 10, 1: 10}),
        ("1|2|3|4", {0: 1, 0.3: 2, 0.6: 3, 0.8: 4, 1: 4}),
    ],
)
def test_values_over_the_run(text: object, values: dict[float, float]) -> None:
    schedule = parse_schedule("beta", text)
    for progress, value in values.items():
        assert schedule.at(progress) == pytest.approx(value)
    assert schedule.is_constant == (len(set(values.values())) == 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1,",
        "1,2@2",
        "1@0.5,2@0.4",
        "-1",
        "nan",
        "1,2@nan,3",
        "1|2,3",
        None,
        [1, 2],
        "1e999",
    ],
)
def test_what_is_no_schedule_is_told(text: object) -> None:
    with pytest.raises(InputError, match=r"^beta is .*, accepted are numbers from 0, or over"):
        parse_schedule("beta", text)


def test_zero_is_refused_where_it_makes_no_sense() -> None:
    assert parse_schedule("beta", "0,1").at(0) == 0
    with pytest.raises(InputError, match="accepted are numbers above 0"):
        parse_schedule("learning_rate", "0,1", positive=True)
