"""Every parent appears exactly once: used, rejected or quarantined (law 1)."""

import json
import os
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from malgeul.shards.faults import Fault
from malgeul.shards.files import write_json
from malgeul.shards.ledger import Ledger, Tally, Units, read_ledger

UNITS = Units("document", "document")


@given(st.lists(st.text()))
def test_a_tally_does_not_depend_on_the_order(ids):
    assert Tally.of(ids) == Tally.of(reversed(ids))


@given(st.lists(st.text(), min_size=1), st.lists(st.text()))
def test_tallies_add_up_as_multisets(first, second):
    assert Tally.of(first) + Tally.of(second) == Tally.of(first + second)
    assert Tally.of(first + first[:1]) != Tally.of(first)


def test_two_ids_in_place_of_two_others_are_noticed_though_the_number_is_the_same():
    assert Tally.of(["1", "4"]) != Tally.of(["2", "3"])


def test_an_account_that_adds_up_has_no_imbalance_and_survives_the_disk(tmp_path):
    ledger = Ledger("filter", "web-0000", Units("document", "sample"), "key", "content", "state")
    ledger.use("a")
    ledger.give("a1")
    ledger.reject("b", "too_short")
    ledger.quarantine("다", Fault("INVALID_UTF8", "byte 3"))
    ledger.note("a", alias="c")
    ledger.measure(characters=7)
    ledger.reused = 1
    ledger.items, ledger.outputs = {"k": ["x"]}, {"x": {"size": 3}}
    ledger.inputs, ledger.versions, ledger.device = {"text": "5d"}, {"kiwipiepy": "0.23"}, {"kind": "cpu"}
    ledger.started, ledger.seconds = 1.5, 2.5
    blank = Ledger("filter", "web-0000", UNITS)
    assert [one.name for one in fields(Ledger) if getattr(ledger, one.name) == getattr(blank, one.name)] == [
        "stage",
        "shard",
    ], "what is left as it is cannot be seen to survive"
    assert ledger.imbalance() is None
    file = tmp_path / "ledger.json"
    write_json(file, ledger.to_json())
    again = read_ledger(file)
    assert again == ledger
    assert json.loads(file.read_text())["quarantined"][0] == {
        "item": "다",
        "class": "INVALID_UTF8",
        "reason": "byte 3",
        "tried": "",
        "retryable": False,
    }


def test_a_ledger_of_an_earlier_job_is_told_from_one_that_computed():
    ledger = Ledger("embed", "s-0000", Units("chunk", "vector"))
    assert not ledger.computed_nothing
    ledger.use("a")
    assert not ledger.computed_nothing
    ledger.reused = 1
    assert ledger.computed_nothing
    ledger.use("b")
    assert not ledger.computed_nothing


def test_an_item_that_was_taken_and_forgotten_is_an_imbalance():
    ledger = Ledger("filter", "web-0000", UNITS)
    ledger.taken.add("lost")
    assert "1 documents taken, 0 accounted for" in str(ledger.imbalance())


def test_an_item_that_was_used_and_rejected_is_an_imbalance():
    ledger = Ledger("filter", "web-0000", UNITS)
    ledger.use("a")
    ledger.reject("a", "too_short")
    ledger.taken = Tally.of(["a"])
    assert ledger.imbalance()


def test_a_rejected_item_without_a_reason_is_an_imbalance():
    ledger = Ledger("filter", "web-0000", UNITS)
    ledger.reject("a", "too_short")
    ledger.rejected.clear()
    assert ledger.imbalance() == "1 rejected, reasons add up to 0"


@pytest.mark.parametrize("text", ['{"stage": "filter"', '{"stage": "filter"}', "[]", '{"ids": null}'])
def test_a_damaged_ledger_is_named(tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"x\.json is not a ledger"):
        read_ledger(file)


def test_a_fault_needs_a_class_of_the_table():
    with pytest.raises(ValueError, match="no class of fault"):
        Fault("BAD_LUCK", "it happened")


def test_a_ledger_names_items_in_unicode_that_any_program_reads_and_counts_them_by_their_bytes(tmp_path):
    path = os.fsdecode("통화.wav".encode("euc-kr"))
    ledger = Ledger("convert", "calls-0000", Units("recording", "channel"))
    ledger.quarantine(path, Fault("EMPTY", "0 bytes"))
    ledger.note(path, what="partial")
    write_json(tmp_path / "ledger.json", ledger.to_json())
    told = json.loads((tmp_path / "ledger.json").read_text("utf-8"))
    for one in (told["quarantined"][0], told["notes"][0]):
        assert one["item"].encode("utf-8").endswith(b".wav"), "no half of a surrogate, which is no text"
    assert told["ids"]["in"] == Tally.of([path]).to_json()
