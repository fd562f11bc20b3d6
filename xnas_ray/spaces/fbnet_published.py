"""The thirteen FBNetV2 and FBNetV3 networks whose definitions are public, and the figures published about them.

FBNetV2: Wan et al., CVPR 2020. FBNetV3: Dai et al., CVPR 2021. Widths, expansions, kernels and figures are those of the
authors' model zoo (mobile-vision), written in a form of our own. None of them lies on the grid of the published search
spaces: expansions such as 5.4566 were shrunk and grown by hand afterwards, and the last stage is MobileNetV3's.

Each line of a table is some equal blocks::

    k5 relu se c32 s2 x1 e5.3501      kernel, activation, squeeze-and-excitation, width, stride, repeats, expansion

Only the first of several has the stride. ``skip`` in place of a kernel is no inverted residual, ``p1`` a padding of the
depthwise convolution that is not half its kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xnas_ray.spaces.inverted_residuals import SQUEEZE, Block, Definition, Head, Stem


@dataclass(frozen=True, slots=True)
class Published:
    """A published network and what its authors say about it.

    Attributes:
        name: such as ``fbnetv2_f1``.
        definition: the network.
        flops_millions: multiply-accumulates as the model zoo gives them, at the definition's resolution.
        params_millions: weights as the model zoo gives them; None where it gives none.
        paper_flops_millions: as printed in the paper, rounded there.
        top_1_percent: accuracy on ImageNet that the model zoo states.
    """

    name: str
    definition: Definition
    flops_millions: float
    params_millions: float | None
    paper_flops_millions: float | None
    top_1_percent: float


_F1 = """
    k5 relu      c8   s1 x1 e1
    k5 relu      c24  s2 x1 e5.4566
    k5 relu      c24  s1 x1 e4.7912
    k5 relu   se c32  s2 x1 e5.3501
    k5 relu   se c24  s1 x1 e4.5379
    k5 hswish    c56  s2 x1 e5.7133
    k3 hswish    c56  s1 x1 e4.1212
    k3 hswish se c56  s1 x1 e5.1246
    skip         c80  s1 x1
    k5 hswish se c80  s1 x1 e4.5070
    k5 hswish se c80  s1 x1 e1.7712
    k3 hswish se c144 s2 x1 e4.5685
    k5 hswish se c144 s1 x1 e5.8400
    k5 hswish se c144 s1 x1 e6.8754
    skip         c224 s1 x1
"""

_F4 = """
    k3 hswish    c16  s1 x1 e1
    k5 hswish    c24  s2 x1 e5.4566
    k5 hswish    c24  s1 x2 e1.7912
    k5 relu   se c32  s2 x1 e5.3501
    k5 relu   se c32  s1 x1 e3.5379
    k5 relu   se c32  s1 x2 e4.5379
    k5 hswish    c64  s2 x1 e5.7133
    k3 hswish    c64  s1 x1 e2.1212
    skip         c64  s1 x1
    k3 hswish    c104 s1 x1 e5.0333
    k5 hswish se c104 s1 x1 e2.5070
    k5 hswish se c104 s1 x1 e1.7712
    k5 hswish se c112 s1 x1 e3.7712
    k3 hswish se c184 s2 x1 e5.5685
    k5 hswish se c184 s1 x1 e2.8400
    k5 hswish se c184 s1 x1 e4.8754
    skip         c224 s1 x1
"""

_L = """
    k3 hswish    c16  s1 x1 e1
    k5 hswish    c24  s2 x1 e5.4566
    k5 hswish    c24  s1 x1 e1.7912
    k3 hswish    c24  s1 x1 e1.7912
    k5 hswish    c24  s1 x1 e1.7912
    k5 hswish se c40  s2 x1 e5.3501
    k5 hswish se c32  s1 x1 e3.5379
    k5 hswish se c32  s1 x2 e4.5379
    k5 hswish    c64  s2 x1 e5.7133
    k3 hswish    c64  s1 x1 e2.1212
    skip         c64  s1 x1
    k3 hswish    c64  s1 x1 e3.1246
    k3 hswish    c112 s1 x1 e5.0333
    k5 hswish se c112 s1 x1 e2.5070
    k5 hswish se c112 s1 x1 e1.7712
    k5 hswish se c112 s1 x1 e2.7712
    k5 hswish se c112 s1 x2 e3.7712
    k3 hswish se c184 s2 x1 e5.5685
    k5 hswish se c184 s1 x2 e2.8400
    k5 hswish se c184 s1 x2 e4.8754
    skip         c224 s1 x1
"""

_L3 = """
    k3 hswish    c16  s1 x2 e1
    k5 hswish    c24  s2 x1 e5.46
    k5 hswish    c24  s1 x1 e1.79
    k3 hswish    c24  s1 x1 e1.79
    k5 hswish    c24  s1 x2 e1.79
    k5 hswish se c40  s2 x1 e5.35
    k5 hswish se c32  s1 x1 e3.54
    k5 hswish se c32  s1 x3 e4.54
    k5 hswish    c72  s2 x1 e5.71
    k3 hswish    c72  s1 x1 e2.12
    skip         c72  s1 x1
    k3 hswish    c72  s1 x1 e3.12
    k3 hswish    c128 s1 x1 e5.03
    k5 hswish se c128 s1 x1 e2.51
    k5 hswish se c128 s1 x1 e1.77
    k5 hswish se c128 s1 x1 e2.77
    k5 hswish se c128 s1 x4 e3.77
    k3 hswish se c208 s2 x1 e5.57
    k5 hswish se c208 s1 x2 e2.84
    k5 hswish se c208 s1 x3 e4.88
    skip         c248 s1 x1
"""

_V3_A = """
    k3 hswish    c16  s1 x2 e1
    k5 hswish    c24  s2 x1 e4
    k5 hswish    c24  s1 x3 e2
    k5 hswish se c40  s2 x1 e5
    k5 hswish se c40  s1 x4 e3
    k5 hswish    c72  s2 x1 e5 p1
    k3 hswish    c72  s1 x4 e3
    k3 hswish se c120 s1 x1 e5
    k5 hswish se c120 s1 x5 e3
    k3 hswish se c184 s2 x1 e6 p0
    k5 hswish se c184 s1 x5 e4
    k5 hswish se c224 s1 x1 e6
"""

_V3_C = """
    k3 hswish    c16  s1 x2 e1
    k5 hswish    c24  s2 x1 e5
    k3 hswish    c24  s1 x4 e3
    k5 hswish se c48  s2 x1 e5
    k5 hswish se c48  s1 x4 e2
    k5 hswish    c88  s2 x1 e4 p1
    k3 hswish    c88  s1 x4 e3
    k3 hswish se c120 s1 x1 e4
    k5 hswish se c120 s1 x5 e3
    k5 hswish se c216 s2 x1 e5 p1
    k5 hswish se c216 s1 x5 e5
    k5 hswish se c216 s1 x1 e6
"""

_V3_D = """
    k3 hswish    c16  s1 x2 e1
    k3 hswish    c24  s2 x1 e5
    k3 hswish    c24  s1 x5 e2
    k5 hswish se c40  s2 x1 e4
    k3 hswish se c40  s1 x4 e3
    k3 hswish    c72  s2 x1 e5
    k3 hswish    c72  s1 x4 e3
    k3 hswish se c128 s1 x1 e5
    k5 hswish se c128 s1 x6 e3
    k3 hswish se c208 s2 x1 e6
    k5 hswish se c208 s1 x5 e5
    k5 hswish se c240 s1 x1 e6
"""

_V3_E = """
    k3 hswish    c16  s1 x3 e1
    k5 hswish    c24  s2 x1 e4
    k5 hswish    c24  s1 x4 e2
    k5 hswish se c48  s2 x1 e4
    k5 hswish se c48  s1 x4 e3
    k5 hswish    c80  s2 x1 e5 p1
    k3 hswish    c80  s1 x4 e3
    k3 hswish se c128 s1 x1 e5
    k5 hswish se c128 s1 x7 e3
    k3 hswish se c216 s2 x1 e6
    k5 hswish se c216 s1 x5 e5
    k5 hswish se c240 s1 x1 e6
"""

_V3_F = """
    k3 hswish    c24  s1 x3 e1
    k5 hswish    c32  s2 x1 e4
    k5 hswish    c32  s1 x4 e2
    k5 hswish se c56  s2 x1 e4
    k5 hswish se c56  s1 x4 e3
    k5 hswish    c88  s2 x1 e5
    k3 hswish    c88  s1 x4 e3
    k3 hswish se c144 s1 x1 e5
    k5 hswish se c144 s1 x8 e3
    k3 hswish se c248 s2 x1 e6 p0
    k5 hswish se c248 s1 x6 e5
    k5 hswish se c272 s1 x1 e6
"""

_V3_G = """
    k3 hswish    c24  s1 x3 e1
    k5 hswish    c40  s2 x1 e4
    k5 hswish    c40  s1 x4 e2
    k5 hswish se c56  s2 x1 e4
    k5 hswish se c56  s1 x4 e3
    k5 hswish    c104 s2 x1 e5
    k3 hswish    c104 s1 x4 e3
    k3 hswish se c160 s1 x1 e5
    k5 hswish se c160 s1 x8 e3
    k3 hswish se c264 s2 x1 e6
    k5 hswish se c264 s1 x6 e5
    k5 hswish se c288 s1 x2 e6
"""


def blocks(table: str, *, constant_squeeze: bool = False) -> tuple[Block, ...]:
    """The blocks of such a table.

    Args:
        table: one line for some equal blocks, as described above.
        constant_squeeze: whether inner channels of squeeze-and-excitation are a share of what the block reads, as in
            FBNetV3, not of its depthwise channels.
    """
    found: list[Block] = []
    for line in table.strip().splitlines():
        words = line.split()
        numbers = {word[0]: word[1:] for word in words if word[1:].replace(".", "", 1).isdigit()}
        expansion = float(numbers.get("e", 1))
        share = SQUEEZE / expansion if constant_squeeze else SQUEEZE
        for repeat in range(int(numbers["x"])):
            found.append(
                Block(
                    width=int(numbers["c"]),
                    stride=1 if repeat else int(numbers["s"]),
                    expansion=expansion,
                    kernel=int(numbers.get("k", 0)),
                    activation="hswish" if "hswish" in words else "relu",
                    squeeze=share if "se" in words else 0.0,
                    padding=int(numbers["p"]) if "p" in numbers and not repeat else None,
                )
            )
    return tuple(found)


def _v2(resolution: int, stem: int, table: str, head: int) -> Definition:
    return Definition(resolution, Stem(stem), blocks(table), Head(head, expansion=6.0))


def _v3(resolution: int, stem: int, table: str) -> Definition:
    return Definition(resolution, Stem(stem), blocks(table, constant_squeeze=True), Head(1984, expansion=6.0))


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        one.name: one
        for one in (
            Published("fbnetv2_f1", _v2(128, 8, _F1, 1600), 56.41056, 5.999408, 56, 68.28),
            Published("fbnetv2_f2", _v2(160, 8, _F1, 1600), 85.441392, 5.999408, 85, 70.98),
            Published("fbnetv2_f3", _v2(192, 8, _F1, 1984), 121.824, 6.899504, 126, 73.03),
            Published("fbnetv2_f4", _v2(224, 16, _F4, 1984), 238.351984, 6.994824, 238, 75.82),
            Published("fbnetv2_l1", _v2(224, 16, _L, 1984), 326.023008, 8.49652, 325, 77.04),
            Published("fbnetv2_l2", _v2(256, 16, _L, 1984), 423.912768, 8.49652, 422, 78.24),
            Published("fbnetv3_a", _v3(224, 16, _V3_A), 356.59828, 8.542224, 357, 79.57),
            Published("fbnetv3_b", _v3(248, 16, _V3_A), 461.550136, None, 461, 80.21),
            Published("fbnetv3_c", _v3(248, 16, _V3_C), 556.969904, 9.907136, 557, 80.83),
            Published("fbnetv3_d", _v3(248, 24, _V3_D), 644.420352, 10.237552, None, 81.04),
            Published("fbnetv3_e", _v3(264, 24, _V3_E), 762.046336, 10.699464, 762, 81.25),
            Published("fbnetv3_f", _v3(272, 24, _V3_F), 1181.64452, 13.803072, None, 82.06),
            Published("fbnetv3_g", _v3(320, 32, _V3_G), 2129.656384, 16.513648, 2100, 82.79),
        )
    }
)
"""By name: FBNetV2 F1 to F4, L1 and L2, FBNetV3 A to G. The definitions of P1 to P3 are not public."""

FBNETV2_L3 = _v2(256, 16, _L3, 1984)
"""The network on which NARS searches recipes alone (Table 4.10 of the thesis): L2 scaled up, with 79.1 % top-1 on
ImageNet, and 79.9 % with the recipe that was found. Its expansions are printed with two decimals, which make the same
channels as those of L2; FLOPs and parameters are not published, so it is not one of ``PUBLISHED``."""
