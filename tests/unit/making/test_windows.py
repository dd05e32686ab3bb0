"""Training windows: sound and truth agree, and what the model is asked follows Whisper's grammar."""

import numpy as np
import pytest
import torch
from making.speaking import RATE, Clip, Clips, write_clips
from making.whisper import FRAMES, IGNORED, Learner, Shape, make_model, make_processor, train_tokenizer
from making.windows import SECONDS, Said, disturb, draw_window, end_early

TEXTS = ["안녕하세요.", "네, 감사합니다.", "어디에 계세요?"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    frames = [RATE, 2 * RATE, 3 * RATE // 2]
    samples = np.concatenate([np.full(n, 1000 * (k + 1), np.int16) for k, n in enumerate(frames)])
    starts = [0, frames[0], frames[0] + frames[1]]
    write_clips(samples, [Clip(t, "f1", "none", s, n) for t, s, n in zip(TEXTS, starts, frames, strict=True)], folder)
    return Clips([folder])


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    processor = make_processor(train_tokenizer(TEXTS * 5, 320, tmp_path_factory.mktemp("tokenizer")))
    return Learner(make_model(processor.tokenizer, Shape(32, 1, 1, 2), 0), processor, 0.6)


def test_a_clip_is_read_back_as_it_was_written(clips):
    assert clips.sound(1) == pytest.approx(np.full(2 * RATE, 2000 / 32768))
    assert [clip.text for clip in clips] == TEXTS


def test_what_is_said_sounds_there_and_nowhere_else(clips):
    for seed in range(30):
        sound, said = draw_window(clips, np.random.default_rng(seed))
        assert sound.shape == (SECONDS * RATE,)
        loud = np.zeros(len(sound), bool)
        for one in said:
            assert 0 <= one.start < one.end <= SECONDS
            loud[round(one.start * RATE) : round(one.end * RATE)] = True
        assert np.count_nonzero((sound != 0) ^ loud) <= 2 * len(said)


def test_windows_with_nothing_said_are_among_them(clips):
    assert any(not draw_window(clips, np.random.default_rng(seed))[1] for seed in range(300))


def test_disturbance_leaves_times_and_range(clips):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sound, _said = draw_window(clips, rng)
        worse = disturb(sound, rng)
        assert worse.shape == sound.shape
        assert np.isfinite(worse).all()
        assert np.abs(worse).max() <= 1


def test_a_window_that_ends_early_keeps_all_that_is_said(clips):
    ended = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        sound, said = draw_window(clips, rng)
        shorter = end_early(sound + np.float32(0.001), said, rng)
        assert shorter.shape == sound.shape
        kept = np.flatnonzero(shorter)[-1] + 1
        assert (shorter[:kept] == sound[:kept] + np.float32(0.001)).all()
        assert not said or kept >= round(said[-1].end * RATE)
        ended += kept < len(sound)
    assert 5 < ended < 35


def test_the_decoder_is_asked_for_times_around_each_text(learner):
    tokenizer = learner.processor.tokenizer
    rng = np.random.default_rng(0)
    entered, wanted = learner._tokens([[Said(0.5, 1.5, TEXTS[0]), Said(2.0, 3.001, TEXTS[2])], []], rng)
    assert tokenizer.decode(wanted[0], decode_with_timestamps=False, skip_special_tokens=True).strip() == " ".join(
        [TEXTS[0], TEXTS[2]]
    )
    marks = tokenizer.convert_ids_to_tokens(wanted[0])
    assert marks[:3] == ["<|ko|>", "<|transcribe|>", "<|0.50|>"]
    later = [mark for mark in marks[3:] if mark.startswith("<|")]
    assert later == ["<|1.50|>", "<|2.00|>", "<|3.00|>", "<|endoftext|>"]
    silence = wanted[1]
    assert tokenizer.convert_ids_to_tokens(silence[silence != IGNORED]) == ["<|nospeech|>", "<|0.00|>", "<|endoftext|>"]
    assert tokenizer.convert_ids_to_tokens(entered[0])[:3] == ["<|startoftranscript|>", "<|ko|>", "<|transcribe|>"]


def test_every_syllable_can_be_spelt(learner):
    tokenizer = learner.processor.tokenizer
    text = "뷁 쌰앍 꿹"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_step_depends_on_its_number_alone(learner, clips):
    learner.eval()
    one, again, other = (float(learner.losses(clips, 2, 0, step, None)["loss"].detach()) for step in (4, 4, 5))
    assert one == again != other


def test_the_model_answers_within_the_window(learner):
    sounds = [np.zeros(SECONDS * RATE, np.float32)]
    features = learner.features(sounds, torch.device("cpu"))
    assert features.shape == (1, 80, 2 * FRAMES)
    ids = learner.whisper.generate(features, language="ko", task="transcribe", return_timestamps=True, max_new_tokens=5)
    assert ids.shape[0] == 1
