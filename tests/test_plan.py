"""What a run will do and take, told before it does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from ortist.engine import Engine, InputError, Options
from ortist.engine.lbfgs import HISTORY
from ortist.engine.pace import PROBE_SIZE, Effort, predicted_seconds
from ortist.engine.peaks import peak_bytes
from ortist.engine.scales import Scale
from ortist.engine.scene import Division

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
    # Dask, in tests before this, has what it starts give memory back to the system at once.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
    predicted, measured = map(int, done.stdout.split())
    assert predicted == pytest.approx(measured, rel=0.2)


def peak(width: int, height: int, style_pixels: int = 1, **options: object) -> int:
    chosen = replace(Options(), **options)  # type: ignore[arg-type]
    return peak_bytes([Scale(width, height, 100)], style_pixels, chosen, lambda pixels: 4)


def test_memory_grows_with_the_picture_the_style_and_what_the_optimizer_keeps() -> None:
    assert peak(1024, 768) == 1_744_000_000
    assert peak(4860, 1000) == 2 * 5_243_000_000
    assert peak(1024, 768, content_cost="neighbors") == 2_511_000_000
    pairs = 2 * HISTORY * 3 * 4 * 1024 * 768
    assert peak(1024, 768, optimizer="lbfgs") == peak(1024, 768) + pairs
    assert peak(128, 96, style_pixels=10**6) > 1e9


def test_memory_grows_with_regions() -> None:
    def peak(*names: str, protected: float | None = None) -> int:
        division = Division(dict.fromkeys(names, 0.5), protected)
        scale, options = Scale(1024, 768, 100), Options(content_cost="neighbors")
        return peak_bytes([scale], 1, options, lambda pixels: 4, division)

    whole = peak("")
    assert whole < peak("1") < peak("rest", "1") < peak("rest", "1", "2")
    assert peak("", protected=0.5) > whole


def seconds(*scales: Scale, effort: Effort | None = None, **options: object) -> float:
    """Return what is predicted where an evaluation of the small picture takes a second."""
    chosen = replace(Options(), **options)  # type: ignore[arg-type]
    return predicted_seconds(scales, chosen, effort or Effort(), lambda *size: 1.0)


def test_seconds_follow_from_those_of_a_small_picture() -> None:
    width, height = PROBE_SIZE
    ten = seconds(Scale(width, height, 10))
    assert ten == pytest.approx(10 + 2 * 0.58 + 0.35)
    assert seconds(Scale(width, height, 20)) == pytest.approx(ten + 10)
    assert seconds(Scale(2 * width, 2 * height, 10)) == pytest.approx(4 * (ten - 0.35) + 0.35)
    both = seconds(Scale(width, height, 10), Scale(2 * width, 2 * height, 10))
    assert both == pytest.approx(5 * (ten - 0.35) + 0.7)


def test_seconds_count_what_comes_before_the_steps() -> None:
    scale = Scale(*PROBE_SIZE, 10)
    plain = seconds(scale)
    assert seconds(scale, normalize=True, effort=Effort(costs=7)) == pytest.approx(plain + 7)
    assert seconds(scale, effort=Effort((1.0, 4.0))) == pytest.approx(plain + 4 * 0.58)
    assert seconds(scale, effort=Effort(guided=2)) == pytest.approx(plain + 3)
    assert seconds(scale, content_cost="neighbors") > plain
