"""`persona models`: which models there are, which of them is used, and how it came to that."""

from typing import Annotated

import typer

from flows.cli.arguments import Root, group

commands = typer.Typer()
models = group("Versions of models, and the aliases that point at them.")
commands.add_typer(models, name="models", rich_help_panel="Model")

Why = Annotated[str, typer.Option("--why", metavar="SENTENCE", help="Kept in the history.")]


@models.command("list", epilog="Example: persona models list runs/mine")
def list_(root: Root) -> int:
    """Show every version, with its aliases."""
    from flows.cli.show_models import show_list

    return show_list(root)


@models.command(epilog="Example: persona models show runs/mine osdhuman@production")
def show(
    root: Root,
    reference: Annotated[
        str, typer.Argument(metavar="MODEL", help="name@alias, name/version, or name for its production.")
    ],
) -> int:
    """Show one version: origin, metrics, decision, and the history of its aliases."""
    from flows.cli.show_models import show_version

    return show_version(root, reference)


@models.command(epilog='Example: persona models promote runs/mine osdhuman@candidate --why "sharper faces"')
def promote(
    root: Root,
    reference: Annotated[str, typer.Argument(metavar="MODEL", help="name@alias or name/version.")],
    why: Why,
    alias: Annotated[str, typer.Option("--to", metavar="ALIAS", help="Which alias.")] = "production",
) -> int:
    """Let an alias point at a version."""
    from storage.registry import Registry
    from storage.store import Store

    registry = Registry(Store(root))
    model, version = registry.parse(reference)
    change = registry.promote(model, version, alias, why=why)
    print(f"{model}@{change.alias} is {change.version} (before: {change.previous or 'nothing'})")
    return 0


@models.command(epilog='Example: persona models rollback runs/mine osdhuman --why "greenish skin"')
def rollback(root: Root, model: Annotated[str, typer.Argument(metavar="NAME", help="Of the model.")], why: Why) -> int:
    """Go back to the version before the present one was promoted."""
    from storage.registry import Registry
    from storage.store import Store

    change = Registry(Store(root)).rollback(model, why=why)
    print(f"{model}@{change.alias} is {change.version} again (before: {change.previous})")
    return 0


@models.command(epilog="Example: persona models verify runs/mine")
def verify(root: Root) -> int:
    """Compare every byte of every version with what was registered."""
    from storage.registry import Registry
    from storage.store import Store

    problems = Registry(Store(root)).verify_all()
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{root}: every model is as registered")
    return 1 if problems else 0
