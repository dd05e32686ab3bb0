"""Nothing lost, nothing empty, nothing over the model's limit, offsets exact, overlap as asked: for any document."""

import os
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from malgeul.embedding.boundaries import Boundaries, prose_levels
from malgeul.embedding.chunk import CHARACTERS_PER_TOKEN, Text, chunks_of
from malgeul.embedding.sentences import punctuation_starts
from malgeul.embedding.settings import ChunkLimits, ChunkSettings
from malgeul.embedding.sizes import Size, sizes_of
from malgeul.embedding.statute import with_statute
from malgeul.shards.faults import ItemFault
from unit.embedding.conftest import bundled_tokenizer

EXAMPLES = int(os.environ.get("MALGEUL_EXAMPLES", "1000"))
"""Generated documents, a quarter per strategy; CI has 10,000."""

FRAGMENTS = [
    "원고는 피고에게 물품 대금을 지급하라고 청구하였다.",
    "그러나 이를 인정할 증거가 없고, 달리 볼 사정도 없으므로, 원고의 주장은 받아들이지 아니한다.",
    "오늘은 비가 왔다",
    "정말 그런가요?",
    "제1장 총칙",
    "제2조(정의) ① 이 법에서 사용하는 용어의 뜻은 다음 각 호와 같다.",
    "제3조의2(적용 범위) 이 법은 제3조에 따라 적용한다.",
    "② 제1항에도 불구하고 다음 각 호의 사항은 그러하지 아니하다.",
    "  1. “기록”이란 문서, 사진, 음성으로 남긴 것을 말한다.",
    "    가. 국가 또는 지방자치단체가 설립한 기관",
    "부칙 <제12345호, 2020. 1. 1.>",
    "- 사과 3개",
    "대한민국의수도는서울이고가장큰섬은제주도이며",
    "가" * 120,  # a word that is unknown as a whole, its parts are not
    "ㅋㅋㅋㅋㅋㅋ",
    "👨‍👩‍👧‍👦👍🏽🇰🇷",
    "e\u0301a\u0308\u0323",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "https://example.org/a/b?c=d",
    "…!?.,;、",
    "\u200b",
    "the quick brown fox",
    "\U0001f9ff\u4e2d\u6587\u0e20\u0e32\u0e29\u0e32",
]
SEPARATORS = [
    "",
    "",
    " ",
    " ",
    " ",
    "\n",
    "\n",
    "\n\n",
    "\t",
    "\r\n",
    "\u3000",
    "\u2028",
    " \n \n",
    " " * 90,
    "\n" * 700,
]

PARTS = st.tuples(st.sampled_from(FRAGMENTS), st.sampled_from(SEPARATORS), st.sampled_from([1, 1, 1, 2, 5, 30]))
DOCUMENTS = st.builds(
    lambda parts, odd: "".join((fragment + separator) * times for fragment, separator, times in parts) + odd,
    st.lists(PARTS, max_size=12),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)

MODELS = st.sampled_from([(512, ""), (128, ""), (64, "passage: "), (40, "")])


def settings_of(strategy, small, overlap):
    """Return settings of a strategy with limits that short documents reach."""
    longest = 60 + 10 * small
    shared = min(overlap, longest // 2)
    limits = ChunkLimits(min_chars=longest // 3, max_chars=longest, overlap=overlap / 120)
    return {
        "standard": ChunkSettings(max_chars=longest, overlap_chars=shared),
        "dynamic": ChunkSettings(
            strategy="dynamic", kinds={"statute": limits}, query_type=("precise", "balanced", "broad")[small % 3]
        ),
        "hybrid": ChunkSettings(strategy="hybrid"),
        "tokens": ChunkSettings(strategy="tokens", max_tokens=64 + small, overlap_tokens=min(overlap, 32)),
    }[strategy]


def assert_invariants(text, chunks, size, tokenizer, prompt=""):
    """Assert what is promised of the chunks of a text in one size."""
    assert bool(chunks) == bool(text.strip())
    if not chunks:
        return
    assert text[: chunks[0].start].strip() == ""
    assert text[chunks[-1].end :].strip() == ""
    for chunk in chunks:
        piece = text[chunk.start : chunk.end]
        assert piece
        assert piece == piece.strip()
        fed = len(tokenizer._tokenizer.backend.encode(prompt + piece).ids)
        assert chunk.tokens == fed <= tokenizer.longest
        if size.unit == "chars":
            assert len(piece) <= size.longest
        else:
            assert fed <= size.longest
            assert len(piece) <= CHARACTERS_PER_TOKEN * size.longest
    assert chunks[0].overlap == 0
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
        assert text[before.end : after.start].strip() == ""
        assert after.overlap == max(0, before.end - after.start)
        shared = text[after.start : before.end]
        if size.unit == "chars":
            assert len(shared) <= size.shared(before.end - before.start)
        else:
            assert tokenizer.count_bare(shared) <= size.overlap


@pytest.mark.parametrize("strategy", ["standard", "dynamic", "hybrid", "tokens"])
@settings(max_examples=EXAMPLES // 4)
@given(
    document=DOCUMENTS,
    model=MODELS,
    small=st.integers(0, 60),
    overlap=st.integers(0, 60),
    seed=st.integers(0, 1 << 16),
)
def test_invariants(strategy, document, model, small, overlap, seed):
    check(strategy, document, model, small, overlap, seed)


@pytest.mark.parametrize("strategy", ["standard", "dynamic", "hybrid", "tokens"])
@pytest.mark.parametrize(
    "document",
    [
        pytest.param("가" * 100_000, id="a word of 100,000 characters"),
        pytest.param("하지만 " * 25_000, id="a sentence of 100,000 characters"),
        pytest.param("가" + " " * 50_000 + "나", id="white space between two words"),
        pytest.param("제1조(목적) " * 5000, id="headings alone"),
        pytest.param("1. " * 10_000, id="numbers alone"),
        pytest.param("e\u0301" * 20_000, id="marks"),
        pytest.param("\u0301" * 20_000, id="marks on nothing"),
        pytest.param("가.\n\n" * 10_000, id="tiny paragraphs"),
        pytest.param("....)))" * 5000, id="punctuation"),
        pytest.param(" \n\t\u3000" * 50, id="white space"),
        pytest.param("", id="nothing"),
    ],
)
def test_invariants_of_odd_documents(strategy, document):
    for seed in range(6):
        check(strategy, document, ((512, ""), (128, "passage: "))[seed % 2], 30, 20, seed)


def check(strategy, document, model, small, overlap, seed):
    """Check sentences as punctuation tells them and sentences anywhere, since no analyser is always right."""
    tokenizer = bundled_tokenizer(*model)
    if strategy == "tokens" and tokenizer.longest < 64 + small:
        tokenizer = bundled_tokenizer()
    rng = random.Random(seed)
    starts = punctuation_starts(document)
    if seed % 2:
        starts = [place for place in range(len(document)) if rng.random() < 0.05 and not document[place].isspace()]
    levels = prose_levels(document, starts)
    if seed % 3 == 0:
        levels = with_statute(document, levels)
    text, boundaries = Text(document, tokenizer), Boundaries(document, levels)
    for size in sizes_of(settings_of(strategy, small, overlap), ("statute", None)[seed % 2], tokenizer.longest):
        chunks = list(chunks_of(text, boundaries, size))
        assert_invariants(document, chunks, size, tokenizer, model[1] if tokenizer.longest == model[0] else "")


def cut(text, size, tokenizer=None, *, statute=False):
    """Return the chunks of a text, sentences told apart by punctuation."""
    tokenizer = tokenizer or bundled_tokenizer()
    levels = prose_levels(text, punctuation_starts(text))
    boundaries = Boundaries(text, with_statute(text, levels) if statute else levels)
    return list(chunks_of(Text(text, tokenizer), boundaries, size))


def pieces(text, size, **how):
    return [text[chunk.start : chunk.end] for chunk in cut(text, size, **how)]


# The forerunner's defects


def test_a_paragraph_over_the_limit_is_split_and_not_dropped():
    long = "이 문단은 끝나지 않고 " * 500
    text = f"앞 문단이다.\n\n{long}\n\n뒤 문단이다."
    found = pieces(text, Size(400, 800))
    assert found[0].startswith("앞 문단이다.")
    assert found[-1].endswith("뒤 문단이다.")
    assert "".join("".join(found).split()) == "".join(text.split())
    assert max(map(len, found)) <= 800


def test_a_paragraph_over_the_models_limit_is_split_and_not_dropped():
    text = "가" * 5000
    assert "".join(pieces(text, Size(400, 800))) == text


@pytest.mark.parametrize("text", ["", "   ", "\n\n\n", "\u3000\t\r\n"])
def test_an_empty_document_has_no_chunk_rather_than_an_empty_one(text):
    assert cut(text, Size(400, 800)) == []


def test_empty_paragraphs_make_no_empty_chunks():
    text = "첫 문단이다." + "\n" * 3000 + "둘째 문단이다." + "\n \n" * 1000
    assert pieces(text, Size(400, 800)) == ["첫 문단이다.", "둘째 문단이다."]


def test_paragraphs_stay_in_their_order():
    text = "\n\n".join(f"{number}번째 문단이며 그 내용은 다음과 같다. 끝." for number in range(300))
    numbers = [int(line.split("번째")[0]) for piece in pieces(text, Size(200, 400)) for line in piece.split("\n\n")]
    assert numbers == list(range(300))


# Where it is cut


def test_sentences_stay_whole_where_they_fit():
    text = "첫 문장이다. 둘째 문장은 조금 더 길다. 셋째 문장이다."
    assert pieces(text, Size(10, 26)) == ["첫 문장이다. 둘째 문장은 조금 더 길다.", "셋째 문장이다."]


def test_a_paragraph_ends_a_chunk_before_a_later_sentence_does():
    text = f"{'앞 문단이다. ' * 8}\n\n{'뒤 문단의 문장이다. ' * 10}"
    first, *_ = pieces(text, Size(50, 100))
    assert first == ("앞 문단이다. " * 8).strip()


def test_a_long_sentence_is_cut_at_a_comma_then_between_words_then_anywhere():
    commas = "그는 아침에 일찍 일어나서 밥을 먹고, 학교에 가는 길에 친구를 만나 함께 걸어서 강가로 내려갔다"
    assert pieces(commas, Size(15, 40))[0].endswith("먹고,")
    words = commas.replace(",", "")
    assert pieces(words, Size(15, 40))[0] == "그는 아침에 일찍 일어나서 밥을 먹고 학교에 가는 길에 친구를 만나"
    assert list(map(len, pieces("가나다라마바사" * 10, Size(15, 40)))) == [40, 30]
    mixed = "하나둘 셋넷다섯 여섯일곱여덟 " * 40
    assert set(" ".join(pieces(mixed, Size(15, 40))).split()) == set(mixed.split())
    levels = [{chunk.level for chunk in cut(text, Size(15, 40))[1:]} for text in (mixed, "가나다라마바사" * 10)]
    assert levels == [{"word"}, {"character"}]


def test_a_sentence_ends_a_chunk_early_where_half_of_the_smallest_size_is_left():
    first, long = "이 문장은 그다지 길지 않은 편이다.", "그러나 뒤에 오는 이 문장은 끝날 줄을 모르고 " * 8
    assert 20 <= len(first) < 40
    assert pieces(f"{first} {long}", Size(40, 60))[0] == first
    assert pieces(f"{first} {long}", Size(55, 70))[0] != first


def test_a_short_tail_is_balanced_without_breaking_the_maximum():
    text = "이 문장은 스무 자쯤 되는 글이다. " * 43  # 43 sentences of 19 characters: 817
    lengths = list(map(len, pieces(text, Size(400, 800))))
    assert len(lengths) == 2
    assert min(lengths) >= 350
    assert list(map(len, pieces("가" * 1550, Size(800, 1500)))) == [800, 750]  # not enough for two of 800


def test_a_short_document_is_one_chunk():
    (chunk,) = cut("짧다.", Size(400, 800))
    assert (chunk.level, chunk.start, chunk.end) == ("document", 0, 3)


def test_an_emoji_and_a_letter_with_marks_stay_whole():
    family, thumb, marked, decomposed = "👨‍👩‍👧‍👦", "👍🏽", "e\u0301\u0323", "\u1112\u1161\u11ab"
    flag, flag_of_tags = "🇰🇷", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    for unit in (family, thumb, marked, decomposed, flag, flag_of_tags):
        for text in (unit * 40, "가" + unit * 40):
            for chunk in cut(text, Size(10, 23, 10)):
                assert len(text[chunk.start : chunk.end].removeprefix("가")) % len(unit) == 0


# Tokens


def test_a_model_that_takes_less_than_the_size_decides():
    text = "원고는 피고에게 물품 대금을 지급하라고 청구하였다. " * 100
    chunks = cut(text, Size(400, 800), bundled_tokenizer(128))
    assert max(chunk.tokens for chunk in chunks) <= 128
    assert sum(chunk.tokens for chunk in chunks) / len(chunks) > 100
    assert all(text[chunk.start : chunk.end].endswith("청구하였다.") for chunk in chunks)


def test_the_prompt_is_counted_as_the_encoder_feeds_it():
    from malgeul.embedding.encoder import Encoder
    from malgeul.models.devices import Device
    from unit.embedding.conftest import BUNDLED

    encoder = Encoder(BUNDLED, Device("cpu", "x"), 1)
    encoder.recipe = replace(encoder.recipe, longest=64, prompt="문서: ")
    tokenizer = bundled_tokenizer(64, "문서: ")
    text = "원고는 피고에게 물품 대금을 지급하라고 청구하였다. " * 20
    chunks = cut(text, Size(100, 200), tokenizer)
    ids, truncated = encoder.tokenize([text[chunk.start : chunk.end] for chunk in chunks])
    assert truncated == 0
    assert [len(each) for each in ids] == [chunk.tokens for chunk in chunks]
    assert max(map(len, ids)) <= 64


def test_chunks_of_tokens_fill_what_was_asked():
    text = "원고는 피고에게 물품 대금을 지급하라고 청구하였다. " * 200
    chunks = cut(text, Size(100, 200, 40, unit="tokens"))
    assert all(100 <= chunk.tokens <= 200 for chunk in chunks)
    assert sum(chunk.tokens for chunk in chunks) / len(chunks) > 170
    short = "원고는 피고에게 물품 대금을 지급하라고 청구하였다. " * 4
    assert len(short) > 100 > bundled_tokenizer().count(short)
    first, *_ = cut(f"{short}\n\n{text}", Size(100, 200, unit="tokens"))
    assert first.tokens >= 100, "the smallest size is in tokens, too"


def test_a_character_of_more_tokens_than_the_model_takes_is_a_fault():
    class Hungry:
        longest, frame = 8, 2

        def count(self, text):
            return 2 + sum(18 if character == "ﷺ" else 1 for character in text)

        def starts(self, text):
            return list(range(len(text)))

    with pytest.raises(ItemFault, match="UNCHUNKABLE: the character at 3"):
        cut("가나다ﷺ라", Size(2, 50), Hungry())


def test_a_prompt_that_leaves_no_room_is_refused():
    with pytest.raises(ValueError, match="too few are left for text"):
        bundled_tokenizer(48, "원고는 피고에게 물품 대금을 지급하라고 청구하였다. " * 3)


# Overlap


@pytest.mark.parametrize("size", [Size(300, 1000, 1000, 0.15), Size(400, 800, 80), Size(100, 200, 40, unit="tokens")])
def test_at_least_half_of_the_overlap_that_was_asked_is_there(size):
    text = "원고는 피고에게 물품 대금을 지급하라고 청구하였다. 피고는 이를 다툰다. " * 200
    for before, after in pairwise(cut(text, size, bundled_tokenizer(2048))):
        shared = text[after.start : before.end]
        length = before.end - before.start
        asked = size.shared(length) if size.unit == "chars" else size.overlap
        given_ = len(shared) if size.unit == "chars" else bundled_tokenizer(2048).count_bare(shared)
        assert asked // 2 - 2 <= given_ <= asked
        assert shared[:2] in {"원고", "피고"}  # whole sentences, since some fit


def test_an_overlap_without_sentences_begins_with_a_word():
    text = "하나둘 셋넷다섯 여섯일곱여덟 " * 40
    for chunk in cut(text, Size(40, 80, 20))[1:]:
        assert chunk.overlap >= 10
        assert text[chunk.start - 1] == " "


# Statutes


STATUTE = """제1장 총칙
제1조(목적) 이 법은 해안쓰레기의 관리에 필요한 사항을 정함을 목적으로 한다.
제2조(정의) ① 이 법에서 사용하는 용어의 뜻은 다음 각 호와 같다.
  1. “해안쓰레기”란 바닷가에 버려진 것을 말한다.
  2. “기록”이란 제3조에 따라 남긴 것을 말한다.
② 그 밖의 용어는 관계 법령에서 정하는 바에 따른다.
제2장 보칙
제3조(기록) 누구든지 기록을 남길 수 있다."""


def test_a_statute_is_cut_at_its_highest_part_that_fits_and_headings_stay_with_what_they_head():
    found = pieces(STATUTE, Size(40, 190), statute=True)
    assert [piece.split("\n")[0] for piece in found] == [
        "제1장 총칙",
        "제2조(정의) ① 이 법에서 사용하는 용어의 뜻은 다음 각 호와 같다.",
    ]
    assert found[1].endswith("남길 수 있다.")
    smaller = cut(STATUTE, Size(30, 100), statute=True)
    assert [chunk.level for chunk in smaller] == ["chapter", "article", "subparagraph"]
    assert all(not STATUTE[: chunk.end].endswith(("총칙", "보칙", "(정의)", "①", "1.")) for chunk in smaller)
