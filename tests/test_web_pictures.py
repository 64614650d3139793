"""Pictures in JavaScript: what is done with them before, between and after steps, as in Python."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from javascript import call
from numpy.typing import NDArray
from PIL import Image

from ortist.engine import color, scales, starts
from ortist.engine.canvas import Canvas
from ortist.engine.errors import InputError
from ortist.engine.images import LUMA, fit_area, fit_size, resize_image, resize_tensor, size
from ortist.engine.images.tensors import to_image, to_tensor
from ortist.engine.options import Options
from ortist.engine.scales import plan_scales
from ortist.engine.schedule import parse_schedule

PICTURES = "tests/web/pictures.js"
CONSTANTS = {
    "scales": {
        "growth": scales.GROWTH,
        "single_side": scales.SINGLE_SIDE,
        "first_side": scales.FIRST_SIDE,
        "matched_side": scales.MATCHED_SIDE,
    },
    "size": {"min_side": size.MIN_SIDE},
    "starts": {
        "grain": starts.GRAIN,
        "noise_range": starts.NOISE_RANGE,
        "normal_deviation": starts.NORMAL_DEVIATION,
    },
    "tensors": {"luma": LUMA},
    "color": {"least_variance": color.LEAST_VARIANCE},
}
MEAN = (123.68, 116.779, 103.939)
RESIZED = [
    (7, 9, 7, 9),
    (7, 9, 14, 9),
    (7, 9, 7, 5),
    (40, 33, 13, 21),
    (5, 4, 31, 27),
    (64, 3, 9, 50),
]
Picture = NDArray[np.float32]


def _picture(*shape: int, low: float = -20, high: float = 275) -> Picture:
    return np.random.default_rng(8).uniform(low, high, (1, *shape)).astype(np.float32)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize(("height", "width", "to_height", "to_width"), RESIZED)
def test_pictures_are_resampled_as_by_pillow(
    height: int, width: int, to_height: int, to_width: int, linear: bool
) -> None:
    picture = _picture(3, height, width)
    resized = call(PICTURES, "resizePicture", picture, to_width, to_height, {"linear": linear})
    kind = Image.Resampling.BILINEAR if linear else Image.Resampling.BICUBIC
    planes = [Image.fromarray(plane).resize((to_width, to_height), kind) for plane in picture[0]]
    np.testing.assert_allclose(resized[0], np.stack(planes), rtol=1e-6, atol=1e-4)
    own = resize_tensor(picture, to_width, to_height, linear)
    np.testing.assert_allclose(resized, own, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "to_height", "to_width"), RESIZED)
def test_bytes_are_resampled_as_in_python(
    height: int, width: int, to_height: int, to_width: int
) -> None:
    generator = np.random.default_rng(9)
    for pixels in (
        generator.integers(0, 256, (height, width, 3)).astype(np.uint8),
        generator.integers(0, 2, (height, width, 3)).astype(np.uint8) * 255,  # overshoots most
    ):
        resized = call(PICTURES, "resizedPixels", pixels, to_width, to_height)
        np.testing.assert_array_equal(resized, resize_image(pixels, to_width, to_height))


def test_pixels_are_converted_as_in_python() -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(call(PICTURES, "picture", pixels), to_tensor(pixels))
    picture = _picture(3, 5, 7)
    picture[0, 0, 0] = [-0.5, 0.5, 1.5, 2.5, 254.5, 255.5, 1e9]  # halves go to even
    np.testing.assert_array_equal(call(PICTURES, "pixels", picture), to_image(picture))


def _schedule(value: Any, positive: bool, places: list[float]) -> Any:
    try:
        schedule = parse_schedule("it", value, positive)
    except InputError:
        return None
    return [schedule.is_constant, *map(schedule.at, places)]


def test_schedules_are_those_of_python() -> None:
    values: list[Any] = [3, 0, 2.5, -1, True, None, [1], {}, "", ",", "|", "1", "1,", "0,6@0.5"]
    values += ["1,10", "1,10@0.3", "1|10@0.3", "5@0.2,6@0.7", "1|2|3", "1,2,3@1", "1@0.5,2@0.5"]
    values += ["1@1.5", "-1,2", "1@-0.1", "nan", "inf", "1@nan", " 1 , 2 ", "1_0,2", "1__0", "1e2"]
    values += [".5", "5.", ".", "1e", "+1", "0x10", "1,2|3", "1@0.3@0.4", "1@", "@1", "1e400"]
    choices = random.Random(4)
    pieces = ["1", "2.5", "0", "@", "@0.5", ",", "|", "-", "e1", "_", ".", " "]
    values += ["".join(choices.choices(pieces, k=choices.randint(1, 6))) for _ in range(500)]
    places = ["", "", "@.1", "@0.25 ", "@ 0.5", "@6e-1", "@1"]
    for _ in range(1000):
        chosen = choices.choices(["0", "1", "2.5", "1e-3", " 7_0."], k=choices.randint(1, 4))
        values.append(choices.choice(",|").join(each + choices.choice(places) for each in chosen))
    requests = [[value, positive] for value in values for positive in (False, True)]
    progress = [0, 0.1, 0.25, 0.3, 0.5, 0.7, 0.99, 1]
    answers = call(PICTURES, "schedules", requests, progress)
    expected = [_schedule(*request, progress) for request in requests]
    refused = [isinstance(answer, str) for answer in answers]
    assert refused == [values is None for values in expected]
    assert 500 < sum(refused) < len(refused) - 500
    for answer, own in zip(answers, expected, strict=True):
        if own is None:
            assert answer.startswith("InputError: it is ")
        else:
            assert answer == own


def test_scales_are_those_of_python() -> None:
    choices = random.Random(4)
    requests, expected = [], []
    for _ in range(600):
        width, height = (round(16 * 2 ** choices.uniform(0, 8)) for _ in range(2))
        chosen: dict[str, Any] = {
            "steps": choices.choice([1, 2, 3, 10, choices.randint(1, 500)]),
            "scales": choices.choice([None, None, None, 1, 2, 3, 9]),
            "content_cost": choices.choice(["content", "neighbors"]),
        }
        # As in Python, a picture is what is none of the words.
        pixels = {"init": np.zeros((16, 16, 3), np.uint8)} if choices.random() < 0.2 else {}
        requests.append([width, height, {"init": "noise", **chosen, **pixels}, CONSTANTS])
        planned = plan_scales(width, height, Options(**chosen, **pixels))
        expected.append([{"width": s.width, "height": s.height, "steps": s.steps} for s in planned])
    assert call(PICTURES, "scales", requests) == expected
    assert {len(planned) for planned in expected} >= {1, 2, 3, 4, 5}


def test_sizes_are_those_of_python() -> None:
    choices = random.Random(4)

    def side() -> int:
        return choices.randint(1, choices.choice([20, 300, 5000]))

    requests, expected = [], []
    for _ in range(1000):
        width, height = side(), side()
        options = {
            "size": choices.randint(16, 1000),
            "width": choices.choice([None, side()]),
            "height": choices.choice([None, side()]),
            "max_pixels": choices.choice([64_000_000, 100_000]),
        }
        requests.append([width, height, options, CONSTANTS])
        sides = {"to_width": options["width"], "to_height": options["height"]}
        limits = {"size": options["size"], "max_pixels": options["max_pixels"]}
        try:
            expected.append(list(fit_size(width, height, **sides, **limits)))
        except InputError:
            expected.append(None)
        area = choices.randint(1, 10**6)
        fitted = call(PICTURES, "fitArea", width, height, area, CONSTANTS)
        assert fitted == list(fit_area(width, height, area))
    answers = call(PICTURES, "sizes", requests)
    told = [None if isinstance(answer, str) else answer for answer in answers]
    assert told == expected
    messages = [answer for answer in answers if isinstance(answer, str)]
    assert 100 < len(messages) < 900
    assert all(message.startswith("InputError: the picture is ") for message in messages)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("word", color.COLORS)
def test_what_is_seen_of_a_point_is_that_of_python(word: str, masked: bool) -> None:
    content, point = _picture(3, 6, 7, low=0, high=255), _picture(3, 6, 7)[:, :, ::-1]
    painted = _picture(6, 7, low=0, high=1)[0] if masked else None
    canvas = Canvas(content, word, painted)
    for method in ("seen", "pulled", "picture"):
        expected = getattr(canvas, method)(point)
        result, same = call(PICTURES, "through", method, content, word, painted, point, CONSTANTS)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-3)
        if method != "picture":
            assert same == (expected is point)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("gray", [False, True])
def test_styles_are_recolored_as_in_python(gray: bool, masked: bool) -> None:
    style = _picture(3, 9, 8, low=10, high=90) * np.float32([[[[1]], [[0.5]], [[2]]]])
    if gray:  # but for noise, which is no direction of colors
        style = color.gray(style) + _picture(3, 9, 8, low=0, high=0.5)[:, ::-1]
    content = _picture(3, 5, 7, low=0, high=255)[:, ::-1] + np.linspace(0, 90, 7, dtype=np.float32)
    masks = tuple(
        _picture(*p.shape[2:], low=0, high=1)[0] if masked else None for p in (style, content)
    )
    for name, expected in [
        ("recolored", color.recolored(style, content, masks)),
        ("matchedLuma", color.matched_luma(style, content, masks)),
    ]:
        result = call(PICTURES, name, style, content, masks, CONSTANTS)
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-2)


def _start(init: Any, content: Picture, styles: list[Picture], seed: int = 0) -> Picture:
    scene = {"content": content, "styles": styles}
    options = {"init": init, "noise_ratio": 0.25, "seed": seed}
    return call(PICTURES, "startingPicture", scene, options, MEAN, CONSTANTS)


def test_starts_are_what_their_names_say() -> None:
    content, mean = _picture(3, 120, 130, low=0, high=255), np.reshape(MEAN, (1, 3, 1, 1))
    np.testing.assert_array_equal(_start("content", content, []), content)
    np.testing.assert_array_equal(_start("blank", content, []), np.float32(0 * content + mean))
    uniform = _start("uniform", content, [])
    assert uniform.min() >= 0
    assert uniform.max() < 255
    np.testing.assert_allclose(uniform.mean(axis=(0, 2, 3)), 127.5, atol=3)
    assert uniform.std() == pytest.approx(255 / 12**0.5, rel=0.02)
    normal = (_start("normal", content, []) - mean) / starts.NORMAL_DEVIATION
    assert np.abs(normal.mean(axis=(2, 3))).max() < 0.04
    np.testing.assert_allclose(_moments_of(normal), [1, 0, 3], atol=0.1)
    noise = (_start("noise", content, []) - 0.75 * content) / 0.25 - mean
    assert 0.99 * starts.NOISE_RANGE < np.abs(noise).max() < 1.001 * starts.NOISE_RANGE
    assert noise.std() == pytest.approx(2 * starts.NOISE_RANGE / 12**0.5, rel=0.02)


def _moments_of(values: NDArray[Any]) -> list[float]:
    """Return those of second to fourth order."""
    return [float((values**order).mean()) for order in (2, 3, 4)]


def test_noise_goes_by_the_seed_and_has_no_pattern() -> None:
    content = _picture(3, 128, 128)
    for init in ("uniform", "normal"):
        first = _start(init, content, [], 3)
        np.testing.assert_array_equal(first, _start(init, content, [], 3))
        seeds = (4, 3 + 2**32, 3 + 2**40)
        values = [first, *(_start(init, content, [], seed) for seed in seeds)]
        planes = np.concatenate(values).reshape(12, -1)
        planes -= planes.mean(axis=1, keepdims=True)
        shifted = np.roll(planes, 1, axis=1)
        correlations = np.corrcoef(np.concatenate([planes, shifted]))
        assert np.abs(correlations - np.eye(24)).max() < 0.04


def test_the_start_in_colors_of_styles_has_their_moments() -> None:
    styles = [_picture(3, 20, 30, low=0, high=99), 2 * _picture(3, 40, 11, low=0, high=99)[:, ::-1]]
    styles[0][:, 1] += styles[0][:, 0]
    colors = np.concatenate([style.reshape(3, -1) for style in styles], axis=1)
    start = _start("style", _picture(3, 200, 201), styles).reshape(3, -1)
    np.testing.assert_allclose(start.mean(axis=1), colors.mean(axis=1), atol=2)
    expected = np.cov(colors)
    np.testing.assert_allclose(np.cov(start), expected, rtol=0, atol=0.04 * expected.max())


def test_a_picture_to_start_from_is_resampled_as_in_python() -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (30, 41, 3)).astype(np.uint8)
    image = Image.fromarray(pixels).resize((18, 17), Image.Resampling.LANCZOS)
    start = _start(pixels, _picture(3, 17, 18), [])
    np.testing.assert_array_equal(start, to_tensor(np.asarray(image)))


def test_grain_is_gray_and_stays_in_range() -> None:
    picture = _picture(3, 128, 128, low=0, high=255)
    grained = call(PICTURES, "grained", picture, 5, CONSTANTS)
    assert grained.min() == 0
    assert grained.max() == 255
    inside = ((grained > 0) & (grained < 255)).all(axis=1)[0]
    noise = (grained - picture)[0][:, inside]
    np.testing.assert_allclose(noise, noise[:1].repeat(3, axis=0), atol=1e-4)
    middle = np.full((1, 3, 128, 128), 127.5, np.float32)
    noise = call(PICTURES, "grained", middle, 5, CONSTANTS) - middle
    assert noise.std() == pytest.approx(starts.GRAIN, rel=0.03)
