"""timm's modules as second references: their weights put into ours give their output.

Not GE with parameters, which timm 1.0 cannot make: it passes its device on in a wrong place.
"""

import pytest
import torch
from torch import nn

from dreal_lib.attention import create_attention

timm = pytest.importorskip("timm.layers")
coordinates = pytest.importorskip("timm.layers.coord_attn")

C, SIZE = 64, (7, 5)

# For each: timm's module, our name and options, and our parameters' names by theirs.
SAME = {
    "eca": (lambda: timm.EcaModule(channels=C), {}, {"conv": "conv"}),
    "ge": (lambda: timm.GatherExcite(C, use_mlp=False), {}, {}),
    "ge extent 4": (lambda: timm.GatherExcite(C, extent=4, use_mlp=False), {"extent": 4}, {}),
    "coordinate": (
        lambda: coordinates.CoordAttn(C, rd_channels=8, bias=True),
        {},
        {"conv1": "reduce", "bn1": "bn", "conv_h": "along_height", "conv_w": "along_width"},
    ),
    "gc": (
        # timm's layer norm has an eps of 1e-6, ours torch's 1e-5: hence the tolerance of gc.
        lambda: timm.GlobalContext(C, fuse_add=True, fuse_scale=False, rd_ratio=1 / 16),
        {},
        {
            **{"conv_attn": "key", "mlp_add.fc1": "reduce"},
            **{"mlp_add.norm": "norm", "mlp_add.fc2": "expand"},
        },
    ),
    "non_local": (
        lambda: timm.NonLocalAttn(C, use_scale=False, rd_ratio=1 / 2),
        {},
        {"t": "theta", "p": "phi", "g": "g", "z": "z", "norm": "bn"},
    ),
    "se": (lambda: timm.SEModule(C, rd_channels=C // 16), {}, {"fc1": "fc1", "fc2": "fc2"}),
}


def moved(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for key, value in module.double().state_dict().items():
            if value.is_floating_point():
                spread = torch.rand(value.shape, generator=generator)
                value.copy_(spread + 0.5 if key.endswith("running_var") else spread - 0.5)
    return module


@pytest.mark.parametrize("case", SAME)
@pytest.mark.parametrize("training", [False, True])
def test_the_output_is_timm_s(case, training):
    make, options, names = SAME[case]
    theirs = moved(make())
    ours = create_attention(case.split()[0], C, **options).double()
    given = theirs.state_dict()
    renamed = {}
    for key, value in given.items():
        module, _, parameter = key.rpartition(".")
        renamed[f"{names[module]}.{parameter}"] = value
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert set(renamed) == set(shapes)
    ours.load_state_dict({key: value.reshape(shapes[key]) for key, value in renamed.items()})
    x = torch.randn(3, C, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    close = {"rtol": 1e-3, "atol": 1e-4} if case == "gc" else {}
    torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x), **close)
