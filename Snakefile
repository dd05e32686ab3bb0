"""malgeul (말글): Korean recordings, raw text and document databases into training-ready data."""

import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.25")

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

if not workflow.config_settings.configfiles:

    configfile: str(Path(workflow.basedir) / "config" / "config.yaml")


include: "rules/common.smk"
include: "rules/models.smk"
include: "rules/audio.smk"
include: "rules/text.smk"
include: "rules/dataset.smk"
include: "rules/embedding.smk"
include: "rules/training.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        ledgered_outputs(),
        "<results>/audit.json",
        "<results>/report.html",
        "<results>/.audited",


onsuccess:
    if is_audited():
        forget_gone_items(session.results)
        print(tell_success(session.results), file=sys.stderr)


onerror:
    if is_audited():
        print(tell_failure(session.results, settings.on_bad_input), file=sys.stderr)
