"""What the paper reports, as data, by pyiqa's names of the metrics.

The paper is "Human Body Restoration with One-Step Diffusion Model and A New Benchmark", OSDHuman, ICML 2025.
"""

PAPER = "arXiv 2502.01411"

TABLE_1_METRICS = ("brisque", "niqe", "clipiqa", "maniqa-pipal", "musiq")

TABLE_1: dict[str, dict[str, float]] = {
    name: dict(zip(TABLE_1_METRICS, means, strict=True))
    for name, means in {
        "OID": (19.8621, 3.6611, 0.4775, 0.5940, 60.4947),
        "VOC": (21.2764, 3.7155, 0.6071, 0.7011, 68.6073),
        "COCO": (15.2091, 3.7774, 0.6778, 0.6844, 69.5428),
        "Objects365": (17.6128, 3.6315, 0.6273, 0.6817, 67.7270),
        "CrowdHuman": (20.4306, 2.9283, 0.5160, 0.6587, 63.6830),
        "PERSONA": (10.3758, 2.8659, 0.7632, 0.7198, 74.7808),
    }.items()
}
"""Mean quality of the people in each dataset; PERSONA is what HQ-ACF made of the others."""

PEOPLE_PER_IMAGE = 3.4154
"""Of PERSONA, section 3."""

_VAL = ("dists", "lpips", "psnr", "ssim", "fid", "clipiqa", "maniqa-pipal", "musiq", "niqe")
_TEST = ("clipiqa", "maniqa-pipal", "musiq", "niqe")

# Nine values on PERSONA-Val, then four on PERSONA-Test; an asterisk means retrained on PERSONA.
_TABLE_2 = """
DiffBIR   0.1475 0.3047 21.52 0.5718 14.8418 0.8080 0.7030 76.4751 3.9752 0.7287 0.6812 73.2505 4.9820
SeeSR     0.1379 0.2851 21.31 0.5955 15.0063 0.7785 0.6993 76.8001 3.6125 0.6716 0.6698 73.2988 4.0228
PASD      0.1891 0.3587 22.17 0.6154 26.7405 0.5950 0.6090 67.3329 4.6249 0.5765 0.6703 72.1972 3.8728
ResShift  0.1795 0.3313 22.10 0.6157 30.7865 0.5931 0.5833 69.5889 4.7448 0.5544 0.6101 69.4611 4.8438
ResShift* 0.1822 0.3372 21.73 0.5969 29.4177 0.6721 0.6121 71.9257 4.8061 0.6130 0.6174 70.2313 4.8735
SinSR     0.1691 0.3187 21.92 0.5967 22.9041 0.6372 0.5712 70.0839 4.4392 0.5882 0.6010 69.0157 4.7510
SinSR*    0.1844 0.3348 21.54 0.5766 34.5773 0.7033 0.5819 71.2943 4.6294 0.6936 0.5962 69.9375 4.9873
OSEDiff   0.1510 0.2824 21.81 0.6182 17.6308 0.6875 0.6639 74.0774 3.5858 0.6734 0.6919 73.5634 4.4600
OSEDiff*  0.1476 0.2756 22.23 0.6342 17.2200 0.7034 0.6976 73.7636 3.9980 0.6874 0.7052 73.1611 4.4261
OSDHuman  0.1414 0.2627 22.41 0.6363 16.5987 0.7295 0.6934 76.1256 3.5750 0.7155 0.6977 73.7694 4.1287
"""


def _columns(first: int, metrics: tuple[str, ...]) -> dict[str, dict[str, float]]:
    lines = [line.split() for line in _TABLE_2.strip().splitlines()]
    return {name: dict(zip(metrics, map(float, numbers[first:]), strict=False)) for name, *numbers in lines}


TABLE_2 = {"val": _columns(0, _VAL), "test": _columns(len(_VAL), _TEST)}
"""PERSONA-Val or PERSONA-Test → method → metric → mean."""
