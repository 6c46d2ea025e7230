"""How a run is done: nothing here changes what comes out of it."""

import os
from typing import Annotated

from pydantic import Field, PositiveInt

from flows.execution.ray_cluster import ClusterConfig
from model.network.weights import Device
from storage.frozen import Frozen

Share = Annotated[float, Field(ge=0, le=1)]


class RunConfig(Frozen):
    """Workers, devices, batches, addresses, and how many failures end a run; the same dataset comes out of any of them.

    Only `photos_per_shard` costs work when it is changed on a root that was begun: shards are cut anew.
    """

    workers: PositiveInt = Field(default_factory=lambda: os.cpu_count() or 1)
    """Worker processes on this machine; by default one per core of the machine that runs."""
    network_workers: PositiveInt | None = None
    """Worker processes of detect and score, each with a copy of the networks; empty = one per GPU, or `workers`."""
    device: Device = "auto"
    """Where detector and metrics run; auto takes a GPU if there is one."""
    batch_size: PositiveInt = 16
    """Pictures per pass through a network; the detector takes one on a CPU, and metrics that look at many pieces of
    each crop take fewer."""
    photos_per_shard: PositiveInt = 512
    """How many photos a worker takes at a time, about."""
    max_failed_share: Share = 0.05
    """A run ends with an error when a larger share of a source's photos cannot be read."""
    max_faulty_share: Share = 0.05
    """A run ends with an error when the annotations are at fault about a larger share of a source's photos or boxes:
    records that cannot be read, ids that several claim or nobody lists, paths that lead out. An annotation file that
    ends early is at fault about all of them."""
    verify_inputs: bool = False
    """Read every photo again that was read before, and make anew what stands on another one now. Without it a photo
    that was replaced is noticed by its size and time, in archives by what they say of it, and in buckets not at all."""
    cluster: ClusterConfig | None = None
    """A Ray cluster that takes the shards instead of worker processes."""
    files_url: str | None = None
    """Address under which a web server shows `root`, such as http://127.0.0.1:8000: links in Prefect lead there;
    empty = file addresses, which a browser opens only when they are pasted."""
