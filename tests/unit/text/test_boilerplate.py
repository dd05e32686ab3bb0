"""Lines that many documents share are found over the whole corpus and cut out of each."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul.shards.tables import read_rows
from malgeul.text.boilerplate import SHORTEST_LINE, line_key, line_keys, without_lines
from unit.text.conftest import body

NOTICE = "무단 전재 및 재배포를 금지합니다."
FOOTER = "기사 제보는 언제든지 환영합니다"


lines = st.lists(st.text("가나다 \t", max_size=12), max_size=8).map("\n".join)


@given(lines, lines)
def test_a_text_without_lines_has_what_is_left_in_order(text, other):
    keys = frozenset(line_keys(other))
    left, cut = without_lines(text, keys)
    kept = [line for line in text.split("\n") if line_key(line) not in keys]
    assert cut == len(text.split("\n")) - len(kept)
    assert left.strip("\n") == "\n".join(kept).strip("\n")
    assert cut or left == text


def test_white_space_makes_no_other_line_and_short_ones_are_none():
    assert line_key("  로그인이  필요한 기능입니다.") == line_key("로그인이 필요한\t기능입니다. ")
    assert line_key(unicodedata.normalize("NFD", "로그인이 필요합니다")) == line_key("로그인이 필요합니다")
    assert line_key("가" * (SHORTEST_LINE - 1)) is None
    assert line_key("가" * SHORTEST_LINE) is not None
    assert line_keys("로그인이 필요합니다\n네\n로그인이 필요합니다") == [line_key("로그인이 필요합니다")]


def test_lines_are_counted_over_all_shards_by_documents_that_stay(find, results, monkeypatch):
    monkeypatch.setattr("find_duplicates.LINES_AT_ONCE", 3)  # many parts
    bodies = {name: body(number) for number, name in enumerate("abcdef")}
    texts = {name: f"{NOTICE}\n{body}\n{FOOTER if name < 'd' else ''}\n{NOTICE}" for name, body in bodies.items()}
    shards = {
        "web-0000": {name: texts[name] for name in "abc"},
        "web-0001": {name: texts[name] for name in "def"} | {"g": texts["a"], "h": "짧다"},
    }
    _, ledger = find(shards, boilerplate=3)
    rows = [tuple(row.values())[1:] for row in read_rows(results / "boilerplate.parquet")]
    assert rows == [(NOTICE, 6, "web/a"), (FOOTER, 3, "web/a")]
    assert ledger.measured["boilerplate_lines"] == 2


@pytest.mark.parametrize(
    ("masked", "told"), [(True, "문의는 [전화번호]로 하세요"), (False, "문의는 010-1234-5678로 하세요")]
)
def test_a_line_is_listed_with_placeholders_where_documents_have_them(find, results, masked, told):
    texts = {name: f"{body(number)}\n문의는 010-1234-5678로 하세요" for number, name in enumerate("abc")}
    find({"web-0000": texts}, boilerplate=3, mask_personal_numbers=masked)
    [row] = read_rows(results / "boilerplate.parquet")
    assert (row["line"], row["text"]) == (line_key("문의는 010-1234-5678로 하세요"), told)


def test_what_stands_before_a_line_tells_that_its_number_is_personal(find, results):
    notice = "후원계좌 국민은행\n110-234-567890 입니다"
    find({"web-0000": {name: f"{body(number)}\n{notice}" for number, name in enumerate("abc")}}, boilerplate=3)
    assert {row["text"] for row in read_rows(results / "boilerplate.parquet")} == {
        "후원계좌 국민은행",
        "[계좌번호] 입니다",
    }


def test_counts_do_not_depend_on_how_many_lines_are_counted_at_once(find, results, monkeypatch):
    rng = np.random.default_rng(0)
    pool = [body(1000 + number)[:30] for number in range(30)]
    texts = {str(k): "\n".join([body(k), *rng.choice(pool, 6, replace=False)]) for k in range(25)}
    shards = {f"web-000{k}": {name: text for name, text in texts.items() if int(name) % 3 == k} for k in range(3)}
    expected = Counter(line for text in texts.values() for line in set(text.split("\n")) if line in pool)
    tables = []
    for at_once in (1 << 25, 7):
        monkeypatch.setattr("find_duplicates.LINES_AT_ONCE", at_once)
        find(shards, boilerplate=4)
        tables.append(list(read_rows(results / "boilerplate.parquet")))
    assert tables[0] == tables[1]
    found = {row["text"]: row["documents"] for row in tables[0]}
    assert found == {line: n for line, n in expected.items() if n >= 4}
