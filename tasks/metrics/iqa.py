"""Quality metrics for single pictures, by name: the only file that imports pyiqa (PolyForm Noncommercial).

To use another library, give it the same public names: checked_name, lower_is_better, check_metric, load_metric,
weights_of, weights_files, confirm_weights, mode_of, to_tensor, pictures_per_pass and measure.
"""

import contextlib
import difflib
import importlib.util
import io
import os
import re
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import cv2
import numpy as np

from model.network.weights import CONNECT_TIMEOUT_S, WeightsUnavailableError, answers
from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.known_weights import WeightsFile, hashes_of

_LOWER_IS_BETTER = {"dmm": True}
"""Where pyiqa's own direction is wrong: dmm is a distance, 0 for equal pictures."""

_REFUSED = {
    "entropy": "it measures information, not quality: noise raises it",
    "clipscore": "it compares a picture with a caption",
    **dict.fromkeys(("fid", "sfid", "fid_dinov2", "inception_score"), "it describes a set of pictures, not one"),
    **dict.fromkeys(
        ("qalign", "qalign_8bit", "qalign_4bit", "compare2score"), "it runs program code that comes with its weights"
    ),
}

_PYIQAS_NAME = {"psnr_rgb": "psnr", "ssim_rgb": "ssimc"}
"""Metrics that are called otherwise here, since `psnr` and `ssim` are the paper's, on Y."""

_OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"test_y_channel": True, "color_space": "ycbcr"} for name in ("psnr", "ssim")},
    "psnr_rgb": {"test_y_channel": False},
}
"""The paper's Y is that of YCbCr; pyiqa's own is that of YIQ, with which PSNR comes out 1.3 dB lower."""

_ONE_AT_A_TIME = {"NIQE", "ILNIQE", "BRISQUE", "PIQE", "NRQM", "PI", "PSNR"}
"""pyiqa's classes of classical metrics, which a batch makes slower, or changes in the last digit (PSNR)."""

_VIEWS = {"MANIQA": 20, "TReS": 50, "HyperNet": 25, "LIQE": 15}
"""Pieces of a picture that pyiqa's class passes through its network at once: they fill the memory like pictures do."""

_HASHED_NAME = re.compile(r"-([0-9a-f]{8})\.\w+$")
_WEIGHTS_SUFFIXES = {".pth", ".pt", ".ckpt", ".bin", ".mat", ".npz", ".safetensors"}


@lru_cache(maxsize=1)
def _configurations() -> dict[str, dict[str, Any]]:
    """The table of pyiqa's metrics, read without the seconds that importing it takes."""
    package = importlib.util.find_spec("pyiqa")
    if package is None or package.origin is None:
        raise ImportError("pyiqa is not installed")
    path = Path(package.origin).with_name("default_model_configs.py")
    spec = importlib.util.spec_from_file_location("pyiqa_default_model_configs", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be read")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    everything: dict[str, dict[str, Any]] = module.DEFAULT_CONFIGS
    return everything | {name: everything[pyiqas] for name, pyiqas in _PYIQAS_NAME.items()}


def checked_name(name: str) -> str:
    """`name`, if it is a metric that judges a single picture without a reference.

    Raises:
        ValueError: it is not; the message says why, with names that are close.
    """
    everything = _configurations()
    offered = [n for n, about in everything.items() if about["metric_mode"] == "NR" and n not in _REFUSED]
    if name in offered:
        return name
    spelt = {n.replace("_", "").replace("-", ""): n for n in offered}.get(re.sub(r"[-_ ]", "", name.lower()))
    close = [spelt] if spelt else difflib.get_close_matches(name, offered, n=3, cutoff=0.5) or offered[:3]
    if name in _REFUSED:
        why = f"metric {name} is not offered: {_REFUSED[name]}"
    elif name in everything:
        why = f"metric {name} needs a reference picture, and crops have none"
    else:
        why = f"there is no metric {name}"
    raise InputError(f"{why}; try {', '.join(close)}")


def lower_is_better(name: str) -> bool:
    """Whether a smaller value means a better picture. Loads nothing; works for reference metrics too.

    Raises:
        KeyError: no such metric.
    """
    return _LOWER_IS_BETTER.get(name, bool(_configurations()[name].get("lower_better", False)))


def mode_of(name: str) -> str:
    """What the metric looks at: "NR" a picture alone, "FR" a picture and its reference, "SET" two sets of pictures.

    Raises:
        ValueError: no such metric, or one that is not offered; the message says why.
    """
    if name == "fid":
        return "SET"
    if _configurations().get(name, {}).get("metric_mode") == "FR":
        return "FR"
    checked_name(name)
    return "NR"


def weights_file(name: str) -> Path | None:
    """Where the metric's own weights lie once they are downloaded; None where it has none, or its class decides.

    Read from the text of pyiqa's classes, whose tables name a file for each variant, without importing any.
    """
    package = importlib.util.find_spec("pyiqa")
    if package is None or package.origin is None:
        raise ImportError("pyiqa is not installed")
    options = {key: str(value) for key, value in _configurations()[name]["metric_opts"].items()}
    for path in Path(package.origin).with_name("archs").glob("*_arch.py"):
        text = path.read_text(encoding="utf-8")
        if f"class {options['type']}(" in text:
            files = dict(re.findall(r"'([^']+)': get_url_from_name\(\s*'([^']+)'", text))
            wanted = [*options.values(), options["type"].lower(), "url"]
            file = next((files[key] for key in wanted if key in files), None)
            return _cache_folder() / file if file else None
    return None


def _cache_folder() -> Path:
    """The folder of pyiqa in torch's cache, which torch takes from these variables."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "pyiqa"


def check_metric(name: str) -> dict[str, str]:
    """Load the metric once; returns every weights file that it opened, name → SHA-256 (none for piqe).

    Call it before any crop is read: what has to be downloaded is downloaded here.

    Raises:
        ValueError: not a metric for crops.
        WeightsUnavailableError: its weights are not here and cannot be downloaded, or are not what they should be;
            known within seconds.
    """
    return weights_of(checked_name(name))


def weights_of(name: str, device: str = "cpu") -> dict[str, str]:
    """As `check_metric`, for any metric of pyiqa: those that need a reference or a set of pictures as well."""
    return hashes_of(weights_files(name, device))


def weights_files(name: str, device: str = "cpu") -> tuple[WeightsFile, ...]:
    """The files behind `weights_of`, as they were when this process opened them."""
    return _create(name, device)[1]


def confirm_weights(name: str, device: str, promised: dict[str, str]) -> None:
    """Values of the metric, as it is loaded in this process, may stand under the promised hashes of its weights.

    Raises:
        ValueError: a file was exchanged since the hashes were taken.
    """
    if weights_of(name, device) != promised:
        raise InputError(f"weights of metric {name} were exchanged while this run was at work: run it again")


def load_metric(name: str, device: str) -> Any:  # noqa: ANN401 - pyiqa's InferenceModel
    """The metric on a device, loaded once per process.

    Raises:
        WeightsUnavailableError: as `check_metric` does.
    """
    return _create(name, device)[0]


def measure(name: str, pictures: list[np.ndarray], device: str, batch_size: int) -> list[float]:
    """The metric's value of each picture, in single precision; NaN where it has none, as for one even colour.

    Args:
        name: of the metric.
        pictures: (H, W, 3) uint8 BGR, all of one size.
        device: cpu, cuda or mps.
        batch_size: pictures per pass; less where a metric looks at many pieces of each.
    """
    metric = load_metric(name, device)
    step = pictures_per_pass(name, batch_size)
    values: list[float] = []
    for start in range(0, len(pictures), step):
        values += _measured(metric, pictures[start : start + step])
    return values


def pictures_per_pass(name: str, batch_size: int) -> int:
    """How many pictures go through the metric at once where `batch_size` go through others."""
    kind = _configurations()[name]["metric_opts"]["type"]
    return 1 if kind in _ONE_AT_A_TIME else max(1, batch_size // _VIEWS.get(kind, 1))


def _measured(metric: Any, pictures: list[np.ndarray]) -> list[float]:  # noqa: ANN401
    import torch

    try:
        with torch.inference_mode():
            values = metric(to_tensor(pictures))
    except (AssertionError, torch.linalg.LinAlgError):  # what the classical metrics raise at a picture without detail
        if len(pictures) == 1:
            return [float("nan")]
        return [value for picture in pictures for value in _measured(metric, [picture])]
    return values.double().cpu().reshape(len(pictures)).tolist()


def to_tensor(pictures: list[np.ndarray]) -> Any:  # noqa: ANN401 - torch is imported late
    """Pictures of one size, (H, W, 3) uint8 BGR, as one float tensor (B, 3, H, W), RGB in [0, 1]."""
    import torch

    rgb = np.stack([cv2.cvtColor(picture, cv2.COLOR_BGR2RGB) for picture in pictures])
    return torch.from_numpy(rgb).permute(0, 3, 1, 2).contiguous().float().div_(255)


@lru_cache(maxsize=16)
def _create(name: str, device: str) -> tuple[Any, tuple[WeightsFile, ...]]:
    """A metric and the weights files that were opened for it, in the order of their paths."""
    # torch.load looks at this in every call, and it beats the weights_only=False that pyiqa passes: without it a
    # planted file in the cache is code that runs.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    # pyiqa prints every path that it loads, and torchvision warns of the way in which pyiqa calls it.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        import huggingface_hub.constants as hub
        import pyiqa
        from pyiqa.utils.download_util import DEFAULT_CACHE_DIR

        with _short_timeouts(), _watched_weights(Path(DEFAULT_CACHE_DIR)) as opened:
            try:
                metric = _from_cache_or_hub(name, device, pyiqa, hub)
            except ImportError as error:
                raise WeightsUnavailableError(
                    f"metric {name} needs a package that is not installed ({_one_line(error)});"
                    " install it, or leave the metric out"
                ) from error
            except OSError as error:
                raise WeightsUnavailableError(
                    f"weights of metric {name} are not here and could not be downloaded ({_one_line(error)});"
                    f" connect this machine once, put the file into {DEFAULT_CACHE_DIR}, or leave the metric out"
                ) from error
            except (UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
                raise WeightsUnavailableError(
                    f"weights of metric {name} in {DEFAULT_CACHE_DIR} cannot be used ({_one_line(error)});"
                    " delete the file, and it is downloaded again"
                ) from error
    if type(metric.net).__name__ == "CLIPIQA":
        _keep_text_features(metric.net)
    return metric, tuple(file for _, file in sorted(opened.items()))


def _keep_text_features(net: Any) -> None:  # noqa: ANN401
    """Let CLIPIQA's text tower run once: its prompts are always the same, and so are their features."""
    net.clip_model[0].encode_text = _first_result_of(net.clip_model[0].encode_text)
    if hasattr(net, "prompt_learner"):  # of clipiqa+, whose prompts are learned
        net.prompt_learner.forward = _first_result_of(net.prompt_learner.forward)


def _first_result_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that always returns what the first call returned."""
    results: list[Any] = []

    def call(*arguments: Any) -> Any:  # noqa: ANN401
        if not results:
            results.append(function(*arguments))
        return results[0]

    return call


def _short_name(path: Path) -> str:
    """The file's name; in the Hugging Face cache, where all are called alike, with that of its repository."""
    return f"{path.parents[2].name}/{path.name}" if path.parents[1].name == "snapshots" else path.name


def _from_cache_or_hub(name: str, device: str, pyiqa: Any, hub: Any) -> Any:  # noqa: ANN401
    """The metric, from the caches if they hold all of it: the hub's library would ask the hub first, for up to 50 s."""
    online, options = hub.HF_HUB_OFFLINE, _OPTIONS.get(name, {})
    pyiqas_name = _PYIQAS_NAME.get(name, name)
    hub.HF_HUB_OFFLINE = True
    try:
        return pyiqa.create_metric(pyiqas_name, device=device, **options)
    except FileNotFoundError:  # a backbone is missing in the hub's cache
        if online or not answers(hub.ENDPOINT):
            raise
    finally:
        hub.HF_HUB_OFFLINE = online
    return pyiqa.create_metric(pyiqas_name, device=device, **options)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


@contextlib.contextmanager
def _short_timeouts() -> Iterator[None]:
    """Give up a dead connection early: the downloads that pyiqa starts set no limit of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(2 * CONNECT_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class _Watch(threading.local):
    """The weights files that this thread opens while it creates a metric."""

    opened: dict[Path, WeightsFile] | None = None
    pyiqa_folder = Path()


_watch = _Watch()


@lru_cache(maxsize=1)
def _install_audit_hook() -> None:
    """Once per process, since Python never removes one."""
    sys.addaudithook(_on_audit_event)


def _on_audit_event(event: str, args: tuple[Any, ...]) -> None:
    """Note every weights file just before it is opened for reading, and refuse it if its name says another hash."""
    if event != "open" or _watch.opened is None:
        return
    file, mode, _ = args
    if not isinstance(file, str | os.PathLike) or not isinstance(mode, str) or not mode.startswith("r"):
        return
    opened, _watch.opened = _watch.opened, None  # what is opened from here on is opened by this function
    try:
        for path in _weights_behind(Path(file)):
            if path.is_file() and path not in opened:
                opened[path] = WeightsFile.seen(path, _short_name(path), _trusted_sha256(path))
    finally:
        _watch.opened = opened


def _weights_behind(path: Path) -> list[Path]:
    """The file itself if it holds weights; all weights behind it if it is a reference of the Hugging Face cache.

    The hub's library reads the reference first, and what it leads to is opened outside of Python, without an event.
    """
    if path.suffix in _WEIGHTS_SUFFIXES:
        return [path]
    if path.parent.name != "refs" or not path.is_file():
        return []
    snapshot = path.parent.parent / "snapshots" / path.read_text().strip()
    return sorted(p for p in snapshot.glob("*") if p.suffix in _WEIGHTS_SUFFIXES)


def _trusted_sha256(path: Path) -> str:
    sha256 = sha256_of_file(path)
    promised = _HASHED_NAME.search(path.name)
    if promised and path.is_relative_to(_watch.pyiqa_folder) and not sha256.startswith(promised[1]):
        raise WeightsUnavailableError(
            f"weights file {path} is damaged or not the published one: its SHA-256 starts with {sha256[:8]};"
            " delete it, and it is downloaded again"
        )
    return sha256


@contextlib.contextmanager
def _watched_weights(pyiqa_folder: Path) -> Iterator[dict[Path, WeightsFile]]:
    """Fills the dictionary with every weights file that the block opens."""
    _install_audit_hook()
    _watch.opened, _watch.pyiqa_folder = {}, pyiqa_folder
    opened = _watch.opened
    try:
        yield opened
    finally:
        _watch.opened = None
