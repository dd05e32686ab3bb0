"""The report knows every stage of a plan, and every rule whose jobs it tells of."""

from dataclasses import replace
from pathlib import Path

from malgeul.report.stages import FLOWS, STAGES

ROOT = Path(__file__).resolve().parents[3]


def test_every_stage_of_a_plan_has_a_name_and_a_flow(run):
    whole = replace(run.plan, scored=True, diarized=True, classified=True, trainings={"names": "coref"})
    assert list(STAGES) == list(whole.shards_of())
    assert sum(len(flow.stages) for flow in FLOWS) == len(STAGES)


def test_the_folders_of_logs_are_those_that_the_rules_write():
    rules = "".join(file.read_text(encoding="utf-8") for file in sorted((ROOT / "rules").glob("*.smk")))
    for stage in STAGES.values():
        for rule in stage.rules:
            assert f'"<logs>/{rule}/' in rules or f"<logs>/{rule}/" in rules, rule
            assert f"<benchmarks>/{rule}/" in rules, rule
