"""Arguments that several commands share: each has one name, one place and one explanation everywhere."""

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from storage.snapshot import Snapshot  # Arrow takes half a second to import, and help must not wait for it

KEPT_IN = "data/persona"
"""Where the configurations of `configs/` keep everything."""


def _keys(context: typer.Context, incomplete: str) -> list[str]:
    """The keys that `--set` takes, for a shell that completes them."""
    from flows.cli.config_kinds import model_of
    from storage.config_keys import keys_of

    kinds = {"train": "retrain", "retrain": "retrain", "val": "persona-val", "test": "persona-test"}
    model = model_of(kinds.get(context.info_name or "", "curate"))
    return [f"{path}=" for path in dict.fromkeys(key.path for key in keys_of(model)) if path.startswith(incomplete)]


Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; `persona init` writes one.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=_keys,
        help="Another value for one key of CONFIG, as often as needed: --set select.top_share=0.5, or"
        " --set sources.0.photos=photos for the first of a list. `persona config schema` lists the keys.",
    ),
]
Root = Annotated[str, typer.Argument(metavar="ROOT", help="Folder or address under which everything is kept.")]
RootOrSnapshot = Annotated[
    str, typer.Argument(metavar="ROOT|SNAPSHOT", help="Folder or address of a root, or of one snapshot.")
]
RootOption = Annotated[str, typer.Option("--root", metavar="ROOT", help="Where names and ids are looked up.")]
SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="Folder or address of a snapshot, or its id below --root.")
]


def group(text: str) -> typer.Typer:
    """Commands that belong together, such as `models list` and `models show`; alone it shows its help."""
    return typer.Typer(help=text, no_args_is_help=True)


def find_snapshot(name: str, root: str) -> "Snapshot":
    """The snapshot that `name` stands for: a folder, an address, or an id below `root`.

    Raises:
        InputError: none of these.
    """
    from storage.errors import InputError
    from storage.snapshot import Snapshot, list_snapshots, published_at
    from storage.store import Store

    if "://" in name or Path(name).is_dir():
        return published_at(name)
    found = Snapshot(Store(root), name)
    if "/" not in name and found.is_committed():
        return found
    ids = [snapshot.id for snapshot in list_snapshots(found.store)]
    close = difflib.get_close_matches(name, ids, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"there are: {', '.join(ids[-5:]) or 'none'}"
    raise InputError(f"{name} is neither the folder of a snapshot nor an id below {root}; {remedy}")
