"""The code that runs openai/whisper-large-v3-turbo, on the bundled model: batches, memory, segments."""

import json

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from malgeul import ROOT
from malgeul.models.devices import Device
from malgeul.models.memory import DoesNotFit
from malgeul.speech.facts import FLAGS
from malgeul.speech.whisper import Decoded, Segment, Whisper, window_seconds
from unit.spoken import spoken

SOUNDS = spoken("seen")[1]
FOLDER = ROOT / "resources/models/whisper-ko-demo"


def load(threads=1, **options):
    return Whisper(FOLDER, Device("cpu", "x"), "ko", 200, threads, **options)


@pytest.fixture(scope="module")
def whisper():
    return load()


def hear(whisper, sounds):
    return whisper.transcribe([whisper.hear(sound) for sound in sounds])


def features_of(whisper, sounds):
    return whisper._features([whisper.hear(sound) for sound in sounds])


@pytest.mark.parametrize(
    ("files", "seconds"),
    [
        ({"preprocessor_config.json": {"chunk_length": 12}}, 12),
        ({"processor_config.json": {"feature_extractor": {"chunk_length": 12}}}, 12),
        (
            {
                "processor_config.json": {"feature_extractor": {"chunk_length": 12}},
                "preprocessor_config.json": {"chunk_length": 20},
            },
            12,
        ),
        ({"processor_config.json": {"processor_class": "X"}, "preprocessor_config.json": {"chunk_length": 12}}, 12),
        ({"preprocessor_config.json": {}}, 30),
    ],
)
def test_a_window_is_as_long_as_transformers_reads_in_the_folder(tmp_path, files, seconds):
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert window_seconds(tmp_path) == seconds
    assert WhisperFeatureExtractor.from_pretrained(str(tmp_path)).chunk_length == seconds


def test_every_window_gives_its_own_segments_inside_its_time(whisper):
    found = hear(whisper, SOUNDS[:3])
    assert len(found) == 3
    for segments, sound in zip(found, SOUNDS, strict=False):
        assert segments
        for segment in segments:
            assert 0 <= segment.start <= segment.end <= len(sound) / 16_000
            assert segment.text == segment.text.strip() != ""
            assert "<|" not in segment.text
            assert -1 < segment.avg_logprob < 0
            assert 0 < segment.no_speech_prob < 0.5


def test_a_window_gives_the_same_text_alone_and_in_a_batch(whisper):
    together = hear(whisper, SOUNDS)
    alone = [hear(whisper, [sound])[0] for sound in SOUNDS]
    assert [[s.text for s in segments] for segments in together] == [[s.text for s in segments] for segments in alone]


@pytest.mark.parametrize("word_times", [False, True])
def test_windows_that_cores_share_out_give_what_one_core_hears(word_times):
    sounds = (SOUNDS * 3)[:11]
    one, three = (hear(load(threads, word_times=word_times), sounds) for threads in (1, 3))
    for alone, shared in zip(one, three, strict=True):
        assert [s.text for s in shared] == [s.text for s in alone]
        assert [s.words for s in shared] == [s.words for s in alone]


def test_in_int8_the_number_of_cores_changes_nothing():
    sounds = (SOUNDS * 4)[:16]
    one, two, five = (hear(load(threads, precision="int8"), sounds) for threads in (1, 2, 5))
    assert one == two == five


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_attention_by_products_hears_what_the_kernel_hears(monkeypatch, precision):
    """On every processor: where the products do not pay they are as right."""
    whispers = []
    for pays in (False, True):
        monkeypatch.setattr("malgeul.models.attention.products_pay", lambda pays=pays: pays)
        whispers.append(load(precision=precision, word_times=True, temperatures=()))
    by_kernel, by_products = whispers
    assert (by_kernel._model.config._attn_implementation, by_products._model.config._attn_implementation) == (
        "sdpa",
        "malgeul_products",
    )
    with torch.inference_mode():
        features = features_of(by_kernel, SOUNDS)
        expected, found = (one._model.model.encoder(features).last_hidden_state.float() for one in whispers)
    assert float((found - expected).norm() / expected.norm()) < 0.05
    for one, other in zip(hear(by_products, SOUNDS[:4]), hear(by_kernel, SOUNDS[:4]), strict=True):
        assert [segment.text for segment in one] == [segment.text for segment in other]
        begins = [[word.start for segment in segments for word in segment.words] for segments in (one, other)]
        assert begins[0] == pytest.approx(begins[1], abs=0.1)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_a_gpu_hears_what_a_processor_hears(gpu, precision):
    """In the first decoding: what is drawn after it may turn on the last bit of a probability."""
    on_cpu = load(temperatures=())
    on_gpu = Whisper(FOLDER, gpu, "ko", 200, 1, temperatures=(), precision=precision)
    assert on_gpu._model.device.type == "cuda"
    assert on_gpu.dtype == getattr(torch, precision)
    expected, found = ([[s.text for s in segments] for segments in hear(one, SOUNDS)] for one in (on_cpu, on_gpu))
    assert found == expected


@pytest.mark.gpu
def test_a_gpu_makes_nearly_the_features_of_a_processor(gpu, whisper):
    features = features_of(Whisper(FOLDER, gpu, "ko", 200, 1, precision="float32"), SOUNDS)
    assert features.device.type == "cuda"
    expected = features_of(whisper, SOUNDS)
    assert features.shape == expected.shape
    assert (features.cpu() - expected).abs().max() < 1e-3


def test_the_tokens_are_those_of_transformers(whisper):
    torch, model = whisper._torch, whisper._model
    features = features_of(whisper, SOUNDS)
    with torch.inference_mode():
        ours = whisper._decode(model.model.encoder(features).last_hidden_state, 0.0)
        theirs = model.generate(
            features,
            language="ko",
            task="transcribe",
            return_timestamps=True,
            max_new_tokens=200,
            force_unique_generate_call=True,
        ).tolist()
    for decoded, ids in zip(ours, theirs, strict=True):
        expected = [token for token in ids if token != whisper._end and token not in whisper._prompt]
        assert [token for token in decoded.tokens if token != whisper._end] == expected


def test_log_probabilities_are_those_of_the_distribution_that_was_decoded_from(whisper):
    """The first token is a timestamp; all other tokens were forbidden."""
    torch = whisper._torch
    with torch.inference_mode():
        states = whisper._model.model.encoder(features_of(whisper, SOUNDS[:1])).last_hidden_state
        (decoded,) = whisper._decode(states, 0.0)
        logits = whisper._model(encoder_outputs=(states,), decoder_input_ids=torch.tensor([whisper._prompt])).logits[
            :, -1
        ]
    logits = logits.clone()
    logits[:, : whisper._rules.begin] = -torch.inf
    if whisper._rules.latest_begin is not None:
        logits[:, whisper._rules.begin + whisper._rules.latest_begin + 1 :] = -torch.inf
    assert decoded.logprobs[0] == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)


@pytest.mark.parametrize("most", [0, 1, 2])
def test_out_of_memory_halves_the_batch_and_costs_only_what_does_not_fit_alone(monkeypatch, most):
    sizes = []

    def limited(_self, batch):
        sizes.append(len(batch))
        if len(batch) > most:
            raise torch.OutOfMemoryError
        return [[Segment(0.0, 1.0, str(len(heard.sound)), None, None, 1.0)] for heard in batch]

    monkeypatch.setattr(Whisper, "_transcribe", limited)
    found = hear(load(), SOUNDS[:3])
    if most == 0:
        assert all(isinstance(outcome, DoesNotFit) for outcome in found)
    else:
        assert [outcome[0].text for outcome in found] == [str(len(sound)) for sound in SOUNDS[:3]]
    assert sizes[0] == 3


def test_timestamps_cut_the_text_and_text_without_them_spans_the_window(whisper):
    words = whisper._processor.tokenizer.encode("네", add_special_tokens=False)
    at, end = whisper._rules.begin, whisper._end

    def cut(tokens):
        segments, reached = whisper._segments(Decoded(tokens, [-0.1] * len(tokens), 0.1, 0.0), 10.0)
        return [(s.start, s.end) for s in segments], reached

    assert cut([at + 10, *words, at + 50, at + 60, *words, at + 75, end]) == ([(0.2, 1.0), (1.2, 1.5)], 10.0)
    assert cut(words) == ([(0.0, 10.0)], 10.0)
    assert cut([at, *words, at + 50, at + 50, end]) == ([(0.0, 1.0)], 1.0), "more follows"
    assert cut([at, *words, at + 50, at + 50, *words]) == ([(0.0, 1.0)], 1.0), "the tokens ran out"
    assert cut([at, *words, at + 5, at + 5, end]) == ([(0.0, 0.1)], 10.0), "too little to go on from"
    assert cut([end]) == ([], 10.0)


def test_what_the_model_did_not_reach_is_heard_by_itself(whisper, monkeypatch):
    words = whisper._processor.tokenizer.encode("네", add_special_tokens=False)
    at, end = whisper._rules.begin, whisper._end
    stopped = [at, *words, at + 50, at + 50, end]
    whole = [at, *words, at + 100, end]
    given = iter([stopped, whole])
    monkeypatch.setattr(
        whisper,
        "_decode",
        lambda states, temperature, seeds=(): [Decoded(tokens := next(given), [-0.1] * len(tokens), 0.1, 0.0)],
    )
    (segments,) = hear(whisper, [np.concatenate(SOUNDS[:2])])
    assert [(s.start, s.end) for s in segments] == [(0.0, 1.0), (1.0, 3.0)]


def test_what_is_doubtful_is_decoded_again_until_it_is_not(whisper, monkeypatch):
    tokenizer = whisper._processor.tokenizer
    looping = tokenizer.encode("네 " * 60, add_special_tokens=False)
    words = tokenizer.encode("네, 알겠습니다.", add_special_tokens=False)
    at, end = whisper._rules.begin, whisper._end
    asked = []

    def decode(_states, temperature, _seeds=()):
        asked.append(temperature)
        tokens = [at, *(words if temperature > 0.3 else looping), at + 200, end]
        return [Decoded(tokens, [-0.1] * len(tokens), 0.1, temperature)]

    monkeypatch.setattr(whisper, "_decode", decode)
    (segments,) = hear(whisper, SOUNDS[:1])
    assert asked == [0.0, 0.2, 0.4]
    assert [(s.text, s.temperature, s.flags) for s in segments] == [("네, 알겠습니다.", 0.4, [])]


def test_text_that_goes_on_where_it_cannot_be_heard_is_flagged(whisper):
    words = whisper._processor.tokenizer.encode("네", add_special_tokens=False)
    at, end = whisper._rules.begin, whisper._end
    for tokens in ([at, *words], [at, *words, at + 5, at + 5, end]):
        segments, reached = whisper._segments(Decoded(tokens, [-0.1] * len(tokens), 0.1, 0.0), 10.0)
        assert (reached, [s.flags for s in segments]) == (10.0, [["unfinished"]])
        assert set(segments[0].flags) <= set(FLAGS), "the page says what it means"


def test_text_after_the_last_timestamps_stays_where_what_is_left_is_too_short_to_be_heard(whisper):
    words = whisper._processor.tokenizer.encode("네", add_special_tokens=False)
    at = whisper._rules.begin
    tokens = [at, *words, at + 475, at + 475, *words]  # and the tokens ran out
    segments, _ = whisper._segments(Decoded(tokens, [-0.1] * len(tokens), 0.1, 0.0), 10.0)
    assert [(s.start, s.end, s.text) for s in segments] == [(0.0, 9.5, "네"), (9.5, 10.0, "네")]
    assert all(s.flags == ["unfinished"] for s in segments)


def test_a_loop_over_several_segments_is_one(whisper):
    words = whisper._processor.tokenizer.encode("네, 감사합니다.", add_special_tokens=False)
    at = whisper._rules.begin
    tokens = [token for k in range(8) for token in (at + 50 * k, *words, at + 50 * k + 40)]
    segments, _ = whisper._segments(Decoded([*tokens, whisper._end], [-0.1] * 99, 0.1, 0.0), 8.0)
    assert len(segments) == 8
    assert all("looping" in segment.flags for segment in segments)


def test_a_language_may_be_given_by_its_name():
    assert Whisper(FOLDER, Device("cpu", "x"), "korean", 200, 1)._prompt == load()._prompt


def test_what_stays_doubtful_stays_with_its_flags(whisper, monkeypatch):
    words = whisper._processor.tokenizer.encode("네, 알겠습니다.", add_special_tokens=False)
    looping = whisper._processor.tokenizer.encode("네 " * 60, add_special_tokens=False)
    at, end = whisper._rules.begin, whisper._end

    def decode(_states, temperature, _seeds=()):
        """Loop with good chances, but at 0.6 be unlikely."""
        unlikely = temperature == 0.6
        tokens = [at, *(words if unlikely else looping), at + 200, end]
        return [Decoded(tokens, [-1.5 if unlikely else -0.1] * len(tokens), 0.1, temperature)]

    monkeypatch.setattr(whisper, "_decode", decode)
    (segments,) = hear(whisper, SOUNDS[:1])
    assert [(s.temperature, s.flags) for s in segments] == [(0.6, ["unlikely"])]


def test_sampling_gives_the_same_every_time(whisper):
    torch = whisper._torch
    with torch.inference_mode():
        states = whisper._model.model.encoder(features_of(whisper, SOUNDS[:1])).last_hidden_state
        first, again = (whisper._decode(states, 1.0, [7]) for _ in range(2))
        other = whisper._decode(states, 1.0, [8])
    assert first == again
    assert first != other


def test_what_is_drawn_for_a_window_does_not_hang_on_the_others(whisper):
    torch = whisper._torch
    with torch.inference_mode():
        states = whisper._model.model.encoder(features_of(whisper, SOUNDS[:3])).last_hidden_state
        together = whisper._decode(states, 1.0, [1, 2, 3])
        alone = [whisper._decode(states[row : row + 1], 1.0, [row + 1])[0] for row in range(3)]
    assert [one.tokens for one in together] == [one.tokens for one in alone]


def test_a_language_that_the_model_does_not_know_is_said():
    with pytest.raises(ValueError, match="no token for the language 'xx'"):
        Whisper(FOLDER, Device("cpu", "x"), "xx", 200, 1)
