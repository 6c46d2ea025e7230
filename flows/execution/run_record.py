"""The record of a run: what became of everything, stage by stage, kept under the root while the run goes on."""

from collections.abc import Collection
from typing import Any

from flows.execution.faulty_annotations import TooManyFailuresError, stop_at_faulty_annotations
from storage.errors import InputError
from storage.reasons import Reason
from storage.report import WHOLE, ItemCounts, StageReport, checked
from storage.run_record import RunRecord, write_run_record
from storage.shard import Shard
from storage.snapshot import Snapshot
from storage.store import Store


class RunRecorder:
    """The reports of a run so far, kept under the root so that `persona funnel` can show them again.

    A dry run writes them only if it finds everything done, and else leaves those of the last run alone.
    """

    def __init__(
        self,
        store: Store,
        name: str,
        configuration: dict[str, Any],
        *,
        settings: dict[str, Any] | None = None,
        dry_run: bool = False,
    ) -> None:
        self._store, self._name, self._dry_run = store, name, dry_run
        self._configuration, self._settings = configuration, settings or {}
        self.reports: list[StageReport] = []
        self.stages: dict[str, list[Shard]] = {}

    def enter(self, shards_of: dict[str, list[Shard]]) -> None:
        """Add up the shards of a stage, source by source."""
        for shards in shards_of.values():
            if shards:
                self.stages.setdefault(shards[0].stage, []).extend(shards)
                first, *rest = (shard.report() for shard in shards)
                self.reports.append(checked(sum(rest, start=first)))
        if not self._dry_run:
            self._write(None)

    def stop_at_too_many_failures(self, max_share: float, may_be_missing: Collection[str] = ()) -> None:
        """Raise if more than `max_share` of any source's photos failed in the stages so far, or if it has none.

        Of the sources in `may_be_missing`, photos that are not there do not count, as long as some are.
        """
        for source in dict.fromkeys(report.source for report in self.reports):
            photos = [r.counts["photo"] for r in self.reports if r.source == source and "photo" in r.counts]
            num_in, num_failed = photos[0].num_in, sum(counts.num_failed for counts in photos)
            if not num_in:
                raise InputError(
                    f"source {source} lists no photo at all: look at its paths, and whether its files are whole"
                )
            reasons = sum(photos[1:], start=photos[0]).failed
            num_missing = reasons.get(Reason.MISSING_FILE, 0)
            if source in may_be_missing and num_missing < num_in:
                num_failed, num_in = num_failed - num_missing, num_in - num_missing
                reasons = {reason: num for reason, num in reasons.items() if reason is not Reason.MISSING_FILE}
            if num_failed > max_share * num_in:
                most = max(reasons, key=lambda reason: reasons[reason])
                raise TooManyFailuresError(
                    f"source {source}: {num_failed} of {num_in} photos failed, and max_failed_share is {max_share:g}"
                    f"; most often {most.sentence} ({reasons[most]}); mend them and run again, or raise the limit"
                )

    def stop_at_faulty_annotations(self, max_share: float) -> None:
        """Raise if the annotations of a source are at fault about more than `max_share` of its photos or boxes."""
        for report in self.reports:
            if report.stage == "ingest":
                stop_at_faulty_annotations(report, self.stages["ingest"], max_share)

    def close(self, snapshot: Snapshot) -> None:
        """Note the snapshot that the run ended with, after its rows were held against what was selected."""
        num_in = sum(report.counts["crop"].num_kept for report in self.reports if report.stage == "select")
        num_kept = snapshot.manifest().num_rows
        counts = ItemCounts(num_in=num_in, num_kept=num_kept)
        self.reports.append(checked(StageReport(stage="publish", source=WHOLE, counts={"crop": counts})))
        self._write(snapshot.path)

    def _write(self, snapshot_path: str | None) -> None:
        record = RunRecord(
            name=self._name,
            snapshot=snapshot_path,
            configuration=self._configuration,
            settings=self._settings,
            reports=tuple(self.reports),
            shards={stage: [shard.name for shard in shards] for stage, shards in self.stages.items()},
        )
        write_run_record(self._store, record)
