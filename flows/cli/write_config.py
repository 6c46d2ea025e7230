"""What `persona init` writes: a configuration that runs as it is, with what is worth changing and why."""

import json
import re
from pathlib import Path

import yaml

from flows.config import CurateConfig
from storage.config_file import validated
from storage.errors import InputError
from storage.store import Store
from tasks.sources.discover import FoundSource, find_sources

_REST = """
crop:
  min_side_px: 256             # longer side of a person; 512 and max_upscale 1.0 = nothing but pixels of the photo,
  max_upscale: 2.0             # for which photos of 640x480 are too small: `persona calibrate` tells what each gives
  min_laplacian_variance: 100  # photos below are blurred

score:
  metrics: [piqe]              # needs no weights; niqe, musiq, maniqa-pipal and clipiqa download theirs once

select:
  top_share: 0.3333            # of all crops, by the mean of the standardised metrics
  limits: {}                   # the worst value of a metric that is kept: {piqe: 50}; `persona calibrate` proposes
  val_size: 0                  # crops that are set apart to judge models on
"""


def write_config(folder: Path, output: Path | None, root: str | None) -> int:
    """Write a configuration of the sources in a folder, and say what was found and what comes next.

    Raises:
        InputError: there is no photo, or the file is there already.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the one that holds photos and annotations")
    found = find_sources(folder)
    if not found:
        raise InputError(f"{folder} holds no photos, archives of photos or annotations that are known")
    name = re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._") or "mine"
    output = output or Path(f"{name}.yaml")
    if output.exists():
        raise InputError(f"{output} is there already: name another file with -o")
    text = _text(folder, name, root or f"runs/{name}", found)
    validated(CurateConfig, yaml.safe_load(text), str(output))
    Store(str(output.absolute().parent)).write_text(output.name, text)
    for source in found:
        values = source.values
        print(f"{values['name']}: {values['format']}, photos in {values['photos']}")
        if source.note:
            print(f"  {source.note}")
    print(f"Written: {output}\nNext: persona doctor {output} && persona curate {output}")
    return 0


def _text(folder: Path, name: str, root: str, found: list[FoundSource]) -> str:
    lines = [
        f"# Made by `persona init {folder}`. Relative paths start at the folder that a command is run in.",
        "# `persona config schema` lists every key with its default; what is not here has it.",
        f"name: {name}",
        f"root: {_quoted(root)}",
        "",
        "sources:",
    ]
    for source in found:
        if source.note:
            lines.append(f"  # {source.note}")
        first, *rest = source.values.items()
        lines.append(f"  - {first[0]}: {first[1]}")
        lines += [f"    {key}: {_quoted(value)}" for key, value in rest]
    return "\n".join(lines) + "\n" + _REST


def _quoted(text: str) -> str:
    """Text as YAML takes it: in quotes where it might be read as something else."""
    return text if re.fullmatch(r"[A-Za-z./_][\w./-]*", text) else json.dumps(text, ensure_ascii=False)
