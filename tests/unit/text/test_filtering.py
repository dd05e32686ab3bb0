"""Every document is kept or rejected with reason, value and threshold; a killed filter goes on where it was."""

import hashlib
import os
from pathlib import Path

import pytest
from making.texts import petitions

import filter_text
from malgeul.shards.faults import Fault
from malgeul.shards.ledger import read_ledger
from malgeul.shards.tables import TableWriter, read_rows
from malgeul.text.boilerplate import BOILERPLATE, line_key
from malgeul.text.duplicates import DUPLICATES, REPEATED_ID, REPEATED_RECORD, duplicates_of
from malgeul.text.filtering import SCORED, Candidate, Verdict, compare, judge, pack, screen, unpack
from malgeul.text.measures import TEXT_MEASURES
from malgeul.text.morphology import MORPHEME_MEASURES, Analysis, MorphemeAnalyzer
from malgeul.text.profiles import CORPUS_MEASURES, PROFILES, rules_of
from screen_text import screen_text
from unit.text.conftest import jsonl, prose

PLANTED = {
    "duplicate": None,
    "near_duplicate": None,
    "too_short": "짧은 글이다.",
    "too_long": "길고 긴 글이 이어진다. " * 8000,
    "low_hangul": "This is an English text about the sea. " * 8,
    "symbols": " ".join(f"가격 문의 {k}번 ▶▷◇◆!" for k in range(40)),
    "replacement_characters": prose(7).encode("cp949").replace(b"\xb4", b"\xff").decode("cp949", "replace"),
    "few_sentences": "점도 물음표도 없이 이어지는 글은 문장이 어디서 끝나는지 알 수 없으니 읽는 사람이 지친다 " * 5,
    "repeated_lines": prose(1)[:100] + "\n이 줄은 몇 번이고 다시 나온다. 광고를 눌러 주세요." * 8,
    "repeated_ngrams": "처음 듣는 이야기다. " + "오늘도 좋은 하루 되세요. " * 15 + "서울 사람들은 모두 친절했다.",
    "repeated_characters": prose(2) + "ㅋ" * 60,
    "bullet_lines": "- " + prose(3).replace("\n", " ").replace(". ", ".\n- "),
    "ellipsis_lines": "\n".join(f"{line}..." for line in prose(4).split(". ")),
    "spam_words": prose(5) + " 카지노 바카라 먹튀 없는 곳으로 오세요.",
    "few_stopwords": ", ".join(f"사과{k} 배{k} 감{k} 귤{k} 포도{k} 딸기{k} 수박{k} 참외{k}." for k in range(10, 20)),
    "no_predicates": " ".join(f"{k}호 서울의 사과{k} 상자, 부산에 배{k} 상자." for k in range(10, 24)),
}  # fmt: skip


@pytest.fixture
def shard(ingest, make_job, results):
    """Ingest texts, by id or in pairs with it, and give a function that filters them.

    ``duplicates`` are ids, or rows with their kinds.
    """

    def prepare(texts, duplicates=(), shard="web-0000", boilerplate=None, scores=None):
        pairs = list(texts.items() if isinstance(texts, dict) else texts)
        ingest({"a.jsonl": jsonl(*({"id": name, "text": text} for name, text in pairs))}, shard=shard)
        (results / "duplicates.parquet").unlink(missing_ok=True)
        with TableWriter(results / "duplicates.parquet", DUPLICATES) as table:
            kinds = {
                row: name if name in ("near_duplicate", REPEATED_ID) else "duplicate"
                for row, (name, _) in enumerate(pairs)
                if name in duplicates
            }
            if isinstance(duplicates, dict):
                kinds = duplicates
            for row, kind in kinds.items():
                told = {"shard": shard, "id": pairs[row][0], "row": row, "kind": kind, "duplicate_of": "web/x"}
                table.write(told)
            other = {"shard": "zzz-0000", "id": str(len(duplicates)), "row": 0, "kind": "duplicate"}
            table.write(other | {"duplicate_of": "web/x"})
        if scores is not None:
            with TableWriter(results / "scores.parquet", SCORED) as table:
                for name in texts:
                    table.write({"id": name, "scores": scores[name]})
        if boilerplate is not None:
            with TableWriter(results / "boilerplate.parquet", BOILERPLATE) as table:
                for line in boilerplate:
                    table.write({"line": line_key(line), "text": line, "documents": 100, "first": "web/x"})

        def run(
            *,
            threads=1,
            profile="malgeul",
            thresholds=None,
            measure="needed",
            mask_personal_numbers=True,
            scorers=None,
            work=filter_text.filter_text,
        ):
            outputs = {folder: f"{folder}/{shard}.parquet" for folder in ("filtered", "rejected")}
            text = [results / "text" / f"{shard}.parquet"]
            judged_by = {"measure": measure, "profile": profile, "thresholds": thresholds or {}}
            screened = {"screened": f"screened/{shard}.parquet"}
            ingested = [f"ingest/{shard}.json"]
            make_job("screen", shard, screened, ledgers=ingested, inputs={"text": text}, **judged_by).run(screen_text)
            job = make_job(
                "filter",
                shard,
                outputs,
                ledgers=[*ingested, f"screen/{shard}.json"],
                inputs={
                    "text": text,
                    "screened": [results / "screened" / f"{shard}.parquet"],
                    "duplicates": [results / "duplicates.parquet"] if profile == "malgeul" else [],
                    "scores": [] if scores is None else [results / "scores.parquet"],
                    "boilerplate": [] if boilerplate is None else [results / "boilerplate.parquet"],
                },
                threads=threads,
                mask_personal_numbers=mask_personal_numbers,
                scorers=scorers or {},
                **judged_by,
            )
            job.relevant = {
                "duplicates": lambda job: duplicates_of(job.inputs["duplicates"], job.shard),
                "boilerplate": filter_text._boilerplate,
            }
            job.run(work)
            ledger = read_ledger(job.outputs["ledger"])
            return (*(list(read_rows(job.outputs[folder])) for folder in outputs), ledger)

        return run

    return prepare


@pytest.fixture
def batches_of(monkeypatch):
    """Set how many documents are a batch."""
    return lambda size: monkeypatch.setattr(filter_text, "BATCH", size)


def test_every_planted_fault_is_rejected_for_its_reason_with_value_and_threshold(shard):
    texts = {name: text or prose(98 + len(name)) for name, text in PLANTED.items()} | {
        f"good{k}": prose(k) for k in range(10, 15)
    }
    filtered, rejected, ledger = shard(texts, duplicates={"duplicate", "near_duplicate"})()
    assert {row["id"]: row["reason"] for row in rejected} == {name: name for name in PLANTED}
    assert [row["id"] for row in filtered] == [f"good{k}" for k in range(10, 15)]
    rules = {rule.reason: rule for rule in rules_of("malgeul", {}) if rule.reason != "repeated_ngrams"}
    for row in rejected:
        if rule := rules.get(row["reason"]):
            assert row["threshold"] == rule.threshold
            assert row["measured"] == row["features"][rule.measure]
            assert rule.rejects(row["measured"])
    assert ledger.imbalance() is None
    assert ledger.rejected == dict.fromkeys(PLANTED, 1)
    assert (ledger.taken.n, ledger.used.n, ledger.given.n) == (21, 5, 5)


def test_of_one_id_in_a_shard_the_first_that_passes_stays_with_its_own_facts(shard):
    texts = [("a", "짧다"), ("a", f"{prose(1)} 010-1234-5678"), ("a", f"{prose(2)} a@b.kr c@d.kr"), ("a", prose(1))]
    run = shard(texts, duplicates={2: REPEATED_ID, 3: REPEATED_RECORD})
    filtered, rejected, ledger = run()
    assert [row["n_masked"] for row in filtered] == [1]
    assert [row["reason"] for row in rejected] == ["too_short", "DUPLICATE_ID", "duplicate"]
    assert ledger.imbalance() is None
    _, rejected, _ = run(thresholds={"duplicate": 1})
    assert [row["reason"] for row in rejected] == ["too_short", "DUPLICATE_ID", "DUPLICATE_ID"]


def test_an_id_that_another_document_has_is_a_fault_under_every_profile(shard):
    _, rejected, ledger = shard({"a": prose(1), REPEATED_ID: prose(2)}, duplicates={REPEATED_ID})()
    [fault] = ledger.quarantined
    assert (fault["item"], fault["class"]) == (REPEATED_ID, "DUPLICATE_ID")
    assert [(row["id"], row["reason"]) for row in rejected] == [(REPEATED_ID, "DUPLICATE_ID")]
    assert ledger.imbalance() is None
    for profile in PROFILES:
        verdict = Verdict({})
        compare(verdict, REPEATED_ID, rules_of(profile, {}))
        assert verdict.reason == "DUPLICATE_ID"


def test_documents_that_stay_have_all_values_their_morphemes_and_mentions(shard):
    (row,), _, ledger = shard({"a": prose()})()
    assert all(row["features"][rule.measure] is not None for rule in rules_of("malgeul", {}))
    assert row["n_morphemes"] > 100
    for mention in row["mentions"]:
        assert row["text"][mention["start"] : mention["end"]] == mention["surface"]
    assert ledger.measured["mentions"] == len(row["mentions"])
    assert ledger.measured["morphemes"] == row["n_morphemes"]


def test_what_a_rule_before_it_decided_is_not_measured(shard):
    _, (row,), _ = shard({"a": "짧다."})()
    assert {name for name, value in row["features"].items() if value is not None} == {"characters"}


def test_a_threshold_of_the_config_decides(shard):
    run = shard({"a": "짧은 글이다. 그래도 세 문장은 있다. 그러면 된다."})
    assert run()[1][0]["reason"] == "too_short"
    filtered, rejected, ledger = run(thresholds={"too_short": 10})
    assert ([row["id"] for row in filtered], rejected, ledger.reused) == (["a"], [], 0)


def test_speech_has_rules_of_its_own(shard):
    texts = {
        "talk": "네 여보세요 서울 은행인데요 고객님 맞으시죠",
        "short": "네 네",
        "circle": "시청해 주셔서 감사합니다 " * 20,
    }
    filtered, rejected, _ = shard(texts)(profile="speech")
    assert {row["id"]: row["reason"] for row in rejected} == {"short": "too_short", "circle": "repeated_ngrams"}
    assert [row["id"] for row in filtered] == ["talk"]
    assert "서울" in {mention["surface"] for mention in filtered[0]["mentions"]}


def digests(results):
    return {
        folder: hashlib.sha256((results / folder / "web-0000.parquet").read_bytes()).hexdigest()
        for folder in ("filtered", "rejected")
    }


def test_the_number_of_threads_changes_no_byte(shard, results, batches_of):
    batches_of(7)
    texts = {f"{k}": prose(k) if k % 4 else "짧다." for k in range(60)}
    run = shard(texts)
    run(threads=1)
    one = digests(results)
    (results / "kept").rename(results / "away")
    run(threads=4)
    assert digests(results) == one


def test_a_killed_filter_goes_on_where_it_was_and_ends_with_the_same_bytes(shard, results, batches_of, monkeypatch):
    batches_of(5)
    run = shard({f"{k}": prose(k) if k % 4 else "짧다." for k in range(40)}, duplicates={"3", "33"})
    run()
    undisturbed = digests(results)
    (results / "kept").rename(results / "away")

    class Killed(BaseException):
        pass

    def killed(job):
        put = job.journal.put

        def put_or_die(*args, **kwargs):
            if len(job.journal) == 4:
                raise Killed
            put(*args, **kwargs)

        job.journal.put = put_or_die
        filter_text.filter_text(job)

    with pytest.raises(Killed):
        run(work=killed)
    analysed = []
    original = filter_text.ProcessAnalyzer.analyze

    def count(self, texts):
        return original(self, (analysed.append(text) or text for text in texts))

    monkeypatch.setattr(filter_text.ProcessAnalyzer, "analyze", count)
    run()
    assert digests(results) == undisturbed
    assert not any(analysed[:20])
    assert sum(map(bool, analysed[20:])) == 14  # of 20, five are short and one is a duplicate
    assert not (results / "journal" / "filter" / "web-0000").exists()


def test_a_shard_whose_own_duplicates_did_not_change_is_taken_again(shard):
    texts = {"a": prose(1), "b": prose(2)}
    shard(texts)()
    *_, ledger = shard(texts, duplicates=())()
    assert ledger.reused == 2
    filtered, rejected, ledger = shard(texts, duplicates={"b"})()
    assert ledger.reused == 0
    assert ([row["id"] for row in filtered], [row["reason"] for row in rejected]) == (["a"], ["duplicate"])


def test_a_document_that_kiwi_cannot_analyse_is_quarantined_and_has_a_row(shard, monkeypatch):
    original = filter_text.ProcessAnalyzer.analyze

    def fail_on_second(self, texts):
        for number, analysis in enumerate(original(self, texts)):
            yield Fault("UNTOKENIZABLE", "RuntimeError: x") if number == 1 else analysis

    monkeypatch.setattr(filter_text.ProcessAnalyzer, "analyze", fail_on_second)
    filtered, rejected, ledger = shard({"a": prose(1), "b": prose(2), "c": prose(3)})()
    assert [row["id"] for row in filtered] == ["a", "c"]
    assert [(row["id"], row["reason"], row["measured"]) for row in rejected] == [("b", "UNTOKENIZABLE", None)]
    assert rejected[0]["features"]["characters"] == len(prose(2))
    assert [(fault["item"], fault["class"]) for fault in ledger.quarantined] == [("b", "UNTOKENIZABLE")]
    assert ledger.imbalance() is None


def test_verdicts_survive_the_journal():
    verdicts = [
        Verdict({"characters": 3.0, "bullet_lines": None}, "too_short", 3.0, 200.0),
        Verdict({"hangul": 0.1}, n_morphemes=4, mentions=[{"surface": "서울", "start": 0, "end": 2, "tag": "NNP"}]),
    ]
    verdicts[1].condemn(Fault("UNTOKENIZABLE", "x"))
    assert unpack(pack(verdicts)) == verdicts


def candidates(texts, rules):
    """The texts after the rules on each alone; none of them has duplicates."""
    for text in texts:
        verdict = screen(text, "{}", rules, measure_all=False)
        compare(verdict, None, rules)
        yield Candidate(text, verdict)


def test_cheap_rules_decide_before_the_analysis_and_their_order_is_the_profiles():
    seen = []

    def analyze(texts):
        for text in texts:
            seen.append(text)
            yield Analysis(0, {"stopwords": 0.0, "predicates": None}, [])

    texts = [prose(), "짧다", PLANTED["spam_words"]]
    rules = rules_of("malgeul", {})
    verdicts = list(judge(candidates(texts, rules), rules, analyze))
    assert seen == [prose(), "", ""]
    assert [verdict.reason for verdict in verdicts] == ["few_stopwords", "too_short", "spam_words"]


def test_measuring_all_changes_no_verdict_and_leaves_nothing_unmeasured(shard):
    texts = {name: text or prose(9 + len(name)) for name, text in PLANTED.items()} | {"good": prose(8)}
    kept, rejected, _ = shard(texts, duplicates={"duplicate", "near_duplicate"})()
    all_kept, all_rejected, _ = shard(texts, duplicates={"duplicate", "near_duplicate"})(measure="all")
    assert all_kept == kept
    verdict = lambda row: (row["id"], row["reason"], row["measured"])  # noqa: E731
    assert list(map(verdict, all_rejected)) == list(map(verdict, rejected))
    assert any(row["features"]["predicates"] is None for row in rejected)
    nullable = {"bullet_lines", "ellipsis_lines", "duplicate", "near_duplicate"}
    wanted = {rule.measure for rule in rules_of("malgeul", {})} - nullable
    assert all(row["features"][name] is not None for row in all_rejected for name in wanted)


def test_personal_numbers_are_masked_before_mentions_are_found_and_counted(shard):
    text = "전화 010-1234-5678, 메일 a@example.com. " + prose(1)
    (kept, _), _, ledger = shard({"a": text, "b": prose(2)})()
    assert kept["text"].startswith("전화 [전화번호], 메일 [이메일]. ")
    assert kept["n_masked"] == 2
    assert all(kept["text"][m["start"] : m["end"]] == m["surface"] for m in kept["mentions"])
    assert (ledger.measured["masked_phone_number"], ledger.measured["masked_email"]) == (1, 1)
    rows, _, ledger = shard({"a": text})(mask_personal_numbers=False)
    assert rows[0]["text"] == text
    assert rows[0]["n_masked"] == 0
    assert "masked_email" not in ledger.measured


def assert_reference(texts, profile):
    """Compare with the reference: every measure of every text by itself, then the rules of the profile that reject."""
    rules = rules_of(profile, {})
    measures = [rule.measure for rule in rules if rule.measure in MORPHEME_MEASURES]
    analyzer = MorphemeAnalyzer(1, measures)
    found = judge(candidates(texts, rules), rules, MorphemeAnalyzer(2, measures).analyze)
    for text, verdict in zip(texts, found, strict=True):
        (analysis,) = analyzer.analyze([text])
        values = dict.fromkeys(CORPUS_MEASURES, 0.0) | {n: of(text) for n, of in TEXT_MEASURES.items()}
        values |= analysis.measured
        broken = [r for r in rules if values[r.measure] is not None and r.rejects(values[r.measure])]
        assert verdict.kept == (not broken)
        if broken:
            assert verdict.reason in {rule.reason for rule in broken}


WRITTEN_PROFILES = ["malgeul", "fineweb2_ko", "seed_compat", "speech"]


@pytest.mark.parametrize("profile", WRITTEN_PROFILES)
def test_a_path_without_order_or_shortcut_gives_the_same_verdicts(profile):
    texts = [text for text in PLANTED.values() if text] + [prose(k) for k in range(3)] + [prose(1) + prose(2) * 3]
    assert_reference(texts, profile)


@pytest.mark.parametrize("profile", WRITTEN_PROFILES)
def test_the_same_holds_for_petitions(profile):
    folder = os.environ.get("MALGEUL_PETITIONS")
    if not folder:
        pytest.skip("needs MALGEUL_PETITIONS, a folder of petitions (JSON lines with title and content)")
    assert_reference([petition.content for petition in petitions(Path(folder))], profile)


NOTICE = "무단 전재 및 재배포를 금지합니다."


def test_boilerplate_is_cut_out_before_the_analysis_and_counted(shard):
    texts = {"1": prose(1) + "\n" + NOTICE, "2": NOTICE + "\n" + prose(2), "3": prose(3)}
    kept, rejected, ledger = shard(texts, boilerplate=[NOTICE, "다른 곳에만 있는 줄입니다."])()
    assert {row["id"]: row["text"] for row in kept} == {"1": prose(1), "2": prose(2), "3": prose(3)}
    assert rejected == []
    assert (ledger.measured["boilerplate_lines"], ledger.measured["boilerplate_characters"]) == (2, 2 * len(NOTICE) + 2)
    for row in kept:
        assert all(row["text"][m["start"] : m["end"]] == m["surface"] for m in row["mentions"])


def test_what_boilerplate_leaves_is_judged_as_a_text_of_its_own(shard):
    menu = " ".join(prose(1).split())
    texts = {"stub": f"내용은 짧다.\n{menu}", "whole": f"{prose(2)}\n{NOTICE}"}
    [whole], [stub], ledger = shard(texts, boilerplate=[menu, NOTICE])()
    assert (stub["id"], stub["reason"], stub["measured"], stub["threshold"]) == ("stub", "too_short", 7, 200)
    assert whole["features"]["characters"] == len(whole["text"]) == len(prose(2))
    assert ledger.imbalance() is None


def test_a_document_of_boilerplate_alone_is_rejected(shard):
    _, [row], ledger = shard({"1": prose(1)}, boilerplate=prose(1).split("\n"))()
    assert (row["reason"], row["measured"], row["threshold"]) == ("only_boilerplate", None, None)
    assert ledger.rejected == {"only_boilerplate": 1}


def test_scores_reject_outside_their_limits_and_are_kept_for_all(shard):
    texts = {str(k): prose(k) for k in range(4)}
    scores = {
        "0": {"korean": 0.99, "quality": 0.4},
        "1": {"korean": 0.2, "quality": None},
        "2": {},
        "3": {"quality": 9},
    }
    limits = {"korean": {"minimum": 0.5, "maximum": None}, "quality": {"minimum": None, "maximum": 1.0}}
    kept, rejected, ledger = shard(texts, scores=scores)(scorers=limits)
    assert {row["id"]: dict(row["scores"]) for row in [*kept, *rejected]} == scores
    assert [(row["id"], row["reason"], row["measured"], row["threshold"]) for row in rejected] == [
        ("1", "korean", 0.2, 0.5),
        ("3", "quality", 9, 1.0),
    ]
    assert ledger.rejected == {"korean": 1, "quality": 1}
