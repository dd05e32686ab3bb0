"""The text wing, first half: raw text and transcripts to filtered documents."""


rule ingest_text:
    output:
        text="<results>/text/{shard}.parquet",
        ledger=ledger("ingest"),
    log:
        "<logs>/ingest_text/{shard}.log",
    benchmark:
        "<benchmarks>/ingest_text/{shard}.jsonl"
    wildcard_constraints:
        shard=f"(?!{TRANSCRIPTS}-){SHARD_PATTERN}",
    retries: 2
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=section("ingest"),
        source=lambda wildcards: text_source(wildcards.shard),
        files=told(lambda wildcards: plan.text[wildcards.shard].files),
        state=lambda wildcards: plan.state_of("ingest", wildcards.shard),
        code=code_of("ingest_text"),
    message:
        "Ingest {wildcards.shard}"
    script:
        "../scripts/ingest_text.py"


# A large compressed file can only be read from its start: one job reads it and deals its records out to all of its
# shards. One rule per file, since the number of outputs is part of a rule.
for stream, shards in plan.streams.items():

    rule:
        name:
            f"ingest_stream_{stream.replace('-', '_')}"
        output:
            **{
                f"text_{part}": f"<results>/text/{shard}.parquet"
                for part, shard in enumerate(shards)
            },
            **{
                f"ledger_{part}": ledger("ingest", shard)
                for part, shard in enumerate(shards)
            },
        log:
            f"<logs>/ingest_stream/{stream}.log",
        benchmark:
            f"<benchmarks>/ingest_stream/{stream}.jsonl"
        retries: 2
        conda:
            "../envs/text.yaml"
        threads: 1
        resources:
            mem_mb=growing(2000),
            runtime=growing(240),
        params:
            settings=section("ingest"),
            source=text_source(shards[0]),
            files=told(lambda wildcards, shard=shards[0]: plan.text[shard].files),
            state=plan.state_of("ingest", shards[0]),
            shards=shards,
            code=code_of("ingest_stream"),
        message:
            f"Ingest the parts of {stream}"
        script:
            "../scripts/ingest_stream.py"


rule ingest_transcripts:
    input:
        transcripts="<results>/transcripts/{recordings}",
        ledger=[ledger("transcribe", "{recordings}")],
    output:
        text=f"<results>/text/{TRANSCRIPTS}-{{recordings}}.parquet",
        ledger=ledger("ingest", f"{TRANSCRIPTS}-{{recordings}}"),
    log:
        f"<logs>/ingest_transcripts/{TRANSCRIPTS}-{{recordings}}.log",
    benchmark:
        f"<benchmarks>/ingest_transcripts/{TRANSCRIPTS}-{{recordings}}.jsonl"
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        code=code_of("ingest_transcripts"),
    message:
        "Ingest the transcripts of {wildcards.recordings}"
    script:
        "../scripts/ingest_transcripts.py"


rule screen_text:
    input:
        text="<results>/text/{shard}.parquet",
        ledger=ledger("ingest"),
    output:
        screened="<results>/screened/{shard}.parquet",
        ledger=ledger("screen"),
    log:
        "<logs>/screen_text/{shard}.log",
    benchmark:
        "<benchmarks>/screen_text/{shard}.jsonl"
    retries: 2
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(1000),
        runtime=growing(60),
    params:
        **profile_params(),
        code=code_of("screen_text"),
    message:
        "Screen {wildcards.shard}"
    script:
        "../scripts/screen_text.py"


rule find_duplicates:
    input:
        screened=[f"<results>/screened/{shard}.parquet" for shard in plan.text],
        text=[f"<results>/text/{shard}.parquet" for shard in plan.text],
        ledger=[
            ledger(stage, shard)
            for stage in ("ingest", "screen")
            for shard in plan.text
        ],
    output:
        duplicates="<results>/duplicates.parquet",
        boilerplate="<results>/boilerplate.parquet",
        ledger=ledger("dedup", ALL),
    log:
        "<logs>/find_duplicates/all.log",
    benchmark:
        "<benchmarks>/find_duplicates/all.jsonl"
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        sources={shard: what.source for shard, what in sorted(plan.text.items())},
        state=plan.state_of("dedup", ALL),
        boilerplate=settings.filter.boilerplate.documents,
        mask_personal_numbers=settings.filter.mask_personal_numbers,
        code=code_of("find_duplicates"),
    message:
        "Find documents that occur twice, and boilerplate"
    script:
        "../scripts/find_duplicates.py"


rule score_text:
    input:
        text="<results>/text/{shard}.parquet",
        screened="<results>/screened/{shard}.parquet",
        duplicates="<results>/duplicates.parquet",
        scorers=scorer_files(),
        model=classifier_models("filter.scorers"),
        ledger=[ledger("ingest"), ledger("screen"), ledger("dedup", ALL)],
    output:
        scores="<results>/scores/{shard}.parquet",
        ledger=ledger("score"),
    log:
        "<logs>/score_text/{shard}.log",
    benchmark:
        "<benchmarks>/score_text/{shard}.jsonl"
    priority: GPU_PRIORITY if scoring_classifiers() else 0
    retries: 2
    conda:
        "../envs/classifiers.yaml"
    threads: gpu_threads if scoring_classifiers() else 1
    resources:
        **one_gpu(scoring_classifiers()),
        mem_mb=growing(8000 if scoring_classifiers() else 2000),
        runtime=growing(120),
    params:
        **profile_params(),
        scorers=scorers(limits=False),
        hints=hints(gpu=bool(scoring_classifiers())),
        code=code_of("score_text"),
    message:
        "Score {wildcards.shard}"
    script:
        "../scripts/score_text.py"


rule filter_text:
    input:
        text="<results>/text/{shard}.parquet",
        screened="<results>/screened/{shard}.parquet",
        # Transcripts are not compared, and so need not wait for the corpus.
        duplicates=lambda wildcards: (
            ["<results>/duplicates.parquet"] if is_compared(wildcards.shard) else []
        ),
        boilerplate=lambda wildcards: (
            ["<results>/boilerplate.parquet"]
            if removes_boilerplate(wildcards.shard)
            else []
        ),
        scores=lambda wildcards: (
            ["<results>/scores/{shard}.parquet"] if is_scored(wildcards.shard) else []
        ),
        ledger=lambda wildcards: [
            ledger("ingest", wildcards.shard),
            ledger("screen", wildcards.shard),
            *([ledger("dedup", ALL)] if is_compared(wildcards.shard) else []),
            *(
                [ledger("score", wildcards.shard)]
                if is_scored(wildcards.shard)
                else []
            ),
        ],
    output:
        filtered="<results>/filtered/{shard}.parquet",
        rejected="<results>/rejected/{shard}.parquet",
        ledger=ledger("filter"),
    log:
        "<logs>/filter_text/{shard}.log",
    benchmark:
        "<benchmarks>/filter_text/{shard}.jsonl"
    retries: 2
    conda:
        "../envs/text.yaml"
    threads: cpu_threads
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        **profile_params(),
        scorers=lambda wildcards: (
            scorers(limits=True) if is_scored(wildcards.shard) else {}
        ),
        mask_personal_numbers=settings.filter.mask_personal_numbers,
        code=code_of("filter_text"),
    message:
        "Filter {wildcards.shard}"
    script:
        "../scripts/filter_text.py"
