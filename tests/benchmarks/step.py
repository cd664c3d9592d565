"""What a reinforced step costs, over a baseline step and over one with plain rewards.

se_resnet50 at 224 px with random weights. "Plain" means four whole forward passes of all images.

- Operations are counted at batch 2 and hold for any batch, as all counted operations are linear in
  it; averaged over 12 draws, in which each block of a stage comes up equally often.
- Times are medians of rounds that alternate. On a CPU they are the processor's, on one thread, as
  waiting threads would be counted too; on a GPU the clock's, bf16, channels_last. Two draws take
  turns whose operations are the average's.
- The weights stay as they are, so a step predicts the same each time: labels make the first so many
  images right.

    python tests/benchmarks/step.py [--batch 8] [--rounds 5] [--out build/benchmarks/step.json]
"""

import argparse
import itertools
import json
import platform
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from measuring import CUDA, operations, peak_bytes, ratios, seconds
from torch import Tensor

from dreal_lib.actor_critic import main_pass
from dreal_lib.actor_critic.agent import Agent
from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.blocks import intercepted
from dreal_lib.actor_critic.counterfactual import observed
from dreal_lib.actor_critic.losses import quality_loss, regression_loss
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.actor_critic.reward import mean_map, predicted_right, relative_gain
from dreal_lib.networks.backbones import create_model
from dreal_lib.runtime.environment import PROJECT_ROOT

OUT = PROJECT_ROOT / "build" / "benchmarks" / "step.json"
DEVICE = "cuda" if CUDA else "cpu"
COUNTS = {"layer1": 3, "layer2": 4, "layer3": 6, "layer4": 3}
# Draws in which as many blocks follow, over all stages, as on average.
AVERAGE = (
    ["layer1.1", "layer2.1", "layer3.3", "layer4.1"],
    ["layer1.1", "layer2.2", "layer3.2", "layer4.1"],
)
# Share of the images predicted right, and the bar for its step over the baseline's.
EXACT = {"all right": (1.0, 1.65), "half right": (0.5, 1.35), "none right": (0.0, 1.05)}
SAMPLED, SAMPLED_BAR, MEMORY_BAR = 0.25, 1.17, 1.25
TIME_MARGIN, CRITICS_BAR = (1.25, 0.03) if CUDA else (1.15, 0.02)


class PlainAgent(Agent):
    """The method without any economy: each counterfactual is a whole pass of the whole batch."""

    def training_step(self, images, labels, blocks=None):
        with patch.object(main_pass, "_rewarded", plain_rewards):
            return super().training_step(images, labels, blocks)


@torch.no_grad()
def plain_rewards(agent, images, labels, output, trace, units) -> main_pass.Rewarded:
    right, rewards = predicted_right(output, labels), {}
    for unit, maps in units.items():
        replace = {item.actor: mean_map(trace.maps[item.actor]) for item in maps}
        with intercepted(replace, replace=replace):
            without = agent.actor(images)
        gain = relative_gain(output, without, labels)
        rewards[unit] = torch.where(right, gain, -agent.settings.gamma)
    return main_pass.Rewarded(rewards, None, right, None)


class Bench:
    """A network, its learners, and a batch of which any share can be made to be right."""

    def __init__(self, batch: int):
        torch.manual_seed(0)
        layout = torch.channels_last if CUDA else torch.contiguous_format
        model = create_model("se_resnet50").to(DEVICE, memory_format=layout)
        self.baseline, self.exact = Baseline(model), reinforce(model)
        self.sampled = reinforce(model, reward_fraction=SAMPLED)
        self.plain = PlainAgent(model, self.exact.maps, self.exact.settings).to(DEVICE)
        self.images = torch.randn(batch, 3, 224, 224, device=DEVICE).to(memory_format=layout)
        with torch.no_grad(), self.precision():
            self.predicted = model(self.images).argmax(1)

    def precision(self):
        return torch.autocast("cuda", torch.bfloat16) if CUDA else nullcontext()

    def labels(self, share: float) -> Tensor:
        wrong = torch.arange(len(self.images), device=DEVICE) >= share * len(self.images)
        return (self.predicted + wrong) % 1000

    def forward(self, learner, share: float, blocks: list[str] | None = None):
        """The loss of a step."""
        given = () if blocks is None else (blocks,)
        with self.precision():
            return learner.training_step(self.images, self.labels(share), *given)

    def step(self, learner, share: float, blocks: list[str] | None = None) -> None:
        """Forward, counterfactuals, critics and backward."""
        learner.zero_grad(set_to_none=True)
        self.forward(learner, share, blocks).loss.backward()


def counted() -> dict[str, float]:
    """Operations of each kind of step over the baseline's, averaged over every block."""
    bench = Bench(2)
    baseline = operations(lambda: bench.step(bench.baseline, 1.0))
    draws = [[f"{s}.{i % n}" for s, n in COUNTS.items()] for i in range(12)]

    def average(learner: Agent, share: float) -> float:
        """The backward pass is the same whatever the draw, and is counted once."""
        whole = operations(lambda: bench.step(learner, share, draws[0]))
        used = draws if share else draws[:1]  # without counterfactuals no draw matters
        forward = [operations(lambda d=d: bench.forward(learner, share, d)) for d in used]
        return (whole - forward[0] + sum(forward) / len(used)) / baseline

    found = {name: average(bench.exact, share) for name, (share, _) in EXACT.items()}
    # A quarter of 32 images is 8; of 2 it cannot be. All counted operations are linear in images.
    found["sampled"] = found["none right"] + SAMPLED * (found["all right"] - found["none right"])
    whole = operations(lambda: bench.step(bench.plain, 1.0, draws[0]))
    return found | {"plain": whole / baseline}


def timed(bench: Bench, rounds: int) -> dict[str, float]:
    """The same ratios in time."""
    draws = itertools.cycle(AVERAGE)

    def step(learner: Agent, share: float) -> Callable[[], None]:
        return lambda: bench.step(learner, share, next(draws))

    works = {name: step(bench.exact, share) for name, (share, _) in EXACT.items()}
    works |= {"sampled": step(bench.sampled, 1.0), "plain": step(bench.plain, 1.0)}
    works["baseline"] = lambda: bench.step(bench.baseline, 1.0)
    return ratios(works, "baseline", rounds)


def critics_share(bench: Bench, rounds: int) -> float:
    """Forward and backward of L_q and L_r, over a baseline step."""
    agent, labels = bench.exact, bench.labels(1.0)
    with bench.precision(), observed(agent.actor, agent.maps) as trace, torch.no_grad():
        agent.actor(bench.images)
    drawn = [item for item in agent.maps if item.block in AVERAGE[0]]
    rewards = {item: torch.rand(len(labels), device=DEVICE) for item in drawn}

    def critics() -> None:
        states = agent.critics.states(trace)
        l_q = quality_loss(agent.critics, trace, states, "sum")
        l_r, _, _ = regression_loss(agent.critics, trace, states, rewards, None, "sum")
        (l_q + l_r).backward()

    works = {"critics": critics, "baseline": lambda: bench.step(bench.baseline, 1.0)}
    return ratios(works, "baseline", rounds)["critics"]


def memory(batch: int) -> float:
    """Peak of an exact step with all images right over the baseline's, gradients included."""
    bench = Bench(batch)
    peaks = []
    for learner, blocks in ((bench.baseline, None), (bench.exact, AVERAGE[0])):
        learner.zero_grad(set_to_none=True)
        peaks.append(peak_bytes(lambda x=learner, b=blocks: bench.step(x, 1.0, b)))
    return peaks[1] / peaks[0]


def rows(flops: dict, times: dict, critics: float, peak: float) -> list[dict]:
    """What is printed and written: each ratio, its bar if it has one, and the one over plain."""
    found = []
    bars = {name: bar for name, (_, bar) in EXACT.items()} | {"sampled": SAMPLED_BAR}
    labels = {"sampled": f"a {SAMPLED:g} of the images sampled, all right", "plain": "plain"}
    for kind, values in (("operations", flops), ("time", times)):
        for name, value in values.items():
            if name == "baseline":
                continue
            # Time is held to the operations counted, with a margin.
            bar = bars.get(name) if kind == "operations" else TIME_MARGIN * flops[name]
            row = {"what": labels.get(name, f"exact, {name}"), "kind": kind, "bar": bar}
            found.append(row | {"over_baseline": value, "over_plain": value / values["plain"]})
    found.append({"what": "critics", "kind": "time", "bar": CRITICS_BAR, "over_baseline": critics})
    found.append(
        {"what": "peak memory", "kind": "memory", "bar": MEMORY_BAR, "over_baseline": peak}
    )
    return found


def measure(batch: int, rounds: int) -> tuple[list[dict], float]:
    """The table, and images per second of the baseline step (on one thread of a CPU)."""
    bench = Bench(batch)
    times = timed(bench, rounds)
    critics = critics_share(bench, rounds)
    wall = min(seconds(lambda: bench.step(bench.baseline, 1.0)) for _ in range(2))
    return rows(counted(), times, critics, memory(batch)), batch / wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128 if CUDA else 8)
    parser.add_argument("--rounds", type=int, default=20 if CUDA else 5)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    if not CUDA:
        torch.set_num_threads(1)
    table, images_per_second = measure(options.batch, options.rounds)
    for row in table:
        bar = f"<= {row['bar']:.3f}" if row["bar"] else ""
        plain = f"{row['over_plain']:.3f}" if "over_plain" in row else ""
        print(f"{row['kind']:11}{row['over_baseline']:7.3f} {bar:>9} {plain:>6}  {row['what']}")
    facts = {
        "network": "se_resnet50",
        "image_size": 224,
        "device": torch.cuda.get_device_name() if CUDA else platform.machine(),
        "precision": "bf16" if CUDA else "fp32",
        "batch": options.batch,
        "rounds": options.rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "baseline_images_per_second": images_per_second,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(facts | {"rows": table}, indent=2) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
