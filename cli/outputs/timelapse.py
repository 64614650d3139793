"""A time-lapse of a run: an animation of the picture on its way."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ortist.cli.outputs.file import OutputFile
from ortist.engine import InputError, Step
from ortist.engine.images import resize_image, to_image, written_whole
from ortist.engine.optimizer import State
from ortist.engine.results import Painting

MAX_FRAMES = 100
"""Frames of a time-lapse, but for the hold: with ``LONGER_SIDE`` they stay under 130 MB."""
LONGER_SIDE = 640
FRAME_SECONDS = 0.08
HOLD_SECONDS = 2.0
"""How long the last frame stays."""

_ENCODERS: dict[str, tuple[str, dict[str, int]]] = {
    # More effort than method 2 takes twice the time and saves nothing.
    ".webp": ("WEBP", {"quality": 80, "method": 2}),
    ".gif": ("GIF", {}),
}
_VIDEO = ".mp4"

_Pixels = NDArray[np.uint8]


class Timelapse(OutputFile):
    """Frames from evenly spread steps, written as an animation at the end."""

    name = "time-lapse"
    flag = "--timelapse"
    about = "Animate the picture on its way."
    extensions = (*_ENCODERS, _VIDEO)

    def __init__(self, path: Path, steps: int, force: bool) -> None:
        super().__init__(path, steps, force)
        self._frames: list[_Pixels] = []

    def check(self) -> None:
        """Raise InputError unless the animation can be written."""
        super().check()
        if _is_video(self._path):
            _ffmpeg()

    def step(self, step: Step) -> None:
        """Keep the picture after this step if a frame is due."""
        frames = min(self._steps, MAX_FRAMES)
        before, now = ((step.iteration - past) * frames // self._steps for past in (1, 0))
        if now > before:
            self._frames.append(_limited(step.image()))

    def state(self) -> State:
        """Return the frames so far."""
        return {str(number): frame for number, frame in enumerate(self._frames)}

    def restore(self, state: State, iteration: int) -> None:
        """Take in the frames of the steps before."""
        frames = [state[str(number)] for number in range(len(state))]
        due = iteration * min(self._steps, MAX_FRAMES) // self._steps
        if len(frames) != due:
            raise ValueError(f"the time-lapse has {len(frames)} frames, not {due}")
        for frame in frames:
            fits = frame.ndim == 3 and frame.shape[2] == 3 and 1 <= max(frame.shape) <= LONGER_SIDE
            if frame.dtype != np.uint8 or not fits or not frame.size:
                raise ValueError(f"a frame is {frame.dtype} {list(frame.shape)}")
        self._frames = frames

    def finish(self, painting: Painting) -> None:
        """Write the frames so far and the last picture, all in its size.

        Raises:
            InputError: if the file cannot be written.
        """
        last = _limited(to_image(painting.pixels), even=_is_video(self._path))
        height, width = last.shape[:2]
        frames = [resize_image(frame, width, height) for frame in self._frames]
        if frames and np.array_equal(frames[-1], last):
            frames.pop()
        with written_whole(self._path) as stream:
            if _is_video(self._path):
                stream.write(_video([*frames, last]))
            else:
                _write_animation([*frames, last], stream, self._path.suffix.lower())


def _is_video(path: Path) -> bool:
    return path.suffix.lower() == _VIDEO


def _limited(pixels: _Pixels, even: bool = False) -> _Pixels:
    """Return a picture no larger than a frame may be; H.264 needs sides that are ``even``."""
    height, width = pixels.shape[:2]
    factor = min(1.0, LONGER_SIDE / max(width, height))
    grain = 2 if even else 1
    sides = [max(grain, round(side * factor) // grain * grain) for side in (width, height)]
    return resize_image(pixels, *sides)


def _write_animation(frames: list[_Pixels], stream: IO[bytes], extension: str) -> None:
    file_format, settings = _ENCODERS[extension]
    milliseconds = [round(1000 * FRAME_SECONDS)] * len(frames)
    milliseconds[-1] = round(1000 * HOLD_SECONDS)
    images = _in_256_colors(frames) if file_format == "GIF" else map(Image.fromarray, frames)
    first, *others = images
    first.save(
        stream,
        file_format,
        save_all=True,
        append_images=others,
        duration=milliseconds,
        loop=0,
        **settings,
    )


def _in_256_colors(frames: list[_Pixels]) -> list[Image.Image]:
    """Return frames that share a palette, which takes a tenth of the time of one for each."""
    some = [*frames[:: math.ceil(len(frames) / 4)], frames[-1]]
    palette = Image.fromarray(np.concatenate(some)).quantize()
    return [Image.fromarray(frame).quantize(palette=palette) for frame in frames]


def _ffmpeg() -> str:
    """Return the path of the ffmpeg program."""
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise InputError(
            "an MP4 needs imageio-ffmpeg, which is not installed: pip install 'ortist[video]'"
        ) from None
    try:
        program: str | None = shutil.which(get_ffmpeg_exe())
    except RuntimeError as error:
        raise InputError(f"an MP4 needs ffmpeg: {error}") from error
    if program is None:
        raise InputError(f"an MP4 needs ffmpeg; '{get_ffmpeg_exe()}' is no program")
    return program


def _video(frames: list[_Pixels]) -> bytes:
    """Return H.264 in MP4.

    Not with imageio_ffmpeg.write_frames: it does not say whether ffmpeg succeeded.
    """
    height, width = frames[-1].shape[:2]
    command = [_ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", f"{1 / FRAME_SECONDS:g}", "-i", "-"]
    command += ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", "-f", "mp4"]
    hold = [frames[-1]] * round(HOLD_SECONDS / FRAME_SECONDS - 1)
    # ffmpeg needs a file to go back in. Messages have one as well, since it takes any number of
    # them; a pipe that nobody reads would fill up.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as messages:
        video = Path(folder) / "video.mp4"
        code = _feed([*command, str(video)], [*frames, *hold], messages.fileno())
        if code:
            messages.seek(0)
            lines = messages.read().decode(errors="replace").split("\n")
            ending = signal.strsignal(-code) if code < 0 else f"exit code {code}"
            raise OSError(f"ffmpeg: {next((line for line in lines if line.strip()), ending)}")
        return video.read_bytes()


def _feed(command: list[str], frames: Iterable[_Pixels], messages: int) -> int:
    """Run ffmpeg on frames and return its exit code."""
    # A process group of its own, so that Ctrl-C on the terminal reaches this process only.
    run = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=messages,
        process_group=0 if hasattr(os, "setpgid") else None,
    )
    assert run.stdin is not None
    try:
        with suppress(BrokenPipeError):  # it ended early; its exit code tells
            for frame in frames:
                run.stdin.write(frame.tobytes())
            run.stdin.close()
        return run.wait()
    finally:
        run.kill()  # nothing where it has ended
        # Closing writes what is left, and fails again where writing did.
        with suppress(BrokenPipeError):
            run.stdin.close()
        run.wait()
