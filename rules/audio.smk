"""The audio wing: recordings to 16 kHz PCM, to transcripts, to the facts of a conversation."""


rule convert_audio:
    output:
        recordings=directory("<results>/recordings/{shard}"),
        ledger=ledger("convert"),
    log:
        "<logs>/convert_audio/{shard}.log",
    benchmark:
        "<benchmarks>/convert_audio/{shard}.jsonl"
    priority: FEED_PRIORITY
    retries: 2
    conda:
        "../envs/audio.yaml"
    threads: lambda wildcards: min(cpu_threads(), len(plan.recordings[wildcards.shard].files))
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=section("convert"),
        handling=settings.convert.HANDLING,
        files=told(lambda wildcards: plan.recordings[wildcards.shard].files),
        twins=told(lambda wildcards: plan.recordings[wildcards.shard].twins),
        state=lambda wildcards: plan.state_of("convert", wildcards.shard),
        code=code_of("convert_audio"),
    message:
        "Convert the recordings of {wildcards.shard} to 16 kHz mono"
    script:
        "../scripts/convert_audio.py"


rule diarize_audio:
    input:
        recordings="<results>/recordings/{shard}",
        program=diarizer_files(),
        model=diarizer_model(),
        ledger=[ledger("convert")],
    output:
        speakers="<results>/speakers/{shard}.parquet",
        ledger=ledger("diarize"),
    log:
        "<logs>/diarize_audio/{shard}.log",
    benchmark:
        "<benchmarks>/diarize_audio/{shard}.jsonl"
    priority: GPU_PRIORITY if settings.diarize.gpu else FEED_PRIORITY
    retries: 2
    conda:
        "../envs/audio.yaml"
    threads: gpu_threads if settings.diarize.gpu else 1
    resources:
        **one_gpu(settings.diarize.gpu),
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        settings=section("diarize"),
        handling=settings.diarize.HANDLING,
        hints=hints(gpu=settings.diarize.gpu),
        code=code_of("diarize_audio"),
    message:
        "Tell the speakers of {wildcards.shard} apart"
    script:
        "../scripts/diarize_audio.py"


rule transcribe_audio:
    input:
        recordings="<results>/recordings/{shard}",
        speakers=["<results>/speakers/{shard}.parquet"] if plan.diarized else [],
        model=model_inputs(settings.transcribe.model, settings.transcribe.revision),
        known_phrases=known_phrases(),
        ledger=[ledger(stage) for stage in ("convert", "diarize")[: 1 + plan.diarized]],
    output:
        transcripts=directory("<results>/transcripts/{shard}"),
        ledger=ledger("transcribe"),
    log:
        "<logs>/transcribe_audio/{shard}.log",
    benchmark:
        "<benchmarks>/transcribe_audio/{shard}.jsonl"
    priority: GPU_PRIORITY
    retries: 2
    conda:
        "../envs/audio.yaml"
    threads: gpu_threads
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        settings=section("transcribe"),
        handling=settings.transcribe.HANDLING,
        hints=hints(),
        code=code_of("transcribe_audio"),
    message:
        "Transcribe {wildcards.shard}"
    script:
        "../scripts/transcribe_audio.py"


rule classify_transcripts:
    input:
        transcripts="<results>/transcripts/{shard}",
        model=classifier_models("classify"),
        ledger=[ledger("transcribe")],
    output:
        classes="<results>/classes/{shard}.parquet",
        ledger=ledger("classify"),
    log:
        "<logs>/classify_transcripts/{shard}.log",
    benchmark:
        "<benchmarks>/classify_transcripts/{shard}.jsonl"
    priority: GPU_PRIORITY
    retries: 2
    conda:
        "../envs/classifiers.yaml"
    threads: gpu_threads
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        classifiers={
            name: classifier.model_dump(mode="json")
            for name, classifier in sorted(settings.classify.items())
        },
        hints=hints(),
        code=code_of("classify_transcripts"),
    message:
        "Classify what is said in {wildcards.shard}"
    script:
        "../scripts/classify_transcripts.py"


rule analyze_conversation:
    input:
        recordings="<results>/recordings/{shard}",
        transcripts="<results>/transcripts/{shard}",
        classes=["<results>/classes/{shard}.parquet"] if plan.classified else [],
        lexicons=lexicon_files(),
        templates=page_templates("speech"),
        ledger=[
            ledger(stage)
            for stage in ("transcribe", "convert", "classify")[: 2 + plan.classified]
        ],
    output:
        conversation="<results>/conversation/{shard}.parquet",
        pages=directory("<results>/pages/{shard}"),
        ledger=ledger("analyze"),
    log:
        "<logs>/analyze_conversation/{shard}.log",
    benchmark:
        "<benchmarks>/analyze_conversation/{shard}.jsonl"
    conda:
        "../envs/audio.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=section("analyze"),
        code=code_of("analyze_conversation"),
    message:
        "Measure the conversations of {wildcards.shard} and draw their pages"
    script:
        "../scripts/analyze_conversation.py"
