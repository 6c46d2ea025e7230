"""Find people in photos with a YOLO network: the only file that imports ultralytics (AGPL-3.0).

To use another detector, give it the same four public names: DetectConfig, check_weights, open_detector, find_people.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from model.network.weights import Compute, WeightsUnavailableError, answers, cache_folder, resolve_device, use_threads
from storage.digest import sha256_of_file
from storage.errors import InputError
from storage.extras import extra
from storage.frozen import HOW, Frozen
from storage.known_weights import WeightsFile, hashes_of

_NMS_LIMIT_MS = 2000
"""After two seconds of non-maximum suppression ultralytics leaves the rest of a batch without boxes."""


class DetectConfig(Frozen):
    """How people are found in photos that come without boxes."""

    weights: Annotated[str, HOW] = "yolo11m.pt"
    """A file or folder that ultralytics can open (.pt, .onnx, OpenVINO folder, ...), or the name of published weights,
    which are downloaded once. They count by their content, wherever they lie."""
    class_ids: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """The network's classes that are people; 0 in networks trained on COCO."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Detections below this confidence are ignored."""
    iou: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Of two boxes that overlap by more than this IoU only the more confident one is kept."""
    image_size_px: Annotated[int, Field(gt=0, multiple_of=32)] = 640
    """Every photo is scaled into a square of this side; a network exported with a fixed size takes only that one."""


class Detection(NamedTuple):
    """One person that the network sees."""

    bbox_xyxy_px: tuple[float, float, float, float]
    """x_min, y_min, x_max, y_max in pixels of the photo, clipped to it."""
    confidence: float
    """From 0 to 1."""
    label: str
    """The network's name of the class."""


class Detector(NamedTuple):
    """An opened network and how it is asked."""

    network: Any
    device: str
    photos_per_pass: int


def check_weights(config: DetectConfig, compute: Compute = Compute()) -> dict[str, str]:
    """Download the weights if need be and open them once; returns the name and SHA-256 of every file."""
    return hashes_of(weights_files(config, compute))


def weights_files(config: DetectConfig, compute: Compute = Compute()) -> tuple[WeightsFile, ...]:
    """The files behind `check_weights`.

    Call it before any photo is read.

    Raises:
        WeightsUnavailableError: they are not here and cannot be downloaded, which is known within seconds, or cannot
            be opened.
        ValueError: the network does not fit `class_ids` or `image_size_px`.
    """
    path = local_weights(config.weights) or _downloaded(config.weights)
    open_detector(config, compute)
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    named = ((p, p.relative_to(path.parent).as_posix()) for p in files)
    return tuple(WeightsFile.seen(p, name, sha256_of_file(p)) for p, name in named)


def open_detector(config: DetectConfig, compute: Compute = Compute()) -> Detector:
    """The network, loaded once per process and tried on an empty picture.

    Args:
        config: which weights.
        compute: where they run. A CPU takes one photo per pass, which is faster there and gives the same boxes in any
            order; a network exported for a fixed number takes that.

    Raises:
        WeightsUnavailableError: the weights are not there or cannot be opened.
        ValueError: the network does not fit `class_ids` or `image_size_px`.
    """
    path = local_weights(config.weights)
    if path is None:
        raise WeightsUnavailableError(f"detector weights {config.weights} are not there any more")
    device = resolve_device(compute.device)
    network = _load(path, device, config.image_size_px, compute.num_threads)
    names, sides = network.predictor.model.names, set(network.predictor.imgsz)
    if unknown := set(config.class_ids) - set(names):
        raise InputError(f"detect.class_ids {sorted(unknown)} are not among the classes of {path.name}, {names}")
    if sides != {config.image_size_px}:
        raise InputError(f"{path.name} takes only detect.image_size_px {sides}, not {config.image_size_px}")
    return Detector(network, device, _photos_per_pass(network.predictor.model, device, compute.batch_size))


def _photos_per_pass(backend: Any, device: str, batch_size: int) -> int:  # noqa: ANN401
    if device == "cpu":
        return 1
    takes_any_batch = backend.format == "pt" or backend.dynamic
    return batch_size if takes_any_batch else backend.batch


def find_people(detector: Detector, photos: list[np.ndarray], config: DetectConfig) -> list[list[Detection]]:
    """The people in each photo, most confident first.

    Every photo is letterboxed into the same square, whatever its neighbours, so its boxes do not depend on them.

    Args:
        detector: from `open_detector` with the same `config`.
        photos: (H, W, 3) uint8 BGR each.
        config: classes and thresholds.
    """
    if not photos:
        return []
    results = _predict(detector.network, photos, config, detector.device)
    if len(photos) > 1 and results[0].speed["postprocess"] * len(photos) >= _NMS_LIMIT_MS:
        results = [_predict(detector.network, [photo], config, detector.device)[0] for photo in photos]
    return [_detections(result) for result in results]


def _predict(network: Any, photos: list[np.ndarray], config: DetectConfig, device: str) -> list[Any]:  # noqa: ANN401
    return network.predict(
        photos,
        classes=list(config.class_ids),
        agnostic_nms=True,  # one body that is seen as two of the classes is still one person
        conf=config.confidence,
        iou=config.iou,
        imgsz=config.image_size_px,
        rect=False,  # otherwise photos of one size are padded less than mixed ones, and their boxes differ
        device=device,
        verbose=False,
        save=False,
    )


def _detections(result: Any) -> list[Detection]:  # noqa: ANN401
    boxes = result.boxes
    rows = zip(boxes.xyxy.tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True)
    found = [Detection(tuple(xyxy), confidence, result.names[int(label)]) for xyxy, confidence, label in rows]
    return sorted(found, key=lambda d: (-d.confidence, d.bbox_xyxy_px))


def local_weights(weights: str) -> Path | None:
    """Where these weights are: as they are named, or in the cache; None where they are in neither place."""
    places = Path(weights), weights_target(weights)
    return next((place for place in places if place.exists()), None)


def weights_target(weights: str) -> Path:
    """Where published weights are downloaded to."""
    return cache_folder() / "weights" / weights


def _downloaded(weights: str) -> Path:
    """Published weights, fetched into the cache folder by ultralytics' own downloader."""
    with _importing_ultralytics():
        from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset

    if weights not in GITHUB_ASSETS_NAMES:
        raise WeightsUnavailableError(
            f"detector weights {weights} are neither a file here nor a name that ultralytics publishes;"
            " set weights to an existing file or to a name such as yolo11m.pt"
        )
    target = weights_target(weights)
    target.parent.mkdir(parents=True, exist_ok=True)
    if answers("https://github.com"):
        with contextlib.suppress(OSError):  # its ConnectionError says less than the sentence below
            attempt_download_asset(target, retry=0)
    if not target.exists():
        raise WeightsUnavailableError(
            f"detector weights {weights} are not here and could not be downloaded from github.com/ultralytics/assets;"
            f" connect this machine, put the file at {target}, or set weights to a file that is here"
        )
    return target


@contextlib.contextmanager
def _importing_ultralytics() -> Iterator[None]:
    """Sets what ultralytics reads from the environment when it is imported, and undoes what it does to Pillow."""
    # Unpickle a .pt by torch's weights_only and a list of known classes, so that no file can run code.
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "1"
    # Never run pip from inside of a worker.
    os.environ["YOLO_AUTOINSTALL"] = "false"
    # Only errors on the terminal.
    os.environ.setdefault("YOLO_VERBOSE", "false")
    # No usage statistics and no look-ups at import; an explicit download is still tried, once.
    os.environ["YOLO_OFFLINE"] = "true"
    # A settings file of our own: the user's may switch on loggers or name another folder for weights.
    os.environ["YOLO_CONFIG_DIR"] = str(cache_folder())
    # It puts its own in place of Pillow's, which asks for a package of its own wherever a file is no picture.
    pillows_open = Image.open
    try:
        with extra("detect"):
            yield
    finally:
        Image.open = pillows_open


@lru_cache(maxsize=1)
def _load(path: Path, device: str, image_size_px: int, num_threads: int | None) -> Any:  # noqa: ANN401
    with _importing_ultralytics():
        from ultralytics import YOLO
    import torch

    num_threads = num_threads or torch.get_num_threads()
    empty = np.zeros((32, 32, 3), np.uint8)
    try:
        network: Any = YOLO(str(path), task="detect")
        network.predict(empty, imgsz=image_size_px, rect=False, device=device, verbose=False, save=False)
    except (TypeError, ImportError, RuntimeError, ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise WeightsUnavailableError(f"detector weights {path} cannot be opened: {why}") from error
    # On a CPU ultralytics has just set torch's threads to its own liking, for the whole process.
    use_threads(num_threads)
    backend = network.predictor.model.backend
    if network.predictor.model.format == "onnx":
        _limit_onnx_threads(backend, path, num_threads)
    return network


def _limit_onnx_threads(backend: Any, path: Path, num_threads: int) -> None:  # noqa: ANN401
    """Open the session anew, because ultralytics cannot be told how many threads ONNX Runtime may take."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    providers = backend.session.get_providers()
    backend.session = onnxruntime.InferenceSession(str(path), options, providers=providers)
