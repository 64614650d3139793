"""What a run will do and take, told before it does."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ortist.engine import Engine, InputError, Options
from ortist.engine.plan import PROBE_SIZE, Plan, peak_bytes
from ortist.engine.scales import Scale

RANDOM = np.random.default_rng(5)
CONTENT = RANDOM.integers(0, 256, (48, 64, 3), np.uint8)
STYLE = RANDOM.integers(0, 128, (24, 32, 3), np.uint8)

PAINT = """
import re, sys
from pathlib import Path
import numpy as np
from ortist.engine import Engine, Options, find_recipe
width, height = map(int, sys.argv[1:3])
noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
size = {"width": width, "height": height, "steps": 2, "scales": 1}
options = find_recipe(sys.argv[3]).with_options(**size) if sys.argv[3] else Options(**size)
plan = Engine("cpu", 2).plan(noise, noise, options)
for _ in plan.run():
    pass
# Not getrusage: it counts what the process that started this one had.
status = Path("/proc/self/status").read_text()
print(plan.peak_bytes, int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024)
"""


def test_a_plan_says_what_the_run_does() -> None:
    options = Options(width=64, height=48, steps=7, scales=2)
    plan = Engine("cpu", 1).plan(CONTENT, STYLE, options)
    assert plan.size == (64, 48)
    assert plan.evaluations == 7
    steps = list(plan.run())
    assert len(steps) == 7
    assert [step.scale for step in steps] == [1] * plan.scales[0].steps + [2] * plan.scales[1].steps
    assert steps[0].pixels.shape[2:] == (plan.scales[0].height, plan.scales[0].width)
    assert plan.seconds > 0


def test_seconds_are_found_whatever_the_options() -> None:
    """The picture that is timed need not have all of them."""
    options = Options(
        size=32,
        noise_ratio=0.5,
        alpha="1,10",
        learning_rate="4,1",
        averaging=0.9,
        style_weights=(1.0, 2.0),
    )
    assert Engine("cpu", 1).plan(CONTENT, [STYLE, STYLE], options).seconds > 0


def test_a_plan_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="the picture has"):
        Engine("cpu", 1).plan(CONTENT, STYLE, Options(size=100_000))


@pytest.mark.skipif(sys.platform != "linux", reason="where memory is told")
@pytest.mark.parametrize("recipe", ["", "standard"])
@pytest.mark.parametrize("size", [(128, 96), (320, 240)])
def test_the_peak_of_memory_is_that_of_the_plan(size: tuple[int, int], recipe: str) -> None:
    command = [sys.executable, "-c", PAINT, *map(str, size), recipe]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted, measured = map(int, done.stdout.split())
    assert predicted == pytest.approx(measured, rel=0.2)


def peak(width: int, height: int, style_pixels: int = 1, **options: object) -> int:
    chosen = replace(Options(), **options)  # type: ignore[arg-type]
    return peak_bytes([Scale(width, height, 100)], style_pixels, chosen, lambda pixels: 4)


def test_memory_grows_with_the_picture_the_style_and_what_the_optimizer_keeps() -> None:
    assert peak(1024, 768) == 1_600_000_000
    assert peak(2560, 960) == 2 * 2_870_000_000
    assert peak(1024, 768, content_cost="neighbors") == 2_250_000_000
    pairs = 2 * 10 * 3 * 4 * 1024 * 768
    assert peak(1024, 768, optimizer="lbfgs") == peak(1024, 768) + pairs
    assert peak(128, 96, style_pixels=10**6) > 1e9


def test_seconds_follow_from_those_of_a_small_picture() -> None:
    asked = []

    def probe(width: int, height: int) -> float:
        asked.append((width, height))
        return 0.5

    def seconds(*scales: Scale) -> float:
        return Plan(scales, Options(), 0, lambda: NotImplemented, probe).seconds

    width, height = PROBE_SIZE
    assert seconds(Scale(width, height, 10)) == pytest.approx(5)
    assert seconds(Scale(32, 16, 3)) == pytest.approx(1.5)
    assert asked == [PROBE_SIZE, (32, 16)]
    twice = seconds(Scale(width, height, 4), Scale(2 * width, 2 * height, 4))
    assert 4 < twice <= 10
