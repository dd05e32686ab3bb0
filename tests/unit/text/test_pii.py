"""Personal numbers: labelled lines, written for this project with numbers that belong to nobody."""

import re
from collections import Counter
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul import ROOT
from malgeul.text.pii import KINDS, business_number_holds, find, luhn_holds, mask, masked_lines, resident_number_holds

LINES = (ROOT / "tests/data/pii.txt").read_text(encoding="utf-8").splitlines()


def labelled(line):
    """What stands in ``…[[kind:surface]]…``: the text, and the spans with their kinds."""
    text, spans, at = "", set(), 0
    for match in re.finditer(r"\[\[(\w+):(.*?)\]\]", line):
        text += line[at : match.start()]
        spans.add((len(text), len(text) + len(match.group(2)), match.group(1)))
        text += match.group(2)
        at = match.end()
    return text + line[at:], spans


def found_in(text):
    return {(start, end, kind.name) for start, end, kind in find(text)}


def test_misses_and_false_alarms_on_the_labelled_lines():
    assert len(LINES) == 271
    right, missed, false = Counter(), [], []
    for line in LINES:
        text, wanted = labelled(line)
        found = found_in(text)
        right.update(kind for *_, kind in wanted & found)
        missed += [(kind, text[start:end], text) for start, end, kind in wanted - found]
        false += [(kind, text[start:end], text) for start, end, kind in found - wanted]
    assert missed == []
    assert false == []
    assert right.keys() == {kind.name for kind in KINDS}


def test_placeholders_stand_where_numbers_were_and_are_counted():
    masked, counts = mask("메일 a@example.com, 전화 010-1234-5678이나 02-123-4567로. 2023년 123명")
    assert masked == "메일 [이메일], 전화 [전화번호]이나 [전화번호]로. 2023년 123명"
    assert counts == {"email": 1, "phone_number": 2}
    assert mask(masked) == (masked, {})


def test_numbers_below_each_other_are_no_phone_number_and_one_that_is_wrapped_at_a_hyphen_is():
    table = "순위 02\n3456\n7890\n지역 031\n2345\n6789"
    assert mask(table) == (table, {})
    assert mask("전화 010-1234-\n5678로")[0] == "전화 [전화번호]로"


def test_full_width_forms_are_read_as_what_they_stand_for():
    masked, counts = mask("전화 ０１０－１２３４－５６７８, 메일 ａ＠example．com, １２３명")
    assert masked == "전화 [전화번호], 메일 [이메일], １２３명"
    assert counts == {"email": 1, "phone_number": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "숫자가 없는 글",
        "1" * 100_000,
        "1-" * 50_000,
        "a@" * 50_000,
        "01" * 50_000,
        "1:" * 50_000,
        "a-" * 50_000,
        "1 - " * 50_000,
        (40 * "1" + " ") * 7000,
    ],
    ids=lambda text: text[:42],
)
def test_long_runs_cost_no_more_than_their_length(text):
    started = process_time()
    mask(text)
    assert process_time() - started < 2


def test_a_list_of_numbers_costs_no_more_than_its_length_line_by_line():
    started = process_time()
    assert masked_lines("010-1234-5678, 02-123-4567\n" * 10_000) == ["[전화번호], [전화번호]"] * 10_000 + [""]
    assert process_time() - started < 4


def test_a_number_that_goes_over_a_lines_end_is_in_both_lines():
    text = "가 010-1234-\n5678, 02-123-4567 나\n\n다 010-1234-5678"
    assert masked_lines(text) == ["가 [전화번호]", "[전화번호], [전화번호] 나", "", "다 [전화번호]"]


def test_checksums_of_known_numbers():
    # 8·2 + 1·5 + 1·7 + 1·8 = 36, 36 mod 11 = 3, 11 - 3 = 8
    assert resident_number_holds("8001011000008")
    assert not resident_number_holds("8001011000009")
    # a foreigner's: 36 + 4·8 = 68, 68 mod 11 = 2, 11 - 2 = 9, and 2 more are 11
    assert resident_number_holds("8001015000001")
    assert not resident_number_holds("8001015000007")
    assert not resident_number_holds("8013011000008")
    assert business_number_holds("1234567891")
    assert not business_number_holds("1234567890")
    assert luhn_holds("4242424242424242")
    assert not luhn_holds("4242424242424241")


def test_resident_numbers_have_a_checksum_until_october_2020_and_nobody_is_born_after_2040():
    def checks(digits):
        return sum(resident_number_holds(digits + str(last)) for last in range(10))

    assert [checks(born) for born in ("201004300000", "201005300000", "401231300000", "410101300000")] == [1, 10, 10, 0]


def test_an_account_number_has_ten_to_fourteen_digits_and_a_word_for_it_stands_close_before():
    assert [n for n in range(8, 18) if mask("계좌 " + "1" * n)[1]["account_number"]] == [10, 11, 12, 13, 14]
    assert [n for n in range(18, 26) if mask("계좌" + "." * (n - 1) + " 22222222222")[1]] == list(range(18, 23))


@given(
    st.lists(st.sampled_from([*"-., 가:", "계좌", "카드", "a@b.kr", "8.8.8.8", "8001011000008", "4242", "010", "12"]))
)
def test_numbers_that_are_found_do_not_overlap_and_all_between_them_stays(parts):
    text = "".join(parts)
    masked, counts = mask(text)
    spans = [(start, end) for start, end, _ in find(text)]
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert counts.total() == len(spans)
    ends = [0, *(place for span in spans for place in span), len(text)]
    kept = [text[start:end] for start, end in zip(ends[::2], ends[1::2], strict=True)]
    assert re.sub(r"\[(?:이메일|IP주소|\w+번호)\]", "\0", masked) == "\0".join(kept)
