"""What the config names of models, had before the jobs that load them: those ask no network and convert nothing."""


localrules:
    fetch_model,


rule fetch_model:
    input:
        lambda wildcards: folder_files(fetched_models()[wildcards.model]["model"]),
    output:
        "<results>/models/{model}.json",
    log:
        "<logs>/fetch_model/{model}.log",
    benchmark:
        "<benchmarks>/fetch_model/{model}.jsonl"
    wildcard_constraints:
        model=SHARD_PATTERN,
    priority: FETCH_PRIORITY
    conda:
        "../envs/embedding.yaml"
    threads: 1
    resources:
        # It computes on none. Holding them all keeps every GPU job from starting until all models are there or have
        # failed, where an input would start finished jobs again when another model is named.
        gpu=ALL_GPUS,
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        model=lambda wildcards: fetched_models()[wildcards.model],
    message:
        "Have {wildcards.model} here, whole and as safetensors"
    script:
        "../scripts/fetch_model.py"


rule quantize_model:
    input:
        lambda wildcards: unquantized_model(**quantized_models()[wildcards.model]),
    output:
        "<results>/models/quantized/{model}.json",
    log:
        "<logs>/quantize_model/{model}.log",
    benchmark:
        "<benchmarks>/quantize_model/{model}.jsonl"
    wildcard_constraints:
        model=SHARD_PATTERN,
    priority: GPU_PRIORITY
    conda:
        "../envs/classifiers.yaml"
    threads: 1
    resources:
        mem_mb=growing(16000),
        runtime=growing(120),
    params:
        model=lambda wildcards: quantized_models()[wildcards.model],
    message:
        "Make the quantized copy {wildcards.model}"
    script:
        "../scripts/quantize_model.py"
