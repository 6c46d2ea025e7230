"""What every network has in common that is opened here: weights that may be missing, and a device to run on."""

import os
import socket
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from storage.errors import ExitCode, InputError, PersonaError

Device = Literal["auto", "cpu", "cuda", "mps"]
ResolvedDevice = Literal["cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
ResolvedPrecision = Literal["fp32", "bf16", "fp16"]

CONNECT_TIMEOUT_S = 5.0


class Compute(NamedTuple):
    """How a network is run; it changes no result beyond rounding."""

    device: Device = "auto"
    batch_size: int = 16  # pictures per pass
    num_threads: int | None = None  # on a CPU; None: as many as torch has in this process


class WeightsUnavailableError(PersonaError):
    """Weights are neither here nor to be had, or not to be trusted; the message names the file and the remedy."""

    exit_code = ExitCode.WEIGHTS_MISSING


def cache_folder() -> Path:
    """Where downloaded detector weights are kept: `personaforge` in the user's cache folder (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "personaforge"


def answers(url: str) -> bool:
    """Whether the host of `url`, or the proxy before it, accepts a connection within CONNECT_TIMEOUT_S.

    Asked once before a download, because the libraries that download keep trying for up to minutes.
    """
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def resolve_device(device: Device) -> ResolvedDevice:
    """The device that 'auto' stands for here: a GPU if there is one.

    Raises:
        ValueError: `device` is named and not there.
    """
    import torch  # here, since reading a configuration must not take the seconds of this import

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[device]:
        raise InputError(f"device {device} is not available on this machine; use auto or cpu")
    return device


def resolve_precision(precision: Precision, device: ResolvedDevice) -> ResolvedPrecision:
    """The precision that 'auto' stands for on a device: bf16 on a GPU that has it, else fp32."""
    import torch

    if precision == "auto":
        return "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return precision


def use_threads(num_threads: int | None) -> None:
    """Let torch use `num_threads` CPU threads in this process; None leaves it as it is."""
    import torch

    if num_threads is not None:
        torch.set_num_threads(num_threads)
