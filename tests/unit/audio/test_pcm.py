"""PCM is read and written in blocks: memory does not grow with the length of a recording."""

from __future__ import annotations

import wave

import numpy as np

from malgeul.audio.pcm import (
    BLOCK_SECONDS,
    RATE,
    WAV_HEADER,
    insert_silence,
    read_blocks,
    samples_of,
    seconds_of,
    write_channels,
)
from unit.audio.conftest import segment, tone


def test_a_recording_is_read_in_blocks_that_together_are_the_recording(tmp_path):
    path = tmp_path / "a.wav"
    whole = segment(tone(seconds=2.5 * BLOCK_SECONDS))
    write_channels([(whole,)], [path])
    blocks = list(read_blocks(path))
    assert [len(block) / 1000 for block in blocks] == [BLOCK_SECONDS, BLOCK_SECONDS, BLOCK_SECONDS / 2]
    assert b"".join(block.raw_data for block in blocks) == whole.raw_data
    assert seconds_of(path) == 2.5 * BLOCK_SECONDS


def test_samples_are_given_by_frame_and_channel():
    samples = samples_of(segment(tone(amplitude=0.5), tone(amplitude=0.25)))
    assert samples.shape == (RATE, 2)
    assert np.abs(samples).max(axis=0).tolist() == [2**14, 2**13]


def test_silence_is_put_where_it_belongs_and_nothing_else_changes(tmp_path):
    path = tmp_path / "a.wav"
    whole = segment(tone(seconds=1.5 * BLOCK_SECONDS), tone(300, seconds=1.5 * BLOCK_SECONDS))
    path.write_bytes(whole.export(format="wav").read())
    insert_silence(path, [(0.0, 2.0), (12.5, 25.0), (99.0, 0.5)])
    found = np.concatenate([samples_of(block) for block in read_blocks(path)])
    silent = np.zeros((RATE // 2, 2), np.int16)
    said = samples_of(whole)
    parts = [*[silent] * 4, said[: 12 * RATE + RATE // 2], *[silent] * 50, said[12 * RATE + RATE // 2 :], silent]
    assert np.array_equal(found, np.concatenate(parts))
    assert list(tmp_path.iterdir()) == [path]


def test_every_channel_is_written_to_a_mono_file_of_its_own(tmp_path):
    paths = [tmp_path / "a.0.wav", tmp_path / "a.1.wav"]
    left, right = segment(tone(300)), segment(tone(500))
    write_channels([(left, right), (left, right)], paths)
    for path, mono in zip(paths, (left, right), strict=True):
        with wave.open(str(path)) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1)
            assert file.readframes(10**6) == mono.raw_data * 2
        assert path.stat().st_size == 2 * len(mono.raw_data) + WAV_HEADER
