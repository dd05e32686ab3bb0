"""What is read first: the proof that nothing was lost, and the page of the run. Made also after failed shards."""


report: "captions/workflow.rst"


localrules:
    audit_run,
    write_report,
    check_audit,
    verify,
    prune,


rule audit_run:
    input:
        ledgers=all_ledgers(),
    output:
        audit=report(
            "<results>/audit.json",
            caption="captions/audit.rst",
            category="The run",
            labels={"what": "Audit: the proof that nothing was lost"},
        ),
    log:
        "<logs>/audit_run/all.log",
    benchmark:
        "<benchmarks>/audit_run/all.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        on_bad_input=settings.on_bad_input,
        code=code_of("audit_run"),
    message:
        "Prove that nothing was lost"
    script:
        "../scripts/audit_run.py"


rule write_report:
    input:
        audit="<results>/audit.json",
        templates=page_templates("report"),
    output:
        report=report(
            "<results>/report.html",
            caption="captions/report.rst",
            category="The run",
            labels={"what": "Report: what a person reads first"},
        ),
        funnel=report(
            "<results>/figures/funnel.svg",
            caption="captions/funnel.rst",
            category="Figures",
            labels={"what": "Funnel: from input to output"},
        ),
        timeline=report(
            "<results>/figures/timeline.svg",
            caption="captions/timeline.rst",
            category="Figures",
            labels={"what": "Timeline: when which job ran"},
        ),
    log:
        "<logs>/write_report/all.log",
    benchmark:
        "<benchmarks>/write_report/all.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        code=code_of("write_report"),
    message:
        "Write the report"
    script:
        "../scripts/write_report.py"


rule check_audit:
    input:
        audit="<results>/audit.json",
        report="<results>/report.html",
    output:
        touch("<results>/.audited"),
    log:
        "<logs>/check_audit/all.log",
    benchmark:
        "<benchmarks>/check_audit/all.jsonl"
    retries: 0  # nothing changes by trying again
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        code=code_of("check_audit"),
    message:
        "Fail when something was lost"
    script:
        "../scripts/check_audit.py"


rule verify:
    log:
        "<logs>/verify/all.log",
    retries: 0  # what is damaged is removed: a second try would find nothing
    conda:
        "../envs/report.yaml"
    threads: granted_cores()
    params:
        results=str(session.results),
        found_before=list(tell_by_shard(session.damage).values()),
    message:
        "Hash every output of the run and remove what is damaged"
    script:
        "../scripts/verify_run.py"


rule prune:
    log:
        "<logs>/prune/all.log",
    conda:
        "../envs/report.yaml"
    params:
        results=str(session.results),
        wanted=plan.shards_of(),
    message:
        "Remove results of inputs that are gone"
    script:
        "../scripts/prune_run.py"
