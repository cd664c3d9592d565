"""Attention statistics of made-up networks."""

import numpy as np

from book.companion.attention_maps.loaded import Attention, MapStatistics

BLOCKS_OF_50 = [f"layer{s}.{i}" for s, n in enumerate((3, 4, 6, 3), 1) for i in range(n)]


THIN = ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]


def statistics(spread=0.1, level=0.5, deviation=0.2, share=0.25, shape=(4,)):
    """A map whose measures are what they are called, at two values of the mean."""
    signs = np.resize([-1.0, 1.0], np.prod(shape)).reshape(shape)
    variance = np.full(shape, deviation**2)
    return MapStatistics(level + spread * signs, variance, share * variance)


def attention(maps=THIN, seeds=(0, 1, 2), kind="channel", baseline=None, reinforced=None):
    """`baseline` and `reinforced` make a map from its name and seed."""
    makers = {"baseline": baseline, "reinforced": reinforced}
    found = {
        method: {
            seed: {name: make(name, seed) if make else statistics() for name in maps}
            for seed in seeds
        }
        for method, make in makers.items()
    }
    return Attention("se_resnet50", "recorded", "smoke", kind, 1000, 0.02, found)
