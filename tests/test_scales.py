from __future__ import annotations

import pytest

from ortist.engine.scales import Scale, plan_scales


@pytest.mark.parametrize("size", [(16, 16), (512, 384), (300, 512)])
def test_small_pictures_have_one_scale(size: tuple[int, int]) -> None:
    assert plan_scales(*size, steps=200) == (Scale(*size, 200),)


def test_large_pictures_grow_from_256_pixels_by_the_root_of_two() -> None:
    scales = plan_scales(1024, 768, steps=200)
    assert [(scale.width, scale.height) for scale in scales] == [
        *((256, 192), (362, 272), (512, 384), (724, 543), (1024, 768))
    ]
    assert sum(scale.steps for scale in scales) == 200
    # Half of the time goes to the last scale, and most of the steps to the cheap ones.
    assert scales[-1].work == pytest.approx(sum(scale.work for scale in scales) / 2, rel=0.1)
    assert {scale.steps for scale in scales} == {40}


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1000])
@pytest.mark.parametrize("count", [1, 2, 4, 20, None])
def test_all_steps_are_spent_and_the_full_size_is_reached(steps: int, count: int | None) -> None:
    scales = plan_scales(700, 90, steps, count)
    assert sum(scale.steps for scale in scales) == steps
    assert (scales[-1].width, scales[-1].height) == (700, 90)
    assert all(scale.steps > 0 and min(scale.width, scale.height) >= 16 for scale in scales)
    assert len(scales) <= (count or 99)
