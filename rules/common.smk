"""What all wings share: the session, thread counts, resources that grow, and the list of what a run makes."""

from dataclasses import asdict
from typing import get_args

from snakemake.exceptions import WorkflowError

from malgeul.models.devices import threads_beside_gpu, threads_with_gpu
from malgeul.models.hub import Parts
from malgeul.models.local import fetched_name
from malgeul.named_models import named_models
from malgeul.plan import ALL
from malgeul.report.ending import tell_failure, tell_success
from malgeul.shards.digest import code_digest
from malgeul.shards.inputs import locate
from malgeul.shards.names import SHARD_PATTERN, TRANSCRIPTS
from malgeul.shards.verify import forget_gone_items, tell_by_shard
from malgeul.speech.lexicon import lexicons_at
from malgeul.startup import start
from malgeul.training.settings import MEASURED_ON

session = start(
    config,
    Path(workflow.basedir),
    main=workflow.is_main_process,
    argv=sys.argv[1:],
    files=workflow.configfiles,
)
plan, settings = session.plan, session.config


pathvars:
    results=str(session.results),
    logs=str(session.results / "logs"),
    benchmarks=str(session.results / "benchmarks"),


wildcard_constraints:
    shard=SHARD_PATTERN,
    recordings=SHARD_PATTERN,
    database=SHARD_PATTERN,
    training=SHARD_PATTERN,


# Snakemake does not limit a resource that is given no number, and --resources mem_mb=… replaces the profile's gpu: 1.
# Two jobs on one device run out of its memory, so one at a time is the rule unless the user says otherwise.
if "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)

ALL_GPUS = workflow.global_resources["gpu"].value

GPU_PRIORITY = 50
"""GPU jobs go before all others, so that the device never waits for a slot."""
FETCH_PRIORITY = GPU_PRIORITY * (ALL_GPUS + 1)
"""What fetches models goes before all GPU jobs that could start in its place: the scheduler adds up their priorities."""
FEED_PRIORITY = 10
"""Then what feeds them."""


def granted_cores():
    """Cores of this machine's run; 1 on a cluster, whose profile sets threads itself.

    There the process that submits is given none, and that of a job all of its node's, which it was not granted.
    """
    if workflow.remote_exec:
        return 1
    try:
        return workflow.cores or 1
    except WorkflowError:
        return 1


def gpu_threads(wildcards=None):
    """Threads of a job that holds a GPU."""
    return threads_with_gpu(granted_cores(), ALL_GPUS)


def cpu_threads(wildcards=None):
    """Threads of a CPU job that can use many: those that a GPU job leaves, where there are such jobs."""
    gpu_jobs = (
        plan.recordings
        or plan.embedded_shards
        or plan.trainings
        or scoring_classifiers()
    )
    return (
        threads_beside_gpu(granted_cores(), ALL_GPUS) if gpu_jobs else granted_cores()
    )


def growing(amount):
    """Return a resource that grows with every attempt, since a retry after running out needs more."""
    return lambda wildcards, attempt: amount * attempt


def one_gpu(wanted):
    """Return the resource of a job that holds a GPU where it is wanted: Kubernetes' plugin asks for one also at 0."""
    return {"gpu": 1} if wanted else {}


def section(name):
    """Return one section of the config as plain data: only the rules that take it as a parameter depend on it."""
    chosen = getattr(settings, name)
    return chosen.model_dump(mode="json", exclude=chosen.idle())


def hints(*, gpu=True):
    """What a job that may hold a GPU should know though its result does not depend on it, as a parameter.

    Snakemake does not compare what a function of ``threads`` returns, so that a change starts no job again.
    """
    return lambda wildcards, threads: {"profile": settings.profile and gpu}


# Stage: the outputs that its ledger vouches for.
OUTPUTS = {
    "convert": ["<results>/recordings/{shard}"],
    "diarize": ["<results>/speakers/{shard}.parquet"],
    "transcribe": ["<results>/transcripts/{shard}"],
    "classify": ["<results>/classes/{shard}.parquet"],
    "analyze": ["<results>/conversation/{shard}.parquet", "<results>/pages/{shard}"],
    "ingest": ["<results>/text/{shard}.parquet"],
    "screen": ["<results>/screened/{shard}.parquet"],
    "dedup": ["<results>/duplicates.parquet", "<results>/boilerplate.parquet"],
    "score": ["<results>/scores/{shard}.parquet"],
    "filter": [
        "<results>/filtered/{shard}.parquet",
        "<results>/rejected/{shard}.parquet",
    ],
    "select": ["<results>/samples/{shard}.parquet"],
    "cap": ["<results>/entity_cap.parquet"],
    "tokenize": ["<results>/tokenized/{shard}"],
    "merge": ["<results>/dataset"],
    "export": ["<results>/exported/{shard}.parquet"],
    "chunk": ["<results>/chunks/{shard}.parquet"],
    "embed": ["<results>/embeddings/{shard}.parquet"],
    "index": ["<results>/index"],
    "write_back": [],
    "train": ["<results>/trained/{shard}"],
    "evaluate": ["<results>/evaluated/{shard}.json"],
}


def ledger(stage, shard="{shard}"):
    """Return the path of a ledger."""
    return f"<results>/ledger/{stage}/{shard}.json"


def ledgers_of(stage):
    """Return the ledgers of all shards of a stage."""
    return [ledger(stage, shard) for shard in plan.shards_of().get(stage, [])]


def all_ledgers():
    """Return every ledger of the run."""
    return [path for stage in plan.shards_of() for path in ledgers_of(stage)]


def ledgered_outputs():
    """Return every output that a ledger vouches for, so that a missing intermediate is made again, and the ledgers."""
    outputs = [
        pattern.format(shard=shard)
        for stage, shards in plan.shards_of().items()
        for shard in shards
        for pattern in OUTPUTS[stage]
    ]
    return outputs + all_ledgers()


def code_of(script):
    """The digest of a script's code as a parameter: each process reads the source of what it has jobs of, no other.

    On a cluster every job is a process that parses all rules.
    """
    return lambda wildcards: code_digest(script)


def told(files):
    """Files of the user's as a parameter: of an input that is gone, or oddly named, Snakemake ends the whole job.

    ``files`` returns them by wildcards. Snakemake compares them by the param ``state``, see :func:`hints`.
    """
    return lambda wildcards, threads: [asdict(file) for file in files(wildcards)]


def text_source(shard):
    """What ingestion needs to know of a text shard: its source's fields and its part of a large file.

    A stream is read as a whole.
    """
    what = plan.text[shard]
    source = plan.text_sources[what.source]
    return {
        **{key: source[key] for key in ("format", "text_field", "id_field")},
        "name": what.source,
        "part": 0 if what.stream else what.part,
        "parts": 1 if what.stream else what.parts,
    }


def filter_profile(shard):
    """The filter profile of a shard: its source's own, speech for transcripts, else the config's."""
    if shard in plan.transcript_shards:
        return "speech"
    return (
        plan.text_sources[plan.text[shard].source]["profile"] or settings.filter.profile
    )


def filter_thresholds(shard):
    """The thresholds of a shard: its source's over the config's, which are those of the config's profile alone."""
    same = filter_profile(shard) == settings.filter.profile
    transcript = shard in plan.transcript_shards
    own = {} if transcript else plan.text_sources[plan.text[shard].source]["thresholds"]
    return {**(settings.filter.thresholds if same else {}), **own}


def told_filters():
    """Return what decides about documents and their texts, as a card tells it.

    By which profile, and which thresholds instead of its own, each source is filtered; scorers with their limits; what
    is cut out or replaced.
    """
    told = {}
    for shard in plan.text_shards:
        source = (
            TRANSCRIPTS if shard in plan.transcript_shards else plan.text[shard].source
        )
        limits = sorted(filter_thresholds(shard).items())
        told[f"filter of {source}"] = ", ".join(
            [filter_profile(shard), *(f"{rule} {limit}" for rule, limit in limits)]
        )
    told = dict(sorted(told.items()))
    for name, scorer in sorted(settings.filter.scorers.items()):
        limits = [
            f"{bound} {limit}"
            for bound, limit in (
                ("minimum", scorer.minimum),
                ("maximum", scorer.maximum),
            )
            if limit is not None
        ]
        told[f"scorer {name}"] = ", ".join([scorer.kind, *limits])
    boilerplate = settings.filter.boilerplate
    if boilerplate.remove:
        told["boilerplate"] = f"lines of {boilerplate.documents} documents are cut out"
    masked = settings.filter.mask_personal_numbers
    told["personal numbers"] = "replaced by placeholders" if masked else "left"
    return told


def is_compared(shard):
    """Tell whether a text shard is compared with the corpus; transcripts are known by their recordings' bytes."""
    return shard in plan.text


def is_scored(shard):
    """Tell whether scorers measure a text shard."""
    return plan.scored and shard in plan.text


def scorers(*, limits):
    """Return the scorers with what decides about them; with ``limits`` what they reject, without what they measure."""
    bounds = {"minimum", "maximum"}
    return {
        name: (
            scorer.model_dump(mode="json", include=bounds)
            if limits
            else scorer.model_dump(mode="json", exclude=bounds)
        )
        for name, scorer in sorted(settings.filter.scorers.items())
    }


def fetched_models():
    """Return what fetch_model needs to know, by the name of its file: of hub ids, and of folders with pickled weights."""
    wanted = {}
    for one in named_models(settings, plan):
        folder = plan.models.get(one.model)
        if folder is None or (folder.pickled and one.parts == "model"):
            known = wanted.setdefault(
                fetched_name(one.model, one.revision),
                {"model": one.model, "revision": one.revision, "parts": one.parts},
            )
            known["parts"] = max(known["parts"], one.parts, key=get_args(Parts).index)
    return wanted


def quantized_models():
    """Return what quantize_model needs to know of the copies that are loaded, by the name of its file."""
    return {
        fetched_name(one.model, one.revision, one.quantization): {
            "model": one.model,
            "revision": one.revision,
            "quantization": one.quantization,
        }
        for one in named_models(settings, plan)
        if one.quantization
    }


def folder_files(model):
    """Return the files of a model that is a folder; none for a hub id."""
    return plan.models[model].files if model in plan.models else []


def model_inputs(model, revision, quantization=None):
    """Return the files of a model in a folder, and of what is fetched, converted or copied the file that says so.

    It is not ``ancient``: while such a file is made again, Snakemake (9.27) overlooks whatever else changed of the jobs
    that need it. Where it is the same model, they take again what they had.
    """
    files = list(folder_files(model))
    fetched = fetched_name(model, revision)
    if fetched in fetched_models():
        files.append(f"<results>/models/{fetched}.json")
    if quantization:
        copied = fetched_name(model, revision, quantization)
        files.append(f"<results>/models/quantized/{copied}.json")
    return files


def unquantized_model(model, revision, quantization):
    """Return the files of the model that a quantized copy is made of."""
    return model_inputs(model, revision)


def scoring_classifiers():
    """Return the classifiers among the scorers."""
    return [s for s in settings.filter.scorers.values() if s.kind == "classifier"]


def classifier_models(key):
    """Return what rules need of the models and adapters of the classifiers under a key of the config."""
    named = {
        (one.model, one.revision, one.quantization)
        for one in named_models(settings, plan)
        if one.key.startswith(f"{key}.")
    }
    return [file for model in sorted(named, key=str) for file in model_inputs(*model)]


def located(places):
    """Return where files and folders of the config lie: as it names them, or beside the Snakefile."""
    return [str(locate(place, Path(workflow.basedir))) for place in places]


def scorer_files():
    """Return the files that the scorers read: test sets and programs."""
    files = []
    for scorer in settings.filter.scorers.values():
        match scorer.kind:
            case "overlap":
                files += located(scorer.files)
            case "own":
                files += located([scorer.file])
    return sorted(files)


def removes_boilerplate(shard):
    """Tell whether lines that many documents share are cut out of a shard's; transcripts are not compared."""
    return is_compared(shard) and settings.filter.boilerplate.remove


def profile_params():
    """What decides about documents, for the rules that judge them."""
    return {
        "profile": lambda wildcards: filter_profile(wildcards.shard),
        "thresholds": lambda wildcards: filter_thresholds(wildcards.shard),
        "measure": settings.filter.measure,
    }


def database_of(wildcards):
    """The database a shard of documents comes from."""
    return plan.databases[plan.documents[wildcards.shard].database]


def database_file(name):
    """The file of a database as an input whose time does not count; none where it is a server."""
    path = plan.databases[name]["path"]
    return ancient(path) if path else []


def document_source(wildcards):
    """What is chunked: a shard of exported documents, or of filtered text."""
    folder = "exported" if wildcards.shard in plan.documents else "filtered"
    return f"<results>/{folder}/{wildcards.shard}.parquet"


def known_phrases():
    """The files with phrases that Whisper is known to say where nobody speaks."""
    return located(settings.transcribe.known_phrases)


def diarizer_files():
    """The program that tells speakers apart, where there is one."""
    return located([settings.diarize.file]) if settings.diarize.file else []


def diarizer_model():
    """The files of the model that it loads, where the config names one."""
    model = settings.diarize.model
    return model_inputs(model, settings.diarize.revision) if model else []


def lexicon_files():
    """The lexicons that the config names: files, and the .yaml files of folders."""
    return [
        str(file)
        for place in map(Path, located(settings.analyze.lexicons))
        for file in lexicons_at(place)
    ]


def page_templates(wing):
    """The templates of a wing's pages, and those that all pages share."""
    library = Path(workflow.basedir) / "scripts" / "malgeul"
    return [
        str(file)
        for package in ("pages", wing)
        for file in sorted((library / package / "templates").iterdir())
    ]


def training_settings(name, *, measured):
    """A training's settings as plain data; ``measured`` ones are what its evaluation alone depends on too."""
    known = settings.train[name].model_dump(mode="json")
    return {
        key: value for key, value in known.items() if measured or key not in MEASURED_ON
    }


def training_dataset(name):
    """The merged dataset, where a training learns from it."""
    return ["<results>/dataset"] if plan.parents_of("train", name) else []


def training_ledgers(name):
    """The ledger of the dataset that a training learns from."""
    return [ledger(stage, shard) for stage, shard in plan.parents_of("train", name)]


def training_files(name):
    """The files of the user's that a training learns from."""
    return located(getattr(settings.train[name], "files", []))


def training_base(name):
    """The files of the model that learns."""
    return model_inputs(settings.train[name].base, settings.train[name].revision)


def training_tokenizer(name):
    """The files of the tokenizer that made the dataset, where a training learns from it."""
    tokenizer = settings.tokenize
    used = plan.parents_of("train", name)
    return model_inputs(tokenizer.tokenizer, tokenizer.revision) if used else []


def measured_files(name):
    """Files that a training's evaluation measures on beside its own test rows."""
    found = [
        str(file)
        for place in map(Path, located(settings.train[name].reads))
        for file in (sorted(place.rglob("*")) if place.is_dir() else [place])
        if file.is_file()
    ]
    return [file for file in found if file not in training_files(name)]


def measured_models(name):
    """The files of the models that are measured: the base and those beside it."""
    training = settings.train[name]
    models = [
        (training.base, training.revision),
        *((model, None) for model in training.beside.values()),
    ]
    return [file for model in models for file in model_inputs(*model)]


def is_audited():
    """Tell whether this run was to end with the audit: verify, prune and single targets do not, nor do jobs."""
    rules_of_run = {job.rule.name for job in workflow.dag.jobs}
    return workflow.is_main_process and "check_audit" in rules_of_run
