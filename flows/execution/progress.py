"""Progress bars in the terminal: rate and time left per stage; plain lines where there is no terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class RateColumn(ProgressColumn):
    """Items per second since the stage began; shards end in bursts, so anything shorter would jump."""

    def render(self, task: Task) -> Text:
        elapsed_s = task.finished_time or task.elapsed
        return Text(f"{task.completed / elapsed_s:,.1f}/s" if elapsed_s else "", style="cyan")


@contextmanager
def progress_bar(console: Console, stage: str, num_items: int | None) -> Iterator[Callable[[int], None]]:
    """A bar for one stage; the callable that it gives advances it.

    Args:
        console: where to draw.
        stage: what the bar is called.
        num_items: how many there are; None where that is known only at the end.
    """
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(stage, total=num_items)
        yield lambda num: progress.update(bar, advance=num)
        if num_items is None:
            progress.update(bar, total=progress.tasks[0].completed)
