"""Turn RGB frames into a video, by the ffmpeg that imageio-ffmpeg brings."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from diffsim.errors import ConfigError
from diffsim.extras import require
from diffsim.files import replacing
from diffsim.view.spool import Bytes

__all__ = ["CODECS", "encoder", "write_video"]

# What plays everywhere: even sizes, half the resolution for colours (yuv420p), its colours said to be those
# of HDTV, and the index in front, so that a page can start to play before it has all of the file.
CODECS = {
    ".mp4": "-c:v libx264 -preset veryfast -tune animation -crf 16 -movflags +faststart",
    ".webm": "-c:v libvpx-vp9 -crf 24 -b:v 0 -deadline realtime -cpu-used 6 -row-mt 1 -tile-columns 1",
}
_FILTER = "pad=ceil(iw/2)*2:ceil(ih/2)*2:0:0:white,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
_COLORS = "-colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv"
_MOST = 100_000  # the largest denominator of a frame rate


def encoder() -> str:
    """Return the path of ffmpeg.

    Raises:
        MissingExtraError: It is not installed.
    """
    package: Any = require("imageio_ffmpeg", "video", "videos (.mp4 and .webm; a .gif needs nothing)")
    return str(package.get_ffmpeg_exe())


def write_video(path: str | os.PathLike[str], frames: Iterable[Bytes], fps: float, hold: float = 1.0) -> None:
    """Write frames as a video, which takes them one by one.

    Args:
        path: The file to write, .mp4 or .webm; replaced only when it is complete.
        frames: At least one image, each of shape (height, width, 3) or (height, width, 4), whose fourth byte
            is left out, u8.
        fps: Frames per second.
        hold: How long the last frame stays [s].

    Raises:
        ConfigError: There is no frame, or one has another size than the first.
        MissingExtraError: The package that encodes it is not installed.
        OSError: The file can't be written.
    """
    ffmpeg, codec = encoder(), CODECS[Path(path).suffix.lower()]
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        raise ConfigError("frames must hold one picture or more, got none; draw one")
    height, width, channels = first.shape
    rate = str(Fraction(fps).limit_denominator(_MOST))
    taken = f"-f rawvideo -pix_fmt {'rgb24' if channels == 3 else 'rgb0'} -s {width}x{height} -r {rate} -i -"
    with replacing(path) as temporary:
        made = f"-an -vf {_FILTER} {_COLORS} {codec}".split()
        command = [ffmpeg, *"-hide_banner -loglevel error -nostdin -y".split(), *taken.split(), *made]
        with _fed([*command, os.path.abspath(temporary)]) as pipe:
            last = first
            pipe.write(np.ascontiguousarray(first).data)
            for frame in rest:
                if frame.shape != first.shape:
                    raise ConfigError(
                        f"frames must have the size of the first, {first.shape}, got {frame.shape}; "
                        "keep the figure"
                    )
                last = frame
                pipe.write(np.ascontiguousarray(frame).data)
            for _ in range(round(hold * fps) - 1):
                pipe.write(np.ascontiguousarray(last).data)


@contextlib.contextmanager
def _fed(command: list[str]) -> Iterator[IO[bytes]]:
    """Run a program and give what it reads from; when the block ends, wait until it is done.

    Raises:
        OSError: It can't be run, or fails.
    """
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
        pipe: Any = process.stdin
        broken = False
        try:
            try:
                yield pipe
                pipe.close()
            except BrokenPipeError:  # it ended early, and says why
                broken = True
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            with contextlib.suppress(OSError):  # what was not read
                pipe.close()
        if status or broken:
            said.seek(0)
            lines = said.read().decode("utf-8", "replace").strip().splitlines() or [f"status {status}"]
            raise OSError(f"the video could not be written: {'; '.join(lines)}")
