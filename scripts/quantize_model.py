"""Have a copy of a model in fewer bits a weight, made once, before jobs load it."""

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from malgeul.models.hub import ModelNotFound
from malgeul.models.loading import folder_of, weight_files
from malgeul.models.quantization import Quantization, quantized_copy
from malgeul.shards.files import write_json
from malgeul.shards.job import logged

if TYPE_CHECKING:
    from snakemake.script import snakemake

log = logging.getLogger(__name__)


def quantize_model(model: str, revision: str | None, quantization: Quantization) -> dict[str, Any]:
    """Return what was made: bytes of the weights before and after, and seconds, which are few where the copy is there.

    Raises ModuleNotFoundError where what makes it is not installed.
    """
    started = time.monotonic()
    folder = folder_of(model, revision)
    copy = quantized_copy(folder, quantization)
    return {
        "model": model,
        "revision": revision,
        "quantization": quantization,
        "folder": str(copy),
        "bytes_before": sum(file.stat().st_size for file in weight_files(folder)),
        "bytes": sum(file.stat().st_size for file in weight_files(copy)),
        "seconds": round(time.monotonic() - started, 3),
    }


if __name__ == "__main__":
    with logged(snakemake.log[0]):
        try:
            about = quantize_model(**snakemake.params.model)
        except (ModelNotFound, ModuleNotFoundError, ValueError) as error:
            log.error("%s", error)
            sys.exit(1)
        except Exception:
            log.exception("no quantized copy was made")
            sys.exit(1)
        write_json(Path(snakemake.output[0]), about)
