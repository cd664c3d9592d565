"""The embedding network: its parts, what is compared at test, ImageNet weights, and its rewards."""

import copy
import urllib.error

import pytest
import torch
import torch.nn.functional as F
from conftest import randomise
from slow_reference import Architecture, slow_rewards
from torchvision.models import resnet50

from dreal_lib.actor_critic.baseline import Baseline
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.errors import UserError
from dreal_lib.networks.embedding import IMAGENET_WEIGHTS, create_embedding, embed_all
from dreal_lib.settings.retrieval import RetrievalSettings
from dreal_lib.tasks.losses import IdentityLoss

SIZE = (32, 16)  # stem "cifar": layer4 sees 8 x 4, as its stride is 1
LABELS = torch.arange(4).repeat_interleave(2)
CBAM_26 = Architecture("cbam", 26, 1, False, last_stride=1, neck=True)


def make(name="cbam_resnet14", identities=4, seed=0, **settings):
    """A network in float64 and training mode, with no gate constant."""
    torch.manual_seed(seed)
    chosen = RetrievalSettings(**settings)
    model = create_embedding(name, identities, width=4, stem="cifar", settings=chosen)
    randomise(model, torch.Generator().manual_seed(seed))
    if chosen.neck_bias == "frozen":
        torch.nn.init.zeros_(model.neck.bias)
    return model.double()


def images(count=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *SIZE, generator=generator, dtype=torch.float64)


def output_of(model, name, x):
    kept = {}
    hook = model.get_submodule(name).register_forward_hook(
        lambda module, inputs, output: kept.update(output=output)
    )
    model(x)
    hook.remove()
    return kept["output"]


# --- the network --------------------------------------------------------------------------------


def test_the_last_stage_keeps_its_resolution():
    model = make().eval()
    sizes = {n: tuple(output_of(model, n, images(1)).shape[2:]) for n in ("layer3", "layer4")}
    assert sizes == {"layer3": (8, 4), "layer4": (8, 4)}
    imagenet = create_embedding("resnet14", 3, width=4).eval()
    assert output_of(imagenet, "layer4", torch.zeros(1, 3, 384, 128)).shape[2:] == (24, 8)


def test_the_forward_pass_is_the_formula():
    model = make().eval()
    with torch.no_grad():
        found = model(images())
        pooled = output_of(model, "layer4", images()).mean((2, 3))
    neck = model.neck
    normal = (pooled - neck.running_mean) / torch.sqrt(neck.running_var + neck.eps) * neck.weight
    torch.testing.assert_close(found.before_neck, pooled)
    torch.testing.assert_close(found.after_neck, normal)
    torch.testing.assert_close(found.logits, normal @ model.fc.weight.T)


@pytest.mark.parametrize("name", ["resnet26", "se_resnet26", "cbam_resnet26", "srm_resnet26"])
def test_resumed_from_every_block_it_is_the_same(name):
    model = make(name).eval()
    x = images(3)
    with torch.no_grad():
        whole = model(x)
        for stage in range(1, 5):
            for block in (f"layer{stage}.0", f"layer{stage}.1"):
                kept = {}
                module = model.get_submodule(block)
                hook = module.register_forward_pre_hook(
                    lambda m, inputs, kept=kept: kept.update(x=inputs[0])
                )
                model(x)
                hook.remove()
                shortcut = model.shortcut_module(block)(kept["x"])
                output = model.resume(block, module.features(kept["x"]), shortcut)
                resumed = model.onward(output, block)
                for part in whole._fields:
                    torch.testing.assert_close(getattr(resumed, part), getattr(whole, part))


def test_the_state_dict_has_torchvisions_names_and_shapes():
    own = create_embedding("resnet50", 751).state_dict()
    theirs = resnet50(num_classes=751).state_dict()
    extra = {n for n in own.keys() ^ theirs.keys() if not n.startswith("neck.")}
    assert extra == {"fc.bias"}  # a classifier without bias
    assert all(own[n].shape == theirs[n].shape for n in theirs if n != "fc.bias")
    assert {n for n in own if n.startswith("neck.")} == {
        f"neck.{part}"
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }


def test_a_frozen_neck_bias_stays_0_and_a_learned_one_moves():
    for choice, moves in (("frozen", False), ("learned", True)):
        model = create_embedding(
            "resnet14", 4, width=4, stem="cifar", settings=RetrievalSettings(neck_bias=choice)
        )
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            F.cross_entropy(model(images().float()).logits, LABELS).backward()
            optimizer.step()
        assert (model.neck.bias.grad is not None) == moves
        assert bool(model.neck.bias.any()) == moves
        assert model.neck.weight.grad.any()


def test_the_classifier_has_a_bias_if_it_is_asked_for():
    assert make().fc.bias is None
    assert make(classifier_bias="on").fc.bias.shape == (4,)


def test_at_first_every_identity_is_about_as_probable():
    model = create_embedding("resnet14", 10, width=16, stem="cifar")
    p = model(images().float()).logits.softmax(1)
    assert (p - 0.1).abs().max() < 0.01


# --- what is compared at test -------------------------------------------------------------------


@pytest.mark.parametrize("feature", ["after_neck", "before_neck"])
def test_the_embedding_is_the_mean_over_the_image_and_its_mirror(feature):
    x = images()
    with torch.no_grad():
        model = make(inference_feature=feature).eval()
        mirrored = torch.stack([image[:, :, torch.arange(15, -1, -1)] for image in x])
        one, two = (getattr(model(seen), feature) for seen in (x, mirrored))
        torch.testing.assert_close(model.embed(x), (one + two) / 2)
        torch.testing.assert_close(model.embed(mirrored), model.embed(x))
        assert not torch.allclose(one, two)
        alone = make(inference_feature=feature, mirrored="off").eval()
        torch.testing.assert_close(alone.embed(x), one)


def test_a_split_is_embedded_in_evaluation_mode_and_left_as_it_was():
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = images()
    cut = [(x[:3], torch.arange(3)), (x[3:], torch.arange(3, 8))]
    found = embed_all(model, cut)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        expected = model.eval().embed(x).float()
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)  # whatever the batches


# --- ImageNet weights ---------------------------------------------------------------------------


@pytest.fixture
def weights(monkeypatch):
    """ImageNet weights that nobody trained, in place of a download."""
    generator = torch.Generator().manual_seed(3)
    state = {
        name: torch.rand(value.shape, generator=generator).to(value.dtype)
        for name, value in resnet50(num_classes=1000).state_dict().items()
    }
    asked = []

    def give(self, **how):
        asked.append((self, how))
        return dict(state)

    monkeypatch.setattr(type(IMAGENET_WEIGHTS[50]), "get_state_dict", give)
    return state, asked


@pytest.mark.parametrize("name", ["resnet50", "cbam_resnet50"])
def test_imagenet_weights_load_by_name(weights, name):
    state, asked = weights
    model = create_embedding(name, 5, pretrained=True)
    own = model.state_dict()
    for n, value in state.items():
        if not n.startswith("fc."):
            assert torch.equal(own[n], value), n
    assert own["fc.weight"].shape == (5, 2048)
    assert torch.equal(own["neck.weight"], torch.ones(2048))
    assert [weight for weight, _ in asked] == [IMAGENET_WEIGHTS[50]]
    assert asked[0][1]["check_hash"]  # a download that was cut off is not trained from


@pytest.mark.parametrize("changes", [{"width": 32}, {"stem": "tiny"}, {"name": "resnet14"}])
def test_there_are_imagenet_weights_for_torchvisions_networks_alone(changes):
    arguments = {"name": "resnet50", "width": 64, "stem": "imagenet", **changes}
    name = arguments.pop("name")
    with pytest.raises(UserError, match=r"no ImageNet weights.*pretrained=false") as caught:
        create_embedding(name, 5, pretrained=True, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("Name or service not known"),
        RuntimeError('invalid hash value (expected "0676ba61", got "ffff")'),
        RuntimeError("PytorchStreamReader failed\nreading zip archive"),
        EOFError("Ran out of input"),
    ],
    ids=["offline", "cut off", "damaged", "empty"],
)
def test_weights_that_cannot_be_had_are_one_line(monkeypatch, failure):
    def fail(self, **how):
        raise failure

    monkeypatch.setattr(type(IMAGENET_WEIGHTS[50]), "get_state_dict", fail)
    with pytest.raises(UserError, match=r"hub folder.*--set pretrained=false") as caught:
        create_embedding("resnet50", 5, pretrained=True)
    assert "\n" not in str(caught.value)
    assert str(failure).splitlines()[0] in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "keywords", "message"),
    [
        (("resnet51", 5), {}, "unknown model 'resnet51'; did you mean 'resnet50'"),
        (("resnet50", 5), {"stem": "tinny"}, "unknown stem 'tinny'; did you mean 'tiny'"),
        (("resnet50", 0), {}, "at least 1; got 0 and 64"),
        (("resnet50", 5), {"width": 0}, "at least 1; got 5 and 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(arguments, keywords, message):
    with pytest.raises(UserError, match=message):
        create_embedding(*arguments, **keywords)


# --- reinforced ---------------------------------------------------------------------------------


def reinforced(name="cbam_resnet26", **settings):
    model = make(name)
    torch.manual_seed(2)
    agent = reinforce(model, SIZE, classification_loss=IdentityLoss(model.settings), **settings)
    with torch.no_grad():
        for critic in agent.critics.values():
            critic.lstm.weight_ih_l0.mul_(0.1)
    return agent


def labels_half_right(model, x):
    """Each identity with two images; of half the images it is the most probable one."""
    with torch.no_grad():
        predicted = copy.deepcopy(model)(x).logits.argmax(1)
    return (predicted + torch.arange(len(x)) % 2) % 4


@pytest.mark.parametrize(
    "settings",
    [{}, {"bypass_unit": "map", "bypass_mean": "batch"}, {"later_maps": "held", "gamma": 0.5},
     {"reward_statistics": "running"}],
    ids=lambda settings: "-".join(map(str, settings.values())) or "default",
)  # fmt: skip
def test_rewards_are_the_slow_references_on_the_logits(settings):
    agent, x = reinforced(**settings), images()
    labels = labels_half_right(agent.actor, x)
    weights = {name: value.clone() for name, value in agent.actor.state_dict().items()}
    blocks = CBAM_26.blocks
    step = agent.training_step(x, labels, blocks=blocks)
    if settings.get("reward_statistics") == "running":  # as the main pass has left them
        weights = agent.actor.state_dict()
    expected = slow_rewards(weights, CBAM_26, x, labels, blocks, settings)
    assert step.rewards.keys() == expected.keys()
    torch.testing.assert_close(step.rewards, expected, rtol=0, atol=1e-10)
    known = torch.stack(list(expected.values()))
    assert (known == -settings.get("gamma", 1.0)).any()
    assert (known.abs() > 1e-4).any()


def test_there_are_two_critics_a_stage_of_the_images_own_size():
    agent = reinforced()
    assert set(agent.critics) == {
        f"layer{stage}_{kind}" for stage in (1, 2, 3, 4) for kind in ("channel", "spatial")
    }
    inputs = {key: critic.lstm.weight_ih_l0.shape[1] for key, critic in agent.critics.items()}
    cells = {1: 32 * 16, 2: 16 * 8, 3: 8 * 4, 4: 8 * 4}
    channels = {1: 16, 2: 32, 3: 64, 4: 128}
    for stage in (1, 2, 3, 4):
        assert inputs[f"layer{stage}_spatial"] == 2 * cells[stage]
        assert inputs[f"layer{stage}_channel"] == 2 * channels[stage]


def test_images_of_another_size_are_refused():
    agent = reinforced("cbam_resnet14")
    with pytest.raises(UserError, match="another image_size") as caught:
        agent.training_step(images().transpose(2, 3), LABELS)
    assert "\n" not in str(caught.value)


def reached(loss, agent):
    """Names of the groups whose parameters get a gradient other than 0 from a loss."""
    named = [(n, p) for n, p in agent.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(
        loss, [p for _, p in named], allow_unused=True, retain_graph=True
    )
    groups = {"critics": "critics.", "neck": "actor.neck.", "classifier": "actor.fc."}
    found = set()
    for (name, _), gradient in zip(named, gradients, strict=True):
        if gradient is not None and gradient.any():
            actor = "attention" if ".attention." in name else "backbone"
            found.add(next((g for g, start in groups.items() if name.startswith(start)), actor))
    return found


def test_each_part_learns_from_its_own_losses():
    agent, x = reinforced(), images()
    step = agent.training_step(x, LABELS, blocks=CBAM_26.blocks)
    assert reached(step.parts["triplet_loss"], agent) == {"backbone", "attention"}
    assert reached(step.parts["identity_loss"], agent) == {
        "backbone",
        "attention",
        "neck",
        "classifier",
    }
    assert reached(step.quality_loss, agent) == {"attention"}
    assert reached(step.regression_loss, agent) == {"critics"}


def test_the_four_losses_are_added():
    agent = reinforced(quality_weight=0.3, regression_weight=2.0)
    step = agent.training_step(images(), LABELS)
    parts = step.parts
    torch.testing.assert_close(
        step.classification_loss, parts["identity_loss"] + parts["triplet_loss"]
    )
    torch.testing.assert_close(
        step.loss, step.classification_loss + 0.3 * step.quality_loss + 2.0 * step.regression_loss
    )


def test_backbone_neck_and_classifier_move_as_in_the_baseline():
    """With the critics beside it, all but the attention gets the gradient of L_c alone."""
    agent = reinforced()
    baseline = Baseline(copy.deepcopy(agent.actor), agent.classification_loss)
    one, two = (learner.training_step(images(), LABELS) for learner in (agent, baseline))
    torch.testing.assert_close(one.classification_loss, two.classification_loss)
    torch.testing.assert_close(one.logits, two.logits)
    assert two.loss is two.classification_loss
    assert not two.quality_loss.any()
    torch.testing.assert_close(two.parts, one.parts)
    one.loss.backward()
    two.loss.backward()
    differs = set()
    for (name, a), b in zip(
        agent.actor.named_parameters(), baseline.actor.parameters(), strict=True
    ):
        if ".attention." in name:
            differs |= {name} if not torch.allclose(a.grad, b.grad) else set()
        elif a.requires_grad:
            torch.testing.assert_close(a.grad, b.grad)
    assert differs
    for (name, a), b in zip(agent.actor.named_buffers(), baseline.actor.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=name)  # running statistics moved once
