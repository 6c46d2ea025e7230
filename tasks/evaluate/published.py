"""What papers report, as data, by pyiqa's names of the metrics.

The paper of this project is "Human Body Restoration with One-Step Diffusion Model and A New Benchmark", OSDHuman, ICML
2025. Two later ones judge on the same HQ pictures of PERSONA-Val with other LQ pictures, so these are two sets here:
OSDHuman itself has a PSNR of 22.41 dB on one and of 22.79 dB on the other. PERSONA-Test is the same everywhere.
"""

from typing import NamedTuple

PAPER = "arXiv 2502.01411"
HAODIFF = "arXiv 2505.19742"
LCUDIFF = "arXiv 2602.04406"

TABLE_1_METRICS = ("brisque", "niqe", "clipiqa", "maniqa-pipal", "musiq")

TABLE_1: dict[str, dict[str, float]] = {
    name: dict(zip(TABLE_1_METRICS, means, strict=True))
    for name, means in {
        "OID": (19.8621, 3.6611, 0.4775, 0.5940, 60.4947),
        "VOC": (21.2764, 3.7155, 0.6071, 0.7011, 68.6073),
        "COCO": (15.2091, 3.7774, 0.6778, 0.6844, 69.5428),
        "Objects365": (17.6128, 3.6315, 0.6273, 0.6817, 67.7270),
        "CrowdHuman": (20.4306, 2.9283, 0.5160, 0.6587, 63.6830),
        "DeepFashion": (42.1884, 6.9403, 0.5448, 0.6515, 71.1873),
        "iDesigner": (25.8027, 4.6227, 0.5922, 0.6666, 69.3768),
        "PERSONA": (10.3758, 2.8659, 0.7632, 0.7198, 74.7808),
    }.items()
}
"""Mean quality of the people in each dataset; PERSONA is what HQ-ACF made of others, DeepFashion and iDesigner are not
among them."""

PEOPLE_PER_IMAGE = 3.4154
"""Of PERSONA, section 3."""

Rows = dict[str, dict[str, float]]
"""Method → metric → mean."""


class PublishedSet(NamedTuple):
    """One set of pictures, and what methods reach on exactly these."""

    rows: Rows
    num_pictures: int
    has_hq: bool
    source: str
    """Where the rows were published, and what is to be known of them."""


def _table(metrics: str, text: str) -> Rows:
    """Lines of a name and its values; `-` is none."""
    names = metrics.split()
    lines = [line.rsplit(maxsplit=len(names)) for line in text.strip().splitlines()]
    return {
        name.strip(): {metric: float(v) for metric, v in zip(names, values, strict=True) if v != "-"}
        for name, *values in lines
    }


_VAL = "dists lpips psnr ssim fid clipiqa maniqa-pipal musiq niqe"
_TEST = "clipiqa maniqa-pipal musiq niqe"

_TABLES_2_AND_3 = _table(
    f"{_VAL} {' '.join('test:' + name for name in _TEST.split())}",
    """
DiffBIR   0.1475 0.3047 21.52 0.5718 14.8418 0.8080 0.7030 76.4751 3.9752 0.7287 0.6812 73.2505 4.9820
SeeSR     0.1379 0.2851 21.31 0.5955 15.0063 0.7785 0.6993 76.8001 3.6125 0.6716 0.6698 73.2988 4.0228
PASD      0.1891 0.3587 22.17 0.6154 26.7405 0.5950 0.6090 67.3329 4.6249 0.5765 0.6703 72.1972 3.8728
ResShift  0.1795 0.3313 22.10 0.6157 30.7865 0.5931 0.5833 69.5889 4.7448 0.5544 0.6101 69.4611 4.8438
ResShift* 0.1822 0.3372 21.73 0.5969 29.4177 0.6721 0.6121 71.9257 4.8061 0.6130 0.6174 70.2313 4.8735
SinSR     0.1691 0.3187 21.92 0.5967 22.9041 0.6372 0.5712 70.0839 4.4392 0.5882 0.6010 69.0157 4.7510
SinSR*    0.1844 0.3348 21.54 0.5766 34.5773 0.7033 0.5819 71.2943 4.6294 0.6936 0.5962 69.9375 4.9873
OSEDiff   0.1510 0.2824 21.81 0.6182 17.6308 0.6875 0.6639 74.0774 3.5858 0.6734 0.6919 73.5634 4.4600
OSEDiff*  0.1476 0.2756 22.23 0.6342 17.2200 0.7034 0.6976 73.7636 3.9980 0.6874 0.7052 73.1611 4.4261
OSDHuman (trained on LSDIR) 0.1521 0.2692 22.51 0.6271 17.5615 0.7229 0.6618 74.4998 3.6461 0.6781 0.6964 73.1266 4.6382
OSDHuman  0.1414 0.2627 22.41 0.6363 16.5987 0.7295 0.6934 76.1256 3.5750 0.7155 0.6977 73.7694 4.1287
""",
)

_NEWER_VAL = _table(
    "dists lpips psnr ssim fid clipiqa maniqa-pipal niqe liqe ilniqe",
    """
SUPIR    0.1415 0.2929 21.43 0.5775 13.8357 0.7908 0.6811 3.7769 4.2303 21.3221
DiffBIR  0.1402 0.2797 22.07 0.5946 12.9306 0.7792 0.6965 3.9404 4.4211 21.4859
SeeSR    0.1295 0.2555 22.04 0.6243 12.8225 0.7620 0.6979 3.5744 4.5722 21.1563
PASD     0.1469 0.2910 22.93 0.6542 15.6758 0.6121 0.6477 3.8042 4.0878 25.4919
ResShift 0.1638 0.2848 23.16 0.6591 15.6502 0.5365 0.5650 5.2973 3.3929 25.3706
SinSR    0.1579 0.2840 22.70 0.6317 16.9203 0.6037 0.5802 4.4221 3.6340 21.1563
OSEDiff  0.1340 0.2507 22.13 0.6391 14.7489 0.6961 0.6769 3.4689 4.7567 21.9784
InvSR    0.1424 0.2709 21.44 0.6165 13.2950 0.6886 0.6845 3.7446 4.3290 21.6265
OSDHuman 0.1356 0.2384 22.79 0.6505 14.4121 0.7312 0.6908 3.8278 4.7512 22.3524
HAODiff  0.1023 0.2046 22.32 0.6331 8.3623 0.7737 0.7097 2.8298 4.8485 18.5986
LCUDiff  0.1022 0.2149 22.93 0.6416 - 0.7540 - - - -
""",
)

_TABLE_4 = _table(
    _TEST,
    """
OSDHuman (no prompt)    0.7016 0.7226 73.1735 5.0651
OSDHuman (DAPE's tags)  0.6625 0.7014 72.3104 4.9455
OSDHuman (HFIE from HQ) 0.7111 0.6747 69.9992 5.5031
""",
)
"""The row of the HFIE from LQ is that of OSDHuman itself."""

_NEWER_TEST = _table(
    "clipiqa maniqa-pipal niqe liqe ilniqe",
    """
SUPIR    0.7106 0.6798 4.0734 4.0501 22.6182
InvSR    0.6837 0.7122 4.1694 4.2582 22.8932
OSDHuman 0.7155 0.6977 4.1287 4.3202 24.8712
HAODiff  0.7210 0.7057 3.8269 4.2375 21.9784
""",
)

_MPII = _table(
    "clipiqa maniqa-pipal niqe liqe ilniqe",
    """
OSEDiff  0.6385 0.6580 4.8383 4.1664 26.8298
OSDHuman 0.6537 0.6471 4.5960 3.7991 26.8940
HAODiff  0.6923 0.6787 3.9450 4.1777 23.6714
""",
)


def _merged(*tables: Rows) -> Rows:
    """All rows; what two tables say of one method becomes one row."""
    rows: Rows = {}
    for table in tables:
        for method, means in table.items():
            rows[method] = rows.get(method, {}) | means
    return rows


_VAL_ROWS = {method: {m: means[m] for m in _VAL.split()} for method, means in _TABLES_2_AND_3.items()}
_TEST_ROWS = {method: {m: means[f"test:{m}"] for m in _TEST.split()} for method, means in _TABLES_2_AND_3.items()}

PUBLISHED: dict[str, PublishedSet] = {
    "persona-val": PublishedSet(
        _VAL_ROWS, 4216, True, f"tables 2 and 3 of {PAPER}, its own LQ pictures (* retrained on PERSONA)"
    ),
    "persona-val-haodiff": PublishedSet(
        _NEWER_VAL,
        4216,
        True,
        f"table 1 of {HAODIFF} and, for LCUDiff, of {LCUDIFF} (where HAODiff has DISTS 0.1025, LPIPS 0.2047, CLIPIQA"
        " 0.7728), the LQ pictures of these papers",
    ),
    "persona-test": PublishedSet(
        _merged(_TEST_ROWS, _TABLE_4, _NEWER_TEST),
        3000,
        False,
        f"tables 2 to 4 of {PAPER} (* retrained on PERSONA) and table 2 of {HAODIFF}, whose row of SeeSR is another",
    ),
    "mpii-test": PublishedSet(_MPII, 5427, False, f"table 2 of {HAODIFF}"),
}
"""Set of pictures → its rows. Rows of different sets never stand in one ranking."""


def rows_for(published: str | None, has_hq: bool) -> PublishedSet:
    """The rows of the set that a benchmark says it is, or else of the paper's set of the same kind."""
    return PUBLISHED[published or ("persona-val" if has_hq else "persona-test")]
