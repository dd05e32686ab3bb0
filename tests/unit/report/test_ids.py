"""A difference of one id is that id's hash: the audit names what was lost without any list of ids."""

from malgeul.report.ids import difference, ids_given, single_id
from malgeul.shards.ledger import Tally
from unit.report.conftest import channel_ids

IDS = [f"문서-{n}" for n in range(1000)]


def test_a_single_lost_id_is_found_among_all():
    gap = difference(Tally.of(IDS), Tally.of(IDS[:500] + IDS[501:]))
    assert gap.n == 1
    assert single_id(gap, IDS) == IDS[500]


def test_a_single_id_too_many_is_found():
    gap = difference(Tally.of(IDS), Tally.of([*IDS, IDS[7]]))
    assert gap.n == -1
    assert single_id(gap, IDS) == IDS[7]


def test_more_than_one_or_an_unknown_one_is_not_guessed():
    assert single_id(difference(Tally.of(IDS), Tally.of(IDS[2:])), IDS) is None
    assert single_id(difference(Tally.of([*IDS, "x"]), Tally.of(IDS)), IDS) is None
    assert single_id(difference(Tally.of(IDS), Tally.of(IDS)), IDS) is None


def test_what_a_shard_gave_is_listed_from_its_tables_and_files(run):
    for stage, shard in [
        ("ingest", "web-0000"), ("filter", "web-0000"), ("export", "law-0000"), ("select", "web-0000"),
        ("chunk", "law-0000"), ("embed", "law-0000"), ("transcribe", "calls-0001"),
    ]:  # fmt: skip
        assert Tally.of(ids_given(run.results, run.ledger(stage, shard))) == run.ledger(stage, shard).given, stage
    assert list(ids_given(run.results, run.ledger("convert", "calls-0000"))) == channel_ids("calls-0000")


def test_a_stage_whose_outputs_hold_no_ids_lists_none(run):
    assert list(ids_given(run.results, run.ledger("merge", "all"))) == []
