"""The audit of the gradient: planted critics, a slow reference, and known limits of its numbers."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from slow_reference import HandNorm, forward, probabilities
from tiny_images import tiny_recipe, write_tiny_set
from torch import nn

from dreal_lib.actor_critic.counterfactual import observed
from dreal_lib.actor_critic.oracle import oracle_gradients
from dreal_lib.diagnosis import critic_audit as audits
from dreal_lib.diagnosis.critic_audit import critic_audit
from dreal_lib.errors import UserError
from dreal_lib.records.audits import read_audit
from dreal_lib.runtime.modes import evaluation_mode
from dreal_lib.training import runs
from dreal_lib.training.run_audit import audit_run
from dreal_lib.training.trainer import Pace


class PlantedCritic(nn.Module):
    """Q = <G, A>: its gradient on a map is G, whatever the map."""

    def __init__(self, gradients: torch.Tensor):
        super().__init__()
        self.gradients = nn.Parameter(gradients)  # (L, B, S)

    def forward(self, states, maps):
        return (self.gradients * maps).sum(2)

    def gate_sensitivity(self, states, maps, critiques):
        return torch.full_like(critiques, 0.25)


def right_mixed(agent, images, labels):
    """Labels that the network, in evaluation mode, predicts right for every second image."""
    with torch.no_grad(), evaluation_mode(agent.actor):
        best = agent.actor(images).argmax(1)
    return (best + torch.arange(len(labels)) % 2) % 4


def true_gradients(agent, images, labels):
    with evaluation_mode(agent.actor):
        with torch.no_grad(), observed(agent.actor, agent.maps) as trace:
            logits = agent.actor(images)
        given = (agent.actor, images, labels, logits, trace, agent.maps, agent.units, 1.0)
        return oracle_gradients(*given).gradients


@pytest.mark.parametrize(
    ("network", "sign"), [("se_resnet26", -1.0), ("cbam_resnet26", 1.0), ("srm_resnet26", -1.0)]
)
def test_a_critic_whose_gradient_is_the_rewards(make_agent, network, sign):
    """Cosine 1 (or -1), and a step along it is a step along the truth (or against it)."""
    agent, _, images, labels = make_agent(network)
    labels = right_mixed(agent, images, labels)
    true = true_gradients(agent, images, labels)
    for key, group in agent.critics.groups.items():
        planted = torch.stack([true[item].flatten(1) for item in group])
        agent.critics[key] = PlantedCritic(sign * 3 * planted)
    audit = critic_audit(agent, images, labels, step=1e-6)
    right = audit.right
    assert right.tolist() == [True, False] * 3
    np.testing.assert_allclose(audit.cosine_reward[right], sign)
    assert np.isnan(audit.cosine_reward[~right]).all()
    np.testing.assert_allclose(audit.cosine_reward_mean, sign)
    critic, random, best = audit.reward_change
    assert np.isnan(audit.reward_change[:, ~right]).all()
    assert (best[right] > 0).all()
    np.testing.assert_allclose(
        critic[right], sign * best[right], rtol=0.15
    )  # gates near 0 are stepped below
    assert (np.abs(random[right]) < best[right]).all()
    assert (audit.gate_sensitivity == 0.25).all()


def test_a_critic_at_right_angles_has_cosine_0(make_agent):
    agent, _, images, labels = make_agent("srm_resnet26")
    labels = right_mixed(agent, images, labels)
    true = true_gradients(agent, images, labels)
    for key, group in agent.critics.groups.items():
        along = torch.stack([true[item] for item in group])
        drawn = torch.randn(along.shape, generator=torch.Generator().manual_seed(3)).double()
        energy = along.square().sum(2, keepdim=True).clamp(min=1e-300)
        across = drawn - along * (drawn * along).sum(2, keepdim=True) / energy
        agent.critics[key] = PlantedCritic(across)
    audit = critic_audit(agent, images, labels, step=1e-6)
    assert np.abs(audit.cosine_reward[audit.right]).max() < 1e-12
    critic, _, best = audit.reward_change
    assert np.abs(critic[audit.right]).max() < 0.1 * best[audit.right].min()


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        ("se_resnet26", {}),
        ("srm_resnet26", {"later_maps": "held"}),
        ("cbam_resnet26", {"bypass_unit": "map"}),
        ("cbam_resnet26", {"later_maps": "held"}),
    ],
    ids=lambda given: given if isinstance(given, str) else "-".join(given.values()) or "default",
)
def test_rewards_gradients_and_steps_are_those_of_the_slow_reference(make_agent, network, settings):
    agent, architecture, images, labels = make_agent(network, **settings)
    labels = right_mixed(agent, images, labels)
    audit = critic_audit(agent, images, labels, step=0.05)
    weights = {name: value.clone() for name, value in agent.actor.state_dict().items()}
    c = torch.arange(len(labels)), labels
    held = settings.get("later_maps") == "held"

    def whole(replaced):
        return forward(weights, architecture, images, HandNorm(weights, "running"), replaced)

    main = whole({})
    kept = main.maps if held else {}

    def signals(members, moved):
        full = whole({**kept, **moved})
        own = [full.maps[m].flatten(1) for m in members]
        means = {
            m: full.maps[m] * 0 + a.mean(1).reshape(-1, *[1] * (full.maps[m].dim() - 1))
            for m, a in zip(members, own, strict=True)
        }
        p, p_b = (probabilities(x.logits)[c] for x in (full, whole({**kept, **means})))
        return 1 - p_b / p, p.log()

    names, right = audit.maps.tolist(), torch.from_numpy(audit.right)
    for unit in list(agent.units)[1::3]:
        members = [item.name for item in agent.units[unit]]
        for name in members:
            m, base = names.index(name), main.maps[name]
            reward, log_p = signals(members, {})
            np.testing.assert_allclose(audit.rewards[right, m], reward[right])
            leaf = base.clone().requires_grad_()
            (true,) = torch.autograd.grad(signals(members, {name: leaf})[0].sum(), leaf)
            size = 0.05 * base.flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1)
            moved = base + size.reshape(-1, *[1] * (base.dim() - 1)) * true
            after = signals(members, {name: moved})
            for found, new, old in (
                (audit.reward_change, after[0], reward), (audit.log_p_change, after[1], log_p)
            ):  # fmt: skip
                np.testing.assert_allclose(
                    found[2, right, m], (new - old)[right], rtol=1e-6, atol=1e-10
                )
            (of_p,) = torch.autograd.grad(signals(members, {name: leaf})[1].sum(), leaf)
            expected = torch.cosine_similarity(of_p.flatten(1), true.flatten(1))
            np.testing.assert_allclose(audit.cosine_log_p[right, m], expected[right])


def test_dq_by_da_is_that_of_the_sum_of_all_critiques(make_agent):
    """By central differences of the critics alone, later blocks of the stage included."""
    agent, _, images, labels = make_agent("se_resnet26")
    labels = right_mixed(agent, images, labels)
    with evaluation_mode(agent.actor):
        with torch.no_grad(), observed(agent.actor, agent.maps) as trace:
            agent.actor(images)
        _, pushes = audits._pushes(agent, trace)
    item, step = agent.maps[2], 1e-6
    way = torch.randn(pushes[item].shape, generator=torch.Generator().manual_seed(0)).double()

    def total(sign):
        maps = dict(trace.maps)
        maps[item.actor] = maps[item.actor] + sign * step * way
        return sum(q.detach() for q in agent.critics.critiques(trace, maps).values())

    expected = (total(1) - total(-1)) / (2 * step)
    torch.testing.assert_close((pushes[item] * way).sum(1), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("network", "reduction"),
    [("se_resnet26", "sum"), ("cbam_resnet26", "mean"), ("srm_resnet26", "sum")],
)
def test_gradients_on_theta_are_those_of_the_losses(make_agent, network, reduction, monkeypatch):
    """By one backward pass each; and batches of the audit leave no trace in the numbers."""
    agent, _, images, labels = make_agent(network, loss_reduction=reduction, quality_weight=0.7)
    monkeypatch.setattr(audits, "BATCH", 4)
    audit = critic_audit(agent, images, labels)
    plain = copy.deepcopy(agent).eval()
    plain.critics.train()
    nn.functional.cross_entropy(plain.actor(images), labels).backward()
    by_label = [p.grad.clone() for p in plain.maps[1].actor.parameters()]
    plain.zero_grad()
    step = plain.training_step(images, labels)
    (0.7 * step.quality_loss).backward()
    by_critic = [p.grad.clone() for p in plain.maps[1].actor.parameters()]
    c, q = (torch.cat([g.flatten() for g in gradients]) for gradients in (by_label, by_critic))
    np.testing.assert_allclose(audit.classification_norm[1], c.norm())
    np.testing.assert_allclose(audit.quality_norm[1], q.norm())
    np.testing.assert_allclose(audit.gradient_cosine[1], c @ q / c.norm() / q.norm())
    np.testing.assert_allclose(
        audit.total_quality_norm, np.sqrt((audit.quality_norm**2).sum()), rtol=1e-6
    )


def test_nothing_of_the_agent_is_changed_and_arrays_have_their_shapes(make_agent):
    agent, _, images, labels = make_agent("cbam_resnet26")
    before = copy.deepcopy(agent.state_dict())
    modes = [module.training for module in agent.modules()]
    first, again = (critic_audit(agent, images, labels) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())
    assert modes == [module.training for module in agent.modules()]
    assert all(parameter.grad is None for parameter in agent.parameters())
    count, maps = len(labels), len(agent.maps)
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, again.arrays()[name])
        assert not array.dtype.hasobject
        assert array.shape in {(), (maps,), (count,), (count, maps), (3, count, maps)}, name
    assert list(first.maps) == [item.name for item in agent.maps]


@pytest.mark.parametrize("settings", [{"bypass_mean": "batch"}, {"critic_init": "fan_in"}])
def test_other_settings_go_with_it(make_agent, settings):
    agent, _, images, labels = make_agent("se_resnet26", **settings)
    labels = right_mixed(agent, images, labels)
    audit = critic_audit(agent, images, labels)
    assert np.isfinite(audit.reward_change[:, audit.right]).all()
    assert np.isfinite(audit.cosine_reward[audit.right]).all()


def test_what_cannot_be_audited_is_refused(make_agent):
    agent, _, images, labels = make_agent("se_resnet26")
    with pytest.raises(UserError, match="step must be above 0"):
        critic_audit(agent, images, labels, step=0.0)
    with pytest.raises(UserError, match="no image to audit"):
        critic_audit(agent, images[:0], labels[:0])


# --- the numbers alone ---------------------------------------------------------------------------


def test_shares_of_energy_at_their_limits():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(7, generator=generator, dtype=torch.float64)
    same, signs = one.repeat(6, 1), torch.tensor([1.0, -1, 1, -1, 1, -1])
    many = torch.randn(4000, 7, generator=generator, dtype=torch.float64)
    assert float(audits.steady_share(same)) == pytest.approx(1)
    assert float(audits.steady_share(same * signs[:, None])) == pytest.approx(0)
    assert float(audits.direction_share(same * signs[:, None])) == pytest.approx(1)
    assert float(audits.steady_share(many)) < 0.01
    assert float(audits.direction_share(many)) == pytest.approx(1 / 7, rel=0.1)


def test_variance_of_right_and_wrong_and_correlation():
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(500, generator=generator) < 0.4
    noise = torch.randn(500, generator=generator, dtype=torch.float64)
    assert float(audits.right_variance_share(right.double(), right)) == pytest.approx(1)
    rewards = torch.where(right, 0.1 * noise, -1.0)
    groups = [rewards[right], rewards[~right]]
    within = sum(len(g) * float(g.var(correction=0)) for g in groups) / 500
    expected = 1 - within / float(rewards.var(correction=0))
    assert float(audits.right_variance_share(rewards, right)) == pytest.approx(expected)
    assert float(audits.correlation(noise, rewards)) == pytest.approx(
        np.corrcoef(noise, rewards)[0, 1]
    )
    everything = torch.ones(500, dtype=torch.bool)
    assert float(audits.right_variance_share(noise, everything)) == pytest.approx(0, abs=1e-6)


def test_a_mean_and_its_interval_leave_images_without_a_value_out():
    values = torch.randn(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[::3, 0] = torch.nan
    mean, low, high = audits.mean_interval(values)
    known = values[:, 0][~values[:, 0].isnan()].numpy()
    margin = 1.959964 * known.std(ddof=1) / np.sqrt(len(known))
    assert float(mean[0]) == pytest.approx(known.mean())
    assert (float(low[0]), float(high[0])) == pytest.approx(
        (known.mean() - margin, known.mean() + margin)
    )


# --- of a run ------------------------------------------------------------------------------------


def test_a_runs_checkpoints_are_audited_beside_its_record(tmp_path):
    data, recipe = write_tiny_set(tmp_path / "tiny"), tiny_recipe(depths={50: 26})
    record = runs.run(
        recipe, data, tmp_path / "run", tmp_path / "records", device=torch.device("cpu"),
        cache=tmp_path / "cache", workers=0, pace=Pace(keep_epochs=(1,)),
    )  # fmt: skip
    run = tmp_path / "run"
    given = {"images": 8, "cache": tmp_path / "cache"}
    path = audit_run(recipe, 0, data, run, record, **given)
    assert path == record.with_name("seed0.audit.npz")
    with np.load(path, allow_pickle=False) as arrays:
        assert {name.split("/")[0] for name in arrays.files} == {"0", "1", "2", "run"}
        assert arrays["2/critiques"].shape == arrays["0/rewards"].shape == (8, 8)
        for one, other in (("0", "1"), ("1", "2")):
            assert not np.array_equal(arrays[f"{one}/critiques"], arrays[f"{other}/critiques"])
    assert read_audit(record)["2"]["critiques"].shape == (8, 8)
    record.with_name("seed1.audit.npz").write_bytes(path.read_bytes())
    other = json.loads(record.read_text()) | {"checkpoint_sha256": "0" * 64}
    record.with_name("seed1.json").write_text(json.dumps(other))
    with pytest.raises(UserError, match="is not of this run"):
        read_audit(record.with_name("seed1.json"))
    with pytest.raises(UserError, match="has the seed 0 instead of 1"):
        audit_run(recipe, 1, data, run, record, **given)
    with pytest.raises(UserError, match="no critics to audit"):
        audit_run(tiny_recipe("se_resnet50_baseline"), 0, data, run, record, **given)
    shutil.copyfile(run / "epoch1.safetensors", run / "checkpoint.safetensors")
    with pytest.raises(UserError, match="has the epoch 1 instead of 2"):
        audit_run(recipe, 0, data, run, record, **given)
