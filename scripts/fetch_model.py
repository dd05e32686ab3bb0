"""Have a model on this machine, whole and as safetensors, before a job that holds a GPU asks for it."""

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.models.hub import ModelNotFound, Parts, complete, damaged, missing, remove_files
from malgeul.models.loading import folder_of
from malgeul.models.local import resolve
from malgeul.shards.files import files_under, write_json
from malgeul.shards.job import logged

if TYPE_CHECKING:
    from snakemake.script import snakemake

log = logging.getLogger(__name__)


def fetch_model(model: str, revision: str | None, parts: Parts) -> dict[str, Any]:
    """Return what is there: the commit of a hub id, files with their bytes, the folder that is loaded, seconds.

    Of a hub id damaged files are fetched once more. Raises ModelNotFound when the model is not to be had, stays damaged
    or lacks files.
    """
    started = time.monotonic()
    local = resolve(model)
    folder = local or complete(model, revision, parts)
    if (bad := damaged(folder)) and local is None:
        log.warning("%s: damaged and fetched again: %s", model, ", ".join(bad))
        remove_files(folder, bad)
        folder = complete(model, revision, parts)
        bad = damaged(folder)
    if bad:
        raise ModelNotFound(f"{model}: {', '.join(bad)} is damaged; is the disk of {folder} full or broken?")
    if lacking := missing(folder, parts):
        raise ModelNotFound(f"{model} lacks {', '.join(lacking)} ({folder})")
    files = {str(file.relative_to(folder)): file.stat().st_size for file in files_under(folder)}
    used = folder_of(model, revision, parts)
    return {
        "model": model,
        "revision": revision,
        "commit": None if local else folder.name,
        "files": files,
        "bytes": sum(files.values()),
        "copied": used != folder,
        "folder": str(used),
        "seconds": round(time.monotonic() - started, 3),
    }


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        try:
            about = fetch_model(**snakemake.params.model)
        except ModelNotFound as error:
            log.error("%s", error)
            sys.exit(1)
        write_json(Path(snakemake.output[0]), about)
