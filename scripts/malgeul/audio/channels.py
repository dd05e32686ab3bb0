"""One speaker per channel, or one room heard twice? How the channels of a recording become files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

from malgeul.audio.levels import EMPTY_CHANNEL_DBFS, Meter
from malgeul.audio.pcm import read_blocks, write_channels

ANTIPHASE = -0.5
"""A correlation below this is that of channels in anti-phase, not of microphones at some distance."""


class Mix(StrEnum):
    """How the channels of a recording became the files it has."""

    ONE = "one channel"
    MEAN = "mean of two channels"
    DIFFERENCE = "half the difference of two channels in anti-phase"
    LEFT = "the left channel, the right one being empty"
    RIGHT = "the right channel, the left one being empty"
    APART = "two channels apart"


def choose_mix(meter: Meter, source_channels: int, threshold: float) -> Mix:
    """Decide from the measured channels.

    Channels are kept apart when there were two and neither the absolute value of their correlation nor that of their
    levels reaches ``threshold``. The mean of two channels in anti-phase would cancel the speech, so that one of them is
    turned round.
    """
    if meter.channels == 1:
        return Mix.ONE
    left, right = (level < EMPTY_CHANNEL_DBFS for level in meter.channel_dbfs)
    if left != right:
        return Mix.RIGHT if left else Mix.LEFT
    correlation = meter.correlation
    if left or correlation is None:
        return Mix.MEAN
    in_one_room = meter.level_correlation is not None and meter.level_correlation >= threshold
    if source_channels == 2 and abs(correlation) < threshold and not in_one_room:
        return Mix.APART
    return Mix.DIFFERENCE if correlation < ANTIPHASE else Mix.MEAN


def write_mixed(pcm: Path, mix: Mix, stem: Path) -> list[Path]:
    """Write the channel files of a recording from its PCM: ``stem``.wav, or ``stem``.0.wav and ``stem``.1.wav.

    Returns their paths. ``pcm`` is used up.
    """
    if mix is Mix.APART:
        paths = [stem.with_name(f"{stem.name}.{channel}.wav") for channel in range(2)]
    else:
        paths = [stem.with_name(f"{stem.name}.wav")]
    if mix is Mix.ONE:
        pcm.replace(paths[0])
    else:
        write_channels(_mixed(read_blocks(pcm), mix), paths)
        pcm.unlink()
    return paths


def _mixed(blocks: Iterable[Any], mix: Mix) -> Iterator[tuple[Any, ...]]:
    for segment in blocks:
        match mix:
            case Mix.APART:
                yield tuple(segment.split_to_mono())
            case Mix.MEAN:
                yield (segment.set_channels(1),)
            case Mix.DIFFERENCE:
                yield (segment.invert_phase(channels=(0, 1)).set_channels(1),)
            case Mix.LEFT | Mix.RIGHT:
                yield (segment.split_to_mono()[mix is Mix.RIGHT],)
