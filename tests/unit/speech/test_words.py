"""Words have times: monotonic, inside their segment, and the model is left as it was."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from malgeul import ROOT
from malgeul.models.devices import Device
from malgeul.speech.whisper import Whisper
from malgeul.speech.words import boundaries, likeness_of, pieces_of, watched, words_of
from tests.unit.spoken import spoken

FOLDER = ROOT / "resources/models/whisper-ko-demo"
SOUNDS = spoken("seen")[1][:6]


@pytest.fixture(scope="module")
def whisper():
    return Whisper(FOLDER, Device("cpu", "x"), "ko", 200, 1, word_times=True)


def hear(whisper, sounds):
    return whisper.transcribe([whisper.hear(sound) for sound in sounds])


def test_words_are_those_of_the_text_in_order_and_inside_their_segment(whisper):
    for segments in hear(whisper, SOUNDS):
        for segment in segments:
            assert " ".join(word.word for word in segment.words).split() == segment.text.split()
            times = [time for word in segment.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert segment.start <= times[0] <= times[-1] <= segment.end


def test_the_words_of_two_sentences_part_where_the_sentences_do(whisper):
    first, second = sorted(spoken("seen")[1], key=len)[:2]
    alone = [" ".join(segment.text for segment in segments).split() for segments in hear(whisper, [first, second])]
    (both,) = hear(whisper, [np.concatenate([first, second])])
    border = len(first) / 16_000
    words = [word for segment in both for word in segment.words]
    assert [word.word for word in words if (word.start + word.end) / 2 < border] == alone[0]
    assert [word.word for word in words if (word.start + word.end) / 2 > border] == alone[1]


def test_the_model_keeps_its_fast_attention_and_no_hook(whisper):
    hear(whisper, SOUNDS[:1])
    assert whisper._model.config._attn_implementation == "sdpa"
    assert not any(module._forward_hooks for module in whisper._model.modules())


def test_hooks_go_when_the_model_fails(whisper):
    layers = whisper._model.model.decoder.layers
    with pytest.raises(RuntimeError, match="broken"), watched(layers, {0}):
        raise RuntimeError("broken")
    assert not any(module._forward_hooks for module in whisper._model.modules())


def test_the_likeness_is_that_of_the_cross_attention(whisper):
    """Queries and keys taken by hooks give what transformers' slow attention gives."""
    from transformers import WhisperForConditionalGeneration

    torch, model = whisper._torch, whisper._model
    features = whisper._features([whisper.hear(sound) for sound in SOUNDS[:2]])
    with torch.inference_mode():
        states = model.model.encoder(features).last_hidden_state
        ids = torch.tensor([[*whisper._prompt, 5, 6, 7, 8, 9]] * 2)
        seconds = [len(sound) / 16_000 for sound in SOUNDS[:2]]
        ours = likeness_of(model, ids, [ids.shape[1]] * 2, states, seconds)
        filled = torch.cat([ids, ids.new_full((2, 40), whisper._end)], dim=1)
        for one, other in zip(ours, likeness_of(model, filled, [ids.shape[1]] * 2, states, seconds), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)
        slow = WhisperForConditionalGeneration.from_pretrained(str(FOLDER), attn_implementation="eager").float().eval()
        seen = slow.model.decoder(input_ids=ids, encoder_hidden_states=states, output_attentions=True).cross_attentions
    upper = torch.stack(seen[len(seen) // 2 :])  # (layers, n, heads, tokens, frames)
    for row, found in enumerate(ours):
        assert found.shape == (ids.shape[1], -(-len(SOUNDS[row]) // 320)), "a frame of 20 ms is 320 samples"
        weights = upper[:, row, :, :, : found.shape[1]].flatten(0, 1)
        weights = weights / weights.sum(-1, keepdim=True)
        deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
        scaled = ((weights - mean) / deviation).numpy()
        padded = np.pad(scaled, ((0, 0), (0, 0), (3, 3)), mode="reflect")
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, 7, axis=-1), axis=-1).mean(0)
        np.testing.assert_allclose(found, smooth, atol=2e-3)


def test_the_best_path_is_found():
    likeness = np.zeros((3, 8), np.float32)
    likeness[0, :2] = likeness[1, 2:5] = likeness[2, 5:] = 1
    assert boundaries(likeness).tolist() == [0, 2, 5, 8]


@pytest.mark.parametrize(("tokens", "frames"), [(1, 1), (1, 9), (4, 4), (9, 4), (5, 1)])
def test_every_token_has_a_place_in_order(tokens, frames):
    at = boundaries(np.random.default_rng(0).normal(size=(tokens, frames)).astype(np.float32)).tolist()
    assert at == sorted(at)
    assert (at[0], at[-1]) == (0, frames)
    assert frames < tokens or all(a < b for a, b in pairwise(at))


def test_the_best_path_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for _ in range(20):
        likeness = rng.normal(size=(4, 9)).astype(np.float32)
        cuts = [(0, *middle, 9) for middle in combinations(range(1, 9), 3)]
        value = {cut: sum(likeness[k, cut[k] : cut[k + 1]].sum() for k in range(4)) for cut in cuts}
        assert tuple(boundaries(likeness).tolist()) == max(value, key=value.get)


def test_a_character_that_is_spread_over_tokens_is_one_piece(whisper):
    tokenizer = whisper._processor.tokenizer
    tokens = tokenizer.encode("뷁 꿹🙂 네", add_special_tokens=False)
    pieces = pieces_of(tokenizer.decode, tokens)
    assert "".join(text for text, _ in pieces) == tokenizer.decode(tokens)
    assert sum(count for _, count in pieces) == len(tokens)
    assert all("\ufffd" not in text for text, _ in pieces)


def test_bytes_that_are_no_character_part_no_words_after_them(whisper):
    tokenizer = whisper._processor.tokenizer
    halves = tokenizer.encode("뷁", add_special_tokens=False)
    assert len(halves) > 1
    words = tokenizer.encode("네 뷁 감사합니다", add_special_tokens=False)
    for broken in (halves[:1], halves[1:], halves[:-1]):
        tokens = [*words, *broken, *words]
        pieces = pieces_of(tokenizer.decode, tokens)
        assert sum(count for _, count in pieces) == len(tokens)
        assert "".join(text for text, _ in pieces) == tokenizer.decode(tokens)
        assert [text for text, _ in pieces[-3:]] == [text for text, _ in pieces_of(tokenizer.decode, words)[-3:]]


def test_pieces_are_joined_at_white_space():
    words = words_of([" 안녕", "하세요", ",", " 네"], [0.0, 0.2, 0.5, 0.5, 0.9], [0.5, 1.0, 0.6, 0.8])
    assert [(w.start, w.end, w.word, w.probability) for w in words] == [
        (0.0, 0.5, "안녕하세요,", 0.7),
        (0.5, 0.9, "네", 0.8),
    ]
