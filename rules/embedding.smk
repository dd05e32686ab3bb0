"""The embedding wing: documents and filtered text to chunks, vectors, an index, and a new version in their database."""

from malgeul.embedding.settings import version_settings


rule export_documents:
    input:
        # Writing vectors back changes the file, not the documents: what counts is the digest of their rows.
        # A server is no file; its address is in the settings.
        ancient=lambda wildcards: database_file(
            plan.documents[wildcards.shard].database
        ),
    output:
        exported="<results>/exported/{shard}.parquet",
        ledger=ledger("export"),
    log:
        "<logs>/export_documents/{shard}.log",
    benchmark:
        "<benchmarks>/export_documents/{shard}.jsonl"
    retries: 2
    conda:
        "../envs/embedding.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=lambda wildcards: database_of(wildcards)["settings"],
        min_chars=settings.documents.min_chars,
        bucket=lambda wildcards: plan.documents[wildcards.shard].bucket,
        buckets=lambda wildcards: plan.documents[wildcards.shard].buckets,
        rows=lambda wildcards: plan.documents[wildcards.shard].rows,
        digest=lambda wildcards: plan.documents[wildcards.shard].digest,
        name=lambda wildcards: plan.documents[wildcards.shard].database,
        state=lambda wildcards: plan.state_of("export", wildcards.shard),
        code=code_of("export_documents"),
    message:
        "Export {wildcards.shard}"
    script:
        "../scripts/export_documents.py"


rule chunk_documents:
    input:
        documents=document_source,
        model=model_inputs(settings.embed.model, settings.embed.revision),
        ledger=lambda wildcards: [
            ledger(stage, shard)
            for stage, shard in plan.parents_of("chunk", wildcards.shard)
        ],
    output:
        chunks="<results>/chunks/{shard}.parquet",
        ledger=ledger("chunk"),
    log:
        "<logs>/chunk_documents/{shard}.log",
    benchmark:
        "<benchmarks>/chunk_documents/{shard}.jsonl"
    priority: FEED_PRIORITY
    conda:
        "../envs/embedding.yaml"
    threads: cpu_threads if settings.chunk.sentences == "kiwi" else 1
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        settings=section("chunk"),
        # A function, since Snakemake fills in braces of a text.
        prompt=lambda wildcards: settings.embed.prompt,
        spelled={key: section("embed")[key] for key in ("model", "revision")},
        code=code_of("chunk_documents"),
    message:
        "Chunk {wildcards.shard}"
    script:
        "../scripts/chunk_documents.py"


rule embed_chunks:
    input:
        chunks="<results>/chunks/{shard}.parquet",
        model=model_inputs(settings.embed.model, settings.embed.revision),
        ledger=[ledger("chunk")],
    output:
        embeddings="<results>/embeddings/{shard}.parquet",
        ledger=ledger("embed"),
    log:
        "<logs>/embed_chunks/{shard}.log",
    benchmark:
        "<benchmarks>/embed_chunks/{shard}.jsonl"
    priority: GPU_PRIORITY
    retries: 2
    conda:
        "../envs/embedding.yaml"
    threads: gpu_threads
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        settings={
            key: value
            for key, value in section("embed").items()
            if key not in {"inputs", "query_prompt"}
        },
        handling=settings.embed.HANDLING,
        hints=hints(),
        code=code_of("embed_chunks"),
    message:
        "Embed {wildcards.shard}"
    script:
        "../scripts/embed_chunks.py"


rule build_index:
    input:
        embeddings=[
            f"<results>/embeddings/{shard}.parquet" for shard in plan.embedded_shards
        ],
        chunks=[f"<results>/chunks/{shard}.parquet" for shard in plan.embedded_shards],
        model=model_inputs(settings.embed.model, settings.embed.revision),
        ledger=ledgers_of("embed") + ledgers_of("chunk"),
    output:
        index=directory("<results>/index"),
        ledger=ledger("index", ALL),
    log:
        "<logs>/build_index/all.log",
    benchmark:
        "<benchmarks>/build_index/all.jsonl"
    conda:
        "../envs/embedding.yaml"
    threads: cpu_threads
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        settings=section("index"),
        state=plan.state_of("index", ALL),
        embed={
            key: section("embed")[key]
            for key in ("model", "revision", "query_prompt", "dimensions")
        },
        code=code_of("build_index"),
    message:
        "Build the index"
    script:
        "../scripts/build_index.py"


rule write_back:
    input:
        ancient=lambda wildcards: database_file(wildcards.database),
        exported=lambda wildcards: [
            f"<results>/exported/{shard}.parquet"
            for shard in plan.shards_of_database(wildcards.database)
        ],
        chunks=lambda wildcards: [
            f"<results>/chunks/{shard}.parquet"
            for shard in plan.shards_of_database(wildcards.database)
        ],
        embeddings=lambda wildcards: [
            f"<results>/embeddings/{shard}.parquet"
            for shard in plan.shards_of_database(wildcards.database)
        ],
        ledger=lambda wildcards: [
            ledger(stage, shard)
            for stage in ("export", "chunk", "embed")
            for shard in plan.shards_of_database(wildcards.database)
        ],
    output:
        **(
            {"database": "<results>/database/{database}.sqlite"}
            if plan.write_back == "copy"
            else {}
        ),
        ledger=ledger("write_back", "{database}"),
    log:
        "<logs>/write_back/{database}.log",
    benchmark:
        "<benchmarks>/write_back/{database}.jsonl"
    retries: 2
    conda:
        "../envs/embedding.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        settings=lambda wildcards: plan.databases[wildcards.database]["settings"],
        buckets=lambda wildcards: plan.databases[wildcards.database]["buckets"],
        state=lambda wildcards: plan.state_of("write_back", wildcards.database),
        write_back=settings.documents.write_back,
        strategy=settings.chunk.strategy,
        model=settings.embed.model,
        # No function of threads as elsewhere: a change starts the job, which notes it though no vector is another.
        hints={
            "settings": version_settings(
                settings.documents, settings.chunk, settings.embed
            )
        },
        code=code_of("write_back"),
    message:
        "Write the new embedding version of {wildcards.database}"
    script:
        "../scripts/write_back.py"
