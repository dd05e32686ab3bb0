"""What is read first: the proof that nothing was lost, and the page of the run. Made also after failed shards."""


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
        audit="<results>/audit.json",
    log:
        "<logs>/audit_run/all.log",
    benchmark:
        "<benchmarks>/audit_run/all.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        on_bad_input=settings.on_bad_input,
        code=code_digest("audit_run"),
    message:
        "Prove that nothing was lost"
    script:
        "../scripts/audit_run.py"


rule write_report:
    input:
        audit="<results>/audit.json",
    output:
        report="<results>/report.html",
    log:
        "<logs>/write_report/all.log",
    benchmark:
        "<benchmarks>/write_report/all.jsonl"
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        code=code_digest("write_report"),
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
    conda:
        "../envs/report.yaml"
    threads: 1
    params:
        code=code_digest("check_audit"),
    message:
        "Fail when something was lost"
    script:
        "../scripts/check_audit.py"


rule verify:
    log:
        "<logs>/verify/all.log",
    conda:
        "../envs/report.yaml"
    params:
        results=lambda wildcards: str(session.results),
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
        results=lambda wildcards: str(session.results),
        wanted=plan.shards_of(),
    message:
        "Remove results of inputs that are gone"
    script:
        "../scripts/prune_run.py"
