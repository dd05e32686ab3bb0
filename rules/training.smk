"""The training wing, there only when the config names trainings: models that learn, and their measures."""


rule train_model:
    input:
        dataset=lambda wildcards: training_dataset(wildcards.training),
        files=lambda wildcards: training_files(wildcards.training),
        model=lambda wildcards: training_base(wildcards.training),
        tokenizer=lambda wildcards: training_tokenizer(wildcards.training),
        ledger=lambda wildcards: training_ledgers(wildcards.training),
    output:
        trained=directory("<results>/trained/{training}"),
        ledger=ledger("train", "{training}"),
    log:
        "<logs>/train_model/{training}.log",
    benchmark:
        "<benchmarks>/train_model/{training}.jsonl"
    priority: GPU_PRIORITY
    retries: 2
    conda:
        "../envs/training.yaml"
    threads: gpu_threads
    resources:
        # More GPUs share each batch: --set-resources train_model:gpu=4
        gpu=1,
        mem_mb=growing(16000),
        runtime=growing(1440),
    params:
        settings=lambda wildcards: training_settings(wildcards.training, measured=False),
        tokenize=section("tokenize"),
        hints=lambda wildcards, resources: {
            "gpus": resources.gpu,
            "profile": settings.profile,
        },
        code=code_of("train_model"),
        process=code_of("training_process"),
    message:
        "Train {wildcards.training}"
    script:
        "../scripts/train_model.py"


rule evaluate_model:
    input:
        trained="<results>/trained/{training}",
        dataset=lambda wildcards: training_dataset(wildcards.training),
        files=lambda wildcards: training_files(wildcards.training),
        measured=lambda wildcards: measured_files(wildcards.training),
        model=lambda wildcards: measured_models(wildcards.training),
        tokenizer=lambda wildcards: training_tokenizer(wildcards.training),
        ledger=lambda wildcards: [
            ledger("train", wildcards.training),
            *training_ledgers(wildcards.training),
        ],
    output:
        evaluated="<results>/evaluated/{training}.json",
        ledger=ledger("evaluate", "{training}"),
    log:
        "<logs>/evaluate_model/{training}.log",
    benchmark:
        "<benchmarks>/evaluate_model/{training}.jsonl"
    priority: GPU_PRIORITY
    retries: 2
    conda:
        "../envs/training.yaml"
    threads: gpu_threads
    resources:
        gpu=1,
        mem_mb=growing(16000),
        runtime=growing(240),
    params:
        settings=lambda wildcards: training_settings(wildcards.training, measured=True),
        tokenize=section("tokenize"),
        hints=hints(),
        code=code_of("evaluate_model"),
    message:
        "Measure {wildcards.training}"
    script:
        "../scripts/evaluate_model.py"
