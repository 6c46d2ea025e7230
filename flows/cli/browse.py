"""`persona browse` and `review pull`: crops in FiftyOne's App, and what people say of them back into the data."""

import argparse

from flows.cli.arguments import Commands
from storage.errors import InputError

LIMIT = 5_000
"""Crops with previews in the App: half a gigabyte, and a minute the first time."""
PORT = 5151


def add(commands: Commands) -> None:
    """Add the commands of this file to the parser."""
    browse = commands.add_parser("browse", help="look at crops and photos, kept or not, in FiftyOne's App")
    browse.add_argument("place", metavar="ROOT|SNAPSHOT")
    browse.add_argument("--limit", type=int, default=LIMIT, metavar="N", help=f"crops to show; {LIMIT:,} by default")
    browse.add_argument("--checkpoint", metavar="MODEL", help="show its restorations of val: a folder, or name@alias")
    browse.add_argument("--port", type=int, default=PORT, help="of the App on 127.0.0.1")
    browse.add_argument("--no-app", action="store_true", help="build or update what it shows, and end")
    browse.set_defaults(run=_browse)

    review = commands.add_parser("review", help="what people said of single crops")
    verbs = review.add_subparsers(dest="verb", required=True, metavar="VERB")
    pull = verbs.add_parser("pull", help="bring keep and drop from the App; the next `curate` obeys")
    pull.add_argument("root", metavar="ROOT")
    pull.add_argument("--user", help="who said it; the user of this machine by default")
    pull.set_defaults(run=_pull)


def _browse(options: argparse.Namespace) -> int:
    from flows.dashboard_data.browse import build, serve

    if options.limit < 1:
        raise InputError(f"--limit is {options.limit}: show at least 1 crop")
    folder, datasets = build(options.place, options.limit, options.checkpoint)
    if options.no_app:
        for name in datasets:
            print(f"The App can show {name}.")
        return 0
    return serve(folder, options.port, datasets)


def _pull(options: argparse.Namespace) -> int:
    from flows.pull_reviews import pull_reviews

    for line in pull_reviews(options.root, options.user).sentences():
        print(line)
    return 0
