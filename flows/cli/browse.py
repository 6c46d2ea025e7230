"""`persona browse` and `review pull`: crops in FiftyOne's App, and what people say of them back into the data."""

from typing import Annotated

import typer

from flows.cli.arguments import Root, RootOrSnapshot, group

LIMIT = 5_000
"""Crops with previews in the App: half a gigabyte, and a minute the first time."""
PORT = 5151

commands = typer.Typer()
review = group("Bring back what people said of single crops.")
commands.add_typer(review, name="review", rich_help_panel="Dataset")


@commands.command(rich_help_panel="Dataset", epilog="Example: persona browse runs/mine --limit 20000")
def browse(
    place: RootOrSnapshot,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="How many crops to show.")] = LIMIT,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Show its restorations of val too: a folder, or name@alias.")
    ] = None,
    port: Annotated[int, typer.Option(metavar="PORT", help="Of the App on 127.0.0.1.")] = PORT,
    no_app: Annotated[bool, typer.Option("--no-app", help="Build or update what it shows, and end.")] = False,
) -> int:
    """Look at crops and photos in FiftyOne's App, and correct them."""
    from flows.dashboard_data.browse import build, serve

    folder, datasets = build(place, limit, checkpoint)
    if no_app:
        for name in datasets:
            print(f"The App can show {name}.")
        return 0
    return serve(folder, port, datasets)


@review.command(epilog="Example: persona review pull runs/mine")
def pull(
    root: Root,
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Who said it; by default you.")] = None,
) -> int:
    """Bring the tags `keep` and `drop` from the App; the next `curate` obeys them."""
    from flows.pull_reviews import pull_reviews

    for line in pull_reviews(root, user).sentences():
        print(line)
    return 0
