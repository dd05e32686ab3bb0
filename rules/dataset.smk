"""The text wing, second half: filtered documents to samples, to tokens, to one dataset."""


rule select_samples:
    input:
        filtered="<results>/filtered/{shard}.parquet",
        tokenizer=model_inputs(settings.tokenize.tokenizer, settings.tokenize.revision),
        ledger=[ledger("filter")],
    output:
        samples="<results>/samples/{shard}.parquet",
        ledger=ledger("select"),
    log:
        "<logs>/select_samples/{shard}.log",
    benchmark:
        "<benchmarks>/select_samples/{shard}.jsonl"
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings={
            key: value
            for key, value in section("select").items()
            if key not in {"max_entity_freq", "packing"}
        },
        tokenize=section("tokenize"),
        code=code_of("select_samples"),
    message:
        "Select samples of {wildcards.shard}"
    script:
        "../scripts/select_samples.py"


rule cap_entities:
    input:
        samples=[f"<results>/samples/{shard}.parquet" for shard in plan.text_shards],
        ledger=ledgers_of("select"),
    output:
        entity_cap="<results>/entity_cap.parquet",
        ledger=ledger("cap", ALL),
    log:
        "<logs>/cap_entities/all.log",
    benchmark:
        "<benchmarks>/cap_entities/all.jsonl"
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        max_entity_freq=settings.select.max_entity_freq,
        state=plan.state_of("cap", ALL),
        code=code_of("cap_entities"),
    message:
        "Cap the samples of each entity over all shards"
    script:
        "../scripts/cap_entities.py"


rule tokenize_samples:
    input:
        samples="<results>/samples/{shard}.parquet",
        filtered="<results>/filtered/{shard}.parquet",
        entity_cap="<results>/entity_cap.parquet",
        tokenizer=model_inputs(settings.tokenize.tokenizer, settings.tokenize.revision),
        ledger=[ledger("select"), ledger("filter"), ledger("cap", ALL)],
    output:
        tokenized=directory("<results>/tokenized/{shard}"),
        ledger=ledger("tokenize"),
    log:
        "<logs>/tokenize_samples/{shard}.log",
    benchmark:
        "<benchmarks>/tokenize_samples/{shard}.jsonl"
    conda:
        "../envs/text.yaml"
    # One tokenizes while the other writes.
    threads: 2
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=section("tokenize"),
        select={
            key: value
            for key, value in section("select").items()
            if key in {"kind", "packing", "sequence_length"}
        },
        code=code_of("tokenize_samples"),
    message:
        "Tokenize {wildcards.shard}"
    script:
        "../scripts/tokenize_samples.py"


rule merge_dataset:
    input:
        tokenized=[f"<results>/tokenized/{shard}" for shard in plan.text_shards],
        ledger=ledgers_of("tokenize"),
        history=[
            path
            for stage in ("ingest", "filter", "select", "tokenize")
            for path in ledgers_of(stage)
        ],
    output:
        dataset=directory("<results>/dataset"),
        ledger=ledger("merge", ALL),
    log:
        "<logs>/merge_dataset/all.log",
    benchmark:
        "<benchmarks>/merge_dataset/all.jsonl"
    conda:
        "../envs/text.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=section("merge"),
        state=plan.state_of("merge", ALL),
        kind=settings.select.kind,
        made_with={
            "samples": settings.select.kind,
            **{
                told: section("select")[key]
                for told, key in (("selection", "profile"), ("packing", "packing"))
                if key in section("select")
            },
            "tokenizer": settings.tokenize.tokenizer,
            "sequence length": settings.select.sequence_length,
            "most samples of an entity": settings.select.max_entity_freq,
            "seed": settings.select.seed,
            **told_filters(),
        },
        sources={shard: plan.text[shard].source for shard in sorted(plan.text)},
        licences={
            name: source["licence"]
            for name, source in sorted(plan.text_sources.items())
        },
        code=code_of("merge_dataset"),
    message:
        "Merge all shards into one dataset"
    script:
        "../scripts/merge_dataset.py"
