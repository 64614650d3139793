"""ONNX's own node tests have derivatives: right in double precision, the same in ONNX Runtime."""

from __future__ import annotations

import fnmatch

import onnxruntime
import pytest
from node_gradients import Failure, collected, judge

REASONS = {
    "test_linear_attention_*_expanded": "its body is a Scan, which is refused by name",
    "test_range_*_expanded": "its body is a Loop, which is refused by name",
}
"""Cases that no rule can mend, by pattern of their names."""

SHARE = 0.9
RESULTS: dict[str, bool] = {}
NOTES: dict[str, str] = {}
"""Why ONNX Runtime could not be asked, of cases that pass without it."""

CASES, LEFT_OUT = collected()


def reason_of(name: str) -> str:
    return next((REASONS[p] for p in REASONS if fnmatch.fnmatch(name, p)), "")


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    onnxruntime.set_default_logger_severity(4)


@pytest.mark.parametrize("name", CASES)
def test_gradient_of_node_test(name: str) -> None:
    RESULTS[name] = False
    if reason_of(name):
        with pytest.raises(Failure):
            judge(CASES[name])
        return
    note = judge(CASES[name])
    if note:
        NOTES[name] = note
    RESULTS[name] = True


def test_nearly_all_node_tests_have_right_gradients() -> None:
    if len(RESULTS) < len(CASES):
        pytest.skip("not all of them were run")
    print("\n".join(f"{name}: {note}" for name, note in NOTES.items()))  # noqa: T201
    assert sum(RESULTS.values()) >= SHARE * len(RESULTS)
    # Nor are they right only because the runtime that they are for was not asked.
    assert len(NOTES) <= (1 - SHARE) * len(RESULTS)


def test_reasons_are_of_cases() -> None:
    assert all(any(fnmatch.fnmatch(name, p) for name in CASES) for p in REASONS)
    assert not set(CASES) & set(LEFT_OUT)
