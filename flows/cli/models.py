"""`persona models`: which models there are, which of them is used, and how it came to that."""

import argparse

from flows.cli.arguments import Commands


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    models = commands.add_parser("models", help="versions of models and the aliases that point at them")
    verbs = models.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser("list", help="every version, with its aliases")
    _add_root(listing)
    listing.set_defaults(run=_list)

    show = verbs.add_parser("show", help="one version: origin, metrics, decision; and the history of its aliases")
    show.add_argument("reference", metavar="MODEL", help="name@alias, name/version, or name for its production")
    _add_root(show)
    show.set_defaults(run=_show)

    promote = verbs.add_parser("promote", help="let an alias point at a version")
    promote.add_argument("reference", metavar="MODEL", help="name@alias or name/version")
    promote.add_argument("--to", dest="alias", default="production", metavar="ALIAS")
    promote.add_argument("--why", required=True, help="in one sentence; kept in the history")
    _add_root(promote)
    promote.set_defaults(run=_promote)

    rollback = verbs.add_parser("rollback", help="back to the version before the present one was promoted")
    rollback.add_argument("model", metavar="NAME")
    rollback.add_argument("--why", required=True, help="in one sentence; kept in the history")
    _add_root(rollback)
    rollback.set_defaults(run=_rollback)

    verify = verbs.add_parser("verify", help="compare every byte of every version with what was registered")
    _add_root(verify)
    verify.set_defaults(run=_verify)


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", default="data/persona", help="where everything is kept (default: %(default)s)")


def _list(options: argparse.Namespace) -> int:
    from flows.cli.show_models import show_list

    return show_list(options.root)


def _show(options: argparse.Namespace) -> int:
    from flows.cli.show_models import show_version

    return show_version(options.root, options.reference)


def _promote(options: argparse.Namespace) -> int:
    from storage.registry import Registry
    from storage.store import Store

    registry = Registry(Store(options.root))
    model, version = registry.parse(options.reference)
    change = registry.promote(model, version, options.alias, why=options.why)
    print(f"{model}@{change.alias} is {change.version} (before: {change.previous or 'nothing'})")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from storage.registry import Registry
    from storage.store import Store

    change = Registry(Store(options.root)).rollback(options.model, why=options.why)
    print(f"{options.model}@{change.alias} is {change.version} again (before: {change.previous})")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from storage.registry import Registry
    from storage.store import Store

    problems = Registry(Store(options.root)).verify_all()
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{options.root}: every model is as registered")
    return 1 if problems else 0
