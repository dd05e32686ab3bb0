"""What the config names of models, had before a GPU is taken: jobs that hold one ask no network and copy nothing."""


localrules:
    fetch_model,


rule fetch_model:
    output:
        "<results>/models/{model}.json",
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<benchmarks>/fetch_model/{model}.jsonl"
    wildcard_constraints:
        model=SHARD_PATTERN,
    priority: GPU_PRIORITY
    conda:
        "../envs/embedding.yaml"
    threads: 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        model=lambda wildcards: fetched_models()[wildcards.model],
    message:
        "Fetch {wildcards.model}"
    script:
        "../scripts/fetch_model.py"
