"""Fig. 1: what it says is what the network does, and nothing is drawn that it does not say."""

import itertools

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from book.companion import drawing
from book.companion.pages.catalogue import check_parameters
from book.companion.schematic.figure import LOSS_STYLES, method
from book.companion.schematic.plan import (
    PROBE_SIZE,
    Schematic,
    describe,
    gradient_routes,
    read_critics,
)
from book.companion.schematic.text import drawn_blocks, labels, sentences, stage_table
from dreal_lib import create_model, reinforce
from dreal_lib.errors import UserError

BY = "\N{MULTIPLICATION SIGN}"
NETWORKS = ("se_resnet50", "cbam_resnet50", "srm_resnet50")
# protocol.md, section 4: LSTM cells with both bias vectors, at 224 px.
CHANNEL_PARAMETERS, SPATIAL_PARAMETERS = 30_768, 33_368
ALGORITHM_1 = {"L_c": ("W", "theta"), "L_q": ("theta",), "L_r": ("phi",)}


@pytest.fixture(scope="module", params=NETWORKS)
def plan(request):
    torch.set_num_threads(1)
    return describe(request.param, 224)


@pytest.fixture(scope="module")
def figure(plan):
    return method(plan)


@pytest.fixture(scope="module")
def se_plan():
    torch.set_num_threads(1)
    return describe("se_resnet50", 224)


@pytest.fixture(scope="module")
def se_figure(se_plan):
    return method(se_plan)


def test_shapes_and_names_are_those_of_a_forward_pass():
    """Watched here with hooks of our own, in a training step on real numbers."""
    torch.set_num_threads(1)
    agent = reinforce(create_model("cbam_resnet26", 7, width=16), 64)
    seen, read = [], {name: [] for name in agent.critics}
    for name, module in agent.actor.named_modules():
        if name.endswith(("attention.channel", "attention.spatial")):
            key = tuple(name.split(".attention."))
            module.register_forward_hook(
                lambda module, inputs, _, key=key: seen.append((key, (module, inputs[0])))
            )
    for name, critic in agent.critics.items():
        critic.lstm.register_forward_pre_hook(
            lambda _, inputs, name=name: read[name].append(inputs[0])
        )
    agent.training_step(torch.rand(2, 3, 64, 64), torch.zeros(2, dtype=torch.long), [])
    made, first_read = dict(seen), {name: inputs[0] for name, inputs in read.items()}
    critics = read_critics(agent, 64)
    assert [critic.name for critic in critics] == list(first_read)
    assert {(item.block, item.kind) for c in critics for item in c.maps} == set(made)
    for critic in critics:
        assert len(critic.maps) == first_read[critic.name].shape[0]
        assert critic.input_size == first_read[critic.name].shape[2]
        for item in critic.maps:
            module, features = made[item.block, item.kind]
            descriptor = module.extract(features)
            assert item.name == f"{item.block}.{item.kind}"
            assert item.actor == type(module).__name__
            assert item.state == features.shape[1:]
            assert item.descriptor == descriptor.shape[1:]
            assert item.action == item.reduced == module.attend(descriptor).shape[1:]
            assert critic.input_size == 2 * torch.Size(item.action).numel()


def test_shapes_of_the_paper_s_networks(plan):
    assert plan.stages == ("layer1", "layer2", "layer3", "layer4")
    assert [len(plan.blocks(stage)) for stage in plan.stages] == [3, 4, 6, 3]
    for critic, (channels, side) in zip(
        [c for c in plan.critics if c.kind == "channel"],
        [(256, 56), (512, 28), (1024, 14), (2048, 7)],
        strict=True,
    ):
        assert critic.input_size == 2 * channels
        assert {item.state for item in critic.maps} == {(channels, side, side)}
        assert {item.action for item in critic.maps} == {(channels,)}
    spatial = [critic.input_size for critic in plan.critics if critic.kind == "spatial"]
    expected = [2 * side**2 for side in (56, 28, 14, 7)]
    assert spatial == (expected if plan.network.startswith("cbam") else [])


def test_critics_have_the_protocols_number_of_parameters(plan):
    totals = {"channel": 0, "spatial": 0}
    for critic in plan.critics:
        totals[critic.kind] += critic.parameters
    several = plan.network.startswith("cbam")
    assert totals == {
        "channel": CHANNEL_PARAMETERS,
        "spatial": SPATIAL_PARAMETERS if several else 0,
    }
    (said,) = [line for line in sentences(plan) if "parameters" in line]
    assert f"{sum(totals.values()):,} parameters" in said


def test_losses_teach_what_algorithm_1_says(plan):
    assert plan.routes == ALGORITHM_1


def test_a_step_that_teaches_otherwise_is_described_as_it_is():
    """A critic's loss that leaks into the attention shows in the routes."""
    agent = reinforce(create_model("se_resnet14", 5, width=16), PROBE_SIZE)
    step = agent.training_step

    def leaking(*args):
        made = step(*args)
        return type(made)(**{**vars(made), "regression_loss": made.loss})

    agent.training_step = leaking
    assert gradient_routes(agent)["L_r"] == ("W", "theta", "phi")


def test_describing_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    describe("se_resnet14", 64)
    assert torch.rand(1) == expected


@pytest.mark.parametrize("size", [31, 1025, 224.0, True, "224"])
def test_sizes_that_cannot_be_are_refused(size):
    with pytest.raises(UserError, match="image_size must be a whole number of pixels"):
        describe("se_resnet50", size)
    with pytest.raises(UserError, match="image_size must be a whole number of pixels"):
        check_parameters("fig_1", {"image_size": size})


def test_networks_that_cannot_be_drawn_are_refused():
    with pytest.raises(UserError, match="no gate was found in ResNet"):
        describe("resnet14", 64)
    with pytest.raises(UserError, match="unknown model"):
        describe("se_resnet", 64)
    with pytest.raises(UserError, match="se_resnet14 has one in each; try a deeper network"):
        method(describe("se_resnet14", 64))


def test_every_text_drawn_is_in_the_description(plan, figure):
    (axis,) = figure.axes
    drawn = {text.get_text() for text in axis.texts}
    assert drawn == set(labels(plan).values())


def test_labels_hold_the_shapes_of_the_two_blocks(plan):
    first, second = drawn_blocks(plan)
    assert (first, second) == ("layer3.0", "layer3.1")
    texts = labels(plan)
    for critic in plan.of_stage("layer3"):
        assert texts[f"{critic.name}/cell"].endswith(f"= {critic.input_size}")
        for item in critic.maps[:2]:
            assert texts[f"{item.name}/state"].endswith(BY.join(("1024", "14", "14")))
            assert texts[f"{item.name}/action"].endswith(
                BY.join(("1", "14", "14")) if item.kind == "spatial" else "\n1024"
            )
            assert texts[f"{item.name}/attend"].endswith(item.actor)
    assert texts["layer3.0/title"] == "conv4_0  (layer3.0)"


@pytest.mark.parametrize("loss", ["L_c", "L_q", "L_r"])
def test_a_gradient_is_drawn_where_there_is_one(se_plan, se_figure, loss):
    routes = {**se_plan.routes, loss: ()}
    without = Schematic("se_resnet50", 224, se_plan.critics, routes)
    colour = LOSS_STYLES[loss][0]
    counts = [
        sum(to_hex(line.get_color()) == colour for line in drawn.axes[0].lines)
        for drawn in (se_figure, method(without))
    ]
    assert counts[0] >= 3
    assert counts[1] == 1  # in the key, which says that it teaches nothing
    assert labels(without)[f"key/{loss}"].endswith("teaches nothing")


def test_the_barrier_falls_if_the_critics_teach_the_backbone(se_plan, se_figure):
    routes = {**se_plan.routes, "L_q": ("W", "theta")}
    leaking = Schematic("se_resnet50", 224, se_plan.critics, routes)
    fewer = len(method(leaking).axes[0].lines)
    assert len(se_figure.axes[0].lines) == fewer + 4  # two strokes a block


def test_texts_stay_apart_and_within_their_boxes(figure):
    assert_readable(figure)


def test_the_longest_texts_do_so_too():
    assert_readable(method(describe("cbam_resnet50", 1024)))


def assert_readable(figure):
    renderer = FigureCanvasAgg(figure).get_renderer()
    (axis,) = figure.axes
    extents = [(t.get_text(), t.get_window_extent(renderer)) for t in axis.texts]
    for (one, first), (other, second) in itertools.combinations(extents, 2):
        assert not first.overlaps(second), (one, other)
    boxes = [p.get_window_extent(renderer) for p in axis.patches if isinstance(p, FancyBboxPatch)]
    for text, extent in extents:
        assert figure.bbox.containsx(extent.x0), text
        assert figure.bbox.containsx(extent.x1), text
        for box in boxes:
            inside = box.x0 <= extent.x0 and extent.x1 <= box.x1
            assert inside or not box.overlaps(extent), text


def test_the_same_drawing_gives_the_same_bytes(se_plan, se_figure):
    assert drawing.to_svg(se_figure) == drawing.to_svg(method(se_plan))


def test_the_table_has_a_line_for_each_critic(plan):
    table = stage_table(plan)
    assert len(table.rows) == len(plan.critics)
    assert table.legend() == "○ computed"
    last = [str(cell) for cell in table.rows[-1]]
    assert last[1] == "`layer4.0` to `layer4.2`"
    assert last[2] == BY.join(("2048", "7", "7"))
    assert last[-2:] == (["98", "404"] if "cbam" in plan.network else ["4096", "16,396"])
