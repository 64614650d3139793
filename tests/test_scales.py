from __future__ import annotations

import numpy as np
import pytest

from ortist.engine import Options
from ortist.engine.scales import Scale, plan_scales


@pytest.mark.parametrize("size", [(16, 16), (512, 384), (300, 512)])
def test_small_pictures_have_one_scale(size: tuple[int, int]) -> None:
    assert plan_scales(*size, Options(steps=200)) == (Scale(*size, 200),)


@pytest.mark.parametrize(("longer", "first"), [(513, 256), (700, 350), (1000, 250), (1500, 188)])
def test_large_pictures_begin_near_256_pixels(longer: int, first: int) -> None:
    assert plan_scales(longer, longer // 2, Options())[0].width == first


def test_large_pictures_grow_from_256_pixels_by_two() -> None:
    scales = plan_scales(1024, 768, Options(steps=210))
    assert [(scale.width, scale.height) for scale in scales] == [
        (256, 192),
        (512, 384),
        (1024, 768),
    ]
    # Three quarters of the time go to the last scale, and most of the steps to the cheap ones.
    assert scales[-1].work == pytest.approx(sum(scale.work for scale in scales) * 3 / 4, rel=0.02)
    assert {scale.steps for scale in scales} == {70}


@pytest.mark.parametrize(
    ("longer", "first"), [(64, 64), (100, 100), (256, 128), (384, 96), (512, 128), (2048, 128)]
)
def test_with_neighbors_scales_begin_near_128_pixels(longer: int, first: int) -> None:
    scales = plan_scales(longer, longer // 2, Options(content_cost="neighbors"))
    assert scales[0].width == first


def test_a_picture_to_start_from_is_painted_at_one_scale() -> None:
    start = np.zeros((16, 16, 3), np.uint8)
    for options in (Options(init=start), Options(init=start, content_cost="neighbors")):
        assert len(plan_scales(1024, 768, options)) == 1


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1000])
@pytest.mark.parametrize("count", [1, 2, 4, 20, None])
def test_all_steps_are_spent_and_the_full_size_is_reached(steps: int, count: int | None) -> None:
    scales = plan_scales(700, 90, Options(steps=steps, scales=count))
    assert sum(scale.steps for scale in scales) == steps
    assert (scales[-1].width, scales[-1].height) == (700, 90)
    assert all(scale.steps > 0 and min(scale.width, scale.height) >= 16 for scale in scales)
    assert len(scales) <= (count or 99)
