"""One analysis per document, in order, the same for any number of threads; a bad document is alone with its fault."""

import pytest

from malgeul.models.kiwi import SEGMENT_CHARACTERS
from malgeul.shards.faults import Fault
from malgeul.text.morphology import Analysis, MorphemeAnalyzer
from unit.text.conftest import PROSE, prose


@pytest.fixture
def analyzer():
    return MorphemeAnalyzer(2)


def test_mentions_are_surfaces_at_their_place_in_the_text(analyzer):
    (analysis,) = analyzer.analyze([f"😀 {PROSE}"])
    assert {"김민수", "부산", "해운대"} <= {mention["surface"] for mention in analysis.mentions}
    for mention in analysis.mentions:
        assert f"😀 {PROSE}"[mention["start"] : mention["end"]] == mention["surface"]
        assert len(mention["surface"]) >= 2
        assert mention["tag"] == "NNP"


def test_places_hold_beyond_the_first_segment(analyzer):
    text = "\n".join(prose(number) for number in range(40))
    assert len(text) > 2 * SEGMENT_CHARACTERS
    (analysis,) = analyzer.analyze([text])
    assert sum(mention["surface"] == "김민수" for mention in analysis.mentions) == 40
    assert all(text[m["start"] : m["end"]] == m["surface"] for m in analysis.mentions)


def test_sentences_have_stopwords_and_predicates_and_a_list_of_names_has_not(analyzer):
    sentences, names, nothing = analyzer.analyze([PROSE, "사과 배 감 귤 포도 딸기 수박 참외", ""])
    assert sentences.measured["stopwords"] > 10
    assert sentences.measured["predicates"] > 0.1
    assert sentences.measured["pronouns"] >= 1  # 그
    assert names.measured == {"stopwords": 0, "predicates": 0, "proper_nouns": 0, "pronouns": 0}
    assert nothing == Analysis(0, {"stopwords": 0, "predicates": None, "proper_nouns": None, "pronouns": 0}, [])


def test_the_number_of_threads_changes_nothing(analyzer):
    texts = [prose(number) if number % 3 else "" for number in range(60)]
    assert list(MorphemeAnalyzer(1).analyze(texts)) == list(analyzer.analyze(texts))


def test_runs_without_a_space_do_not_reach_kiwi_in_one_piece(analyzer):
    analyses = list(analyzer.analyze(["가" * 50_000, "ㅋ" * 50_000, "대한민국의수도는서울이다" * 4000, prose()]))
    assert all(isinstance(analysis, Analysis) for analysis in analyses)


class FaultyKiwi:
    """Raises on texts with BAD and, like Kiwi, pulls ahead and drops the text on which it raised."""

    def __init__(self, ahead=5):
        self.ahead = ahead

    def tokenize(self, texts):
        if isinstance(texts, str):
            return self._tokens(texts)
        return self._stream(iter(texts))

    def _stream(self, texts):
        waiting = []
        for text in texts:
            waiting.append(self._tokens(text))
            if len(waiting) > self.ahead:
                yield waiting.pop(0)
        yield from waiting

    @staticmethod
    def _tokens(text):
        if "BAD" in text:
            raise ValueError("bad text")
        return [type("Token", (), {"tag": "NNP", "form": text, "start": 0, "len": len(text)})()]


@pytest.fixture
def faulty(monkeypatch):
    kiwi = FaultyKiwi()
    monkeypatch.setattr(MorphemeAnalyzer, "kiwi", kiwi)
    return MorphemeAnalyzer(1)


@pytest.mark.parametrize("bad", [{0}, {7}, {19}, {3, 4, 12}, set(range(20)), set()])
def test_a_text_on_which_kiwi_raises_is_alone_with_its_fault(faulty, bad):
    texts = [f"BAD{k}" if k in bad else f"text{k}" for k in range(20)]
    answers = list(faulty.analyze(texts))
    assert {k for k, answer in enumerate(answers) if isinstance(answer, Fault)} == bad
    assert all(answers[k].mentions[0]["surface"] == f"text{k}" for k in range(20) if k not in bad)
    assert all(answers[k].kind == "UNTOKENIZABLE" for k in bad)


def test_an_error_of_the_source_is_not_taken_for_kiwis(faulty):
    def texts():
        yield from ("a", "b", "c")
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(faulty.analyze(texts()))


def test_an_error_of_the_source_comes_through_the_real_kiwi_too(analyzer):
    def texts():
        yield from ("가", "나")
        raise LookupError("the table ends here")

    with pytest.raises(LookupError, match="ends here"):
        list(analyzer.analyze(texts()))


def test_memory_that_runs_out_breaks_the_step(faulty, monkeypatch):
    def no_memory(text):
        raise MemoryError

    monkeypatch.setattr(faulty.kiwi, "_tokens", no_memory)
    with pytest.raises(MemoryError):
        list(faulty.analyze(["a", "b"]))
