"""`persona demo`: the whole pipeline on photos that come inside installed packages, annotated in four formats."""

import importlib.util
import shutil
from importlib.resources import files
from pathlib import Path

import yaml

from flows.config import CurateConfig
from storage.config_file import validated
from storage.errors import InputError

PHOTOS = {
    # where the demo's annotations expect it → (package, file inside of it)
    "coco/bus.jpg": ("ultralytics", "assets/bus.jpg"),
    "coco/zidane.jpg": ("ultralytics", "assets/zidane.jpg"),
    "coco/chelsea.png": ("skimage", "data/chelsea.png"),
    "open_images/00000000000000a1.jpg": ("ultralytics", "assets/zidane.jpg"),
    "open_images/00000000000000a2.jpg": ("skimage", "data/astronaut.png"),
    "objects365/patch8/objects365_v1_00420917.png": ("skimage", "data/astronaut.png"),
    "objects365/patch8/objects365_v1_00420918.jpg": ("ultralytics", "assets/bus.jpg"),
    "crowdhuman/282555,273270001a0d6000.jpg": ("ultralytics", "assets/bus.jpg"),
}


def demo_config(root: Path) -> CurateConfig:
    """`configs/demo.yaml` over the packages' photos, copied below `root`.

    Raises:
        InputError: a package with photos is not installed.
    """
    configs = Path(str(files("configs")))
    for name, (package, inside) in PHOTOS.items():
        target = root / "photos" / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(_package_folder(package) / inside, target)  # the time too: markers hold it
    text = (configs / "demo.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text.replace("$CONFIGS", str(configs)).replace("$ROOT", str(root)))
    return validated(CurateConfig, values, str(configs / "demo.yaml"))


def _package_folder(package: str) -> Path:
    """Where a package is installed, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"photos of the demo lie in the package {package}, which is not installed: run `make demo`")
    return Path(spec.submodule_search_locations[0])
