"""ONNX's own node tests have derivatives: right in double precision, the same in ONNX Runtime."""

from __future__ import annotations

import fnmatch

import onnxruntime
import pytest
from node_gradients import Failure, collected, judge

REASONS = {
    "test_linear_attention_*": "its body is a Scan, which is refused by name",
    "test_range_*_expanded": "its body is a Loop, which is refused by name",
    **dict.fromkeys(
        (
            "test_attention_*_fullymasked_*",
            "test_attention_*_nan_robustness*",
            "test_attention_24_qk_matmul_output_mode3_softmax_precision*",
            "test_attention_4d_causal_nonpad_negative_offset_structural_empty*",
            "test_attention_4d_causal_padded_kv_bf16*",
            "test_attention_local_window_gqa_rank4_mask*",
        ),
        "rows of which all is masked: not a number times 0",
    ),
    "test_batchnorm_*_training_mode": "running statistics have no rule",
    "test_*deform_conv_*": "no rule",
    "test_convtranspose_output_shape": "an output larger than the windows reach has no rule",
    "test_det_*": "no rule",
    **{
        f"test_flexattention{kind and '_'}{kind}": "an operator of the preview domain"
        for kind in (
            *("", "scaled", "gqa", "diff_head_sizes", "score_mod", "prob_mod", "fp16", "double"),
            *("causal_mask", "soft_cap", "relative_positional"),
        )
    },
    "test_maxunpool_export_with_output_shape": "positions refer to another shape",
    "test_tensorscatter*": "no rule",
}
"""Why some cases fail, by pattern of their names."""

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
