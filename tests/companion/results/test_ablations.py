"""Ablations: recipes that change one thing, larger critics, and what the page may say of them."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from synthetic_records import write_run

from book.companion.claims.judged import observe
from book.companion.claims.sources import Scale, measure_part
from book.companion.claims.statements import statements
from book.companion.results import ablations
from book.companion.results.ablations import compare_changes, known_changes
from book.companion.text.tables import MINUS
from dreal_lib import records
from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.actor_critic.reinforcement import reinforce
from dreal_lib.comparison.rows import Row
from dreal_lib.errors import UserError
from dreal_lib.networks.backbones import create_model
from dreal_lib.recipes import ClassificationRecipe, load_recipe, recipe_names, task_facts
from dreal_lib.settings.dreal import ADDED_LATER, Settings

BOOK_RECORDS = Path(__file__).parents[3] / "book" / "records"
BLOCKS, BATCH, SIZE, CELLS = 3, 4, 5, 3
STAGE_MAPS = ("layer1.0", "layer2.0", "layer3.0", "layer4.0")
DEFAULT = "table_1/se_resnet50_reinforced"
GAMMA_2 = "ablations/se_resnet50_gamma_2_reinforced"


ERRORS = ["gap", "critique_rmse", "correlation", "saturated_share"]
REWARDS = ["reward_mean", "critique_mean", "reward_right_mean"]

SE = "SE-ResNet-14, width 16 (row SE-ResNet-50)"  # what made-up runs have trained


def write_row(root, recipe, seed, error, **changes):
    """A run with the settings that its recipe really has."""
    loaded = load_recipe(recipe, "smoke").model_dump(mode="json")
    facts = {"settings": loaded, "network": loaded["network"], "maps": STAGE_MAPS} | changes
    return write_run(root, recipe, seed=seed, top1=(error, error - 1), **facts)


def write_defaults_and_gamma_2(root, changes=(-1.0, -1.1, -0.9)):
    for seed, change in enumerate(changes):
        write_row(root, DEFAULT, seed, 50.0 + 5 * seed)
        write_row(root, GAMMA_2, seed, 50.0 + 5 * seed + change)


def compared(root):
    return compare_changes(records.find_records(root), "smoke", None)


def texts(row):
    return [str(cell).replace("\N{NO-BREAK SPACE}", " ") for cell in row]


# Recipes and their hash


def test_what_the_issue_asks_for_is_changed_and_nothing_else():
    changes = [(c.network, c.setting, c.value) for c in known_changes()]
    assert changes == [
        ("se_resnet50", "gamma", 0.25),
        ("se_resnet50", "gamma", 0.5),
        ("se_resnet50", "gamma", 2.0),
        ("se_resnet50", "bypass_draw", "epoch"),
        ("se_resnet50", "loss_reduction", "mean"),
        ("se_resnet50", "critic_init", "fan_in"),
        ("se_resnet50", "critic_input_norm", "layer"),
        ("se_resnet50", "critic_hidden", 16),
        ("se_resnet50", "reward_fraction", 0.25),
        ("se_resnet50", "reward_fraction", 0.5),
        ("cbam_resnet50", "bypass_unit", "map"),
    ]


@pytest.mark.parametrize("change", known_changes(), ids=lambda change: change.recipe)
@pytest.mark.parametrize("profile", ["smoke", "desktop", "paper"])
def test_a_recipe_is_the_default_row_but_for_its_setting(change, profile):
    changed, default = (
        load_recipe(name, profile).model_dump(exclude={"name", "dreal"})
        for name in (change.recipe, change.variation.against)
    )
    assert changed == default
    dreal = load_recipe(change.recipe, profile).dreal
    assert dreal == Settings(**{change.setting: change.value})
    assert dreal != Settings()


@pytest.mark.parametrize("change", known_changes(), ids=lambda change: change.recipe)
def test_a_recipe_file_says_what_it_is(change):
    text = (ablations.FOLDER / f"{change.recipe}.yaml").read_text()
    assert f"# Changes:  {change.setting} alone, of {change.variation.against}.\n" in text
    assert f"# Command:  dreal train {change.recipe} " in text
    for head in ("# Paper:    ", "# Cost:     ", "# Expected: "):
        assert head in text


def test_a_recipe_that_changes_two_things_is_refused(tmp_path, monkeypatch):
    row = tmp_path / "ablations" / "se_resnet50_both_reinforced.yaml"
    row.parent.mkdir()
    row.write_text("network: se_resnet50\nmethod: reinforced\nepochs: 3\ndreal:\n  gamma: 2\n")
    monkeypatch.setattr(ablations, "FOLDER", tmp_path)
    monkeypatch.setattr(ablations, "recipe_names", lambda: ["ablations/" + row.stem])
    with pytest.raises(UserError, match=r"one setting below dreal.*got.*epochs"):
        known_changes()


def test_recipes_of_committed_records_still_have_their_hash():
    stored = records.find_records(BOOK_RECORDS)
    assert stored
    for run in stored:
        record = run.record
        named = None if (record.variant or "").startswith("custom") else record.variant
        by_hand = None if named else record.overrides
        recipe = load_recipe(record.recipe, record.profile, named, by_hand)
        assert recipe.hash == record.recipe_hash, run.path
        # A variant may name what was a default before: `overrides` says how values came.
        now, before = (
            one.model_dump(mode="json", exclude={"overrides"})
            for one in (recipe, task_facts(record.task).recipe(**record.settings))
        )
        without = {key: value for key, value in record.settings.items() if key != "overrides"}
        assert now == before == without, run.path


def test_a_setting_added_later_is_written_only_where_it_is_changed():
    later = ("critic_hidden", "reward_fraction", "reward_control", "quality_signal")
    assert (*later, "full_maps", "unequal_maps") == ADDED_LATER
    plain = load_recipe(DEFAULT)
    same = load_recipe(DEFAULT, overrides={"dreal.critic_hidden": 1})
    larger = load_recipe(DEFAULT, overrides={"dreal.critic_hidden": 16})
    assert "critic_hidden" not in plain.model_dump(mode="json")["dreal"]
    assert set(plain.model_dump()["dreal"]) == set(Settings().as_dict()) - set(ADDED_LATER)
    assert larger.model_dump(mode="json")["dreal"]["critic_hidden"] == 16
    assert plain.hash == same.hash != larger.hash
    assert ClassificationRecipe(**larger.model_dump(mode="json")).dreal.critic_hidden == 16
    assert ClassificationRecipe(**plain.model_dump(mode="json")).dreal.critic_hidden == 1


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "16"])
def test_a_size_that_cannot_be_is_refused(value):
    with pytest.raises(UserError, match="critic_hidden must be a whole number above 0; got"):
        Settings(critic_hidden=value)


# Larger critics


@pytest.fixture
def larger():
    torch.manual_seed(3)
    return RecurrentCritic(SIZE, hidden=CELLS).double()


def inputs(scale=1.0):
    generator = torch.Generator().manual_seed(0)
    shape = (BLOCKS, BATCH, SIZE)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) * scale for _ in range(2)]


def by_hand(critic, states, maps):
    """Critiques and sensitivities by loops over blocks, cells and gates, the latter by autograd."""
    w_ih, w_hh, b_ih, b_hh, w_hr = (p.detach() for p in critic.lstm.parameters())
    h = torch.zeros(BATCH, 1, dtype=torch.float64)
    c = torch.zeros(BATCH, CELLS, dtype=torch.float64)
    critiques, sensitivities = [], []
    for block in range(BLOCKS):
        x = torch.cat((states[block], maps[block]), 1)
        pre = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).requires_grad_()
        i, f, g, o = (pre[:, k * CELLS : (k + 1) * CELLS] for k in range(4))
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = (o.sigmoid() * c.tanh()) @ w_hr.T  # (B, 1)
        (gradient,) = torch.autograd.grad(h.sum(), pre)
        critiques.append(h.detach()[:, 0])
        sensitivities.append(gradient.abs().sum(1))
        h, c = h.detach(), c.detach()
    return torch.stack(critiques), torch.stack(sensitivities)


def test_a_larger_critic_against_loops_by_hand(larger):
    states, maps = inputs()
    critiques, sensitivities = by_hand(larger, states, maps)
    got = larger(states, maps)
    assert got.shape == (BLOCKS, BATCH)
    torch.testing.assert_close(got, critiques)
    torch.testing.assert_close(larger.gate_sensitivity(states, maps, got), sensitivities)


def test_a_larger_critic_has_several_cells_and_one_output(larger):
    shapes = [tuple(parameter.shape) for parameter in larger.parameters()]
    assert shapes == [(12, 10), (12, 1), (12,), (12,), (1, 3)]


def test_saturated_gates_of_a_larger_critic_are_seen(larger):
    states = maps = torch.ones(1, BATCH, SIZE, dtype=torch.float64)
    with torch.no_grad():
        larger.lstm.weight_ih_l0.fill_(1000.0)
        assert larger.gate_sensitivity(states, maps, larger(states, maps)).max() < 1e-12
        larger.lstm.weight_ih_l0[:4].mul_(0.0)  # the first cell's input gate is no longer flat
        assert larger.gate_sensitivity(states, maps, larger(states, maps)).min() > 0.01


def test_a_larger_critic_can_leave_the_bound_of_one_cell(larger):
    states = maps = torch.ones(1, BATCH, SIZE, dtype=torch.float64)
    with torch.no_grad():
        larger.lstm.weight_ih_l0.fill_(1000.0)
        larger.lstm.weight_hr_l0.fill_(-1.0)
    expected = torch.full((1, BATCH), -CELLS * torch.tanh(torch.tensor(1.0)).item()).double()
    torch.testing.assert_close(larger(states, maps), expected)  # -2.28, one cell: -0.76


def test_one_cell_stays_what_it_was():
    torch.manual_seed(3)
    first = RecurrentCritic(SIZE)
    torch.manual_seed(3)
    second = RecurrentCritic(SIZE, hidden=1)
    assert list(first.state_dict()) == [
        f"lstm.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_step_with_larger_critics_teaches_each_part_from_its_own_losses():
    torch.manual_seed(0)
    model = create_model("se_resnet14", num_classes=3, width=8, stem="tiny")
    agent = reinforce(model, critic_hidden=4, stages=["layer3", "layer4"])
    images, labels = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    step = agent.training_step(images, labels)
    assert all(critic.lstm.hidden_size == 4 for critic in agent.critics.values())
    assert set(step.critiques) == {"layer3.0", "layer4.0"}
    assert all(torch.isfinite(s).all() for s in step.sensitivities.values())
    phi = list(agent.critics.parameters())
    (step.regression_loss).backward(retain_graph=True)
    assert all(parameter.grad is not None for parameter in phi)
    before = [parameter.grad.clone() for parameter in phi]
    step.quality_loss.backward()
    assert all(torch.equal(p.grad, old) for p, old in zip(phi, before, strict=True))


# Comparison, table and sentences


def test_rows_are_compared_with_their_default_row(tmp_path):
    write_defaults_and_gamma_2(tmp_path)
    comparison = compared(tmp_path)
    assert [pair.reinforced.recipe for pair in comparison.networks] == [
        change.recipe for change in known_changes()
    ]
    assert len(comparison.rows) == 13  # eleven, and the default rows of two networks once each
    assert len(comparison.runs) == 6
    pair = comparison.networks[2]
    assert (pair.baseline.recipe, pair.reinforced.recipe) == (DEFAULT, GAMMA_2)
    # -1, -1.1, -0.9: spread 0.1, half width 4.302653 * 0.1 / sqrt(3).
    difference = pair.difference("top1_error_pct")
    assert difference.mean == pytest.approx(-1.0)
    assert difference.high == pytest.approx(-1 + 0.2484138, abs=1e-5)
    assert comparison.networks[0].difference("top1_error_pct") is None


def test_the_table_by_hand(tmp_path):
    write_defaults_and_gamma_2(tmp_path)
    table = ablations.change_table(compared(tmp_path))
    rows = [texts(row) for row in table.rows]
    assert len(rows) == 13
    assert rows[0] == [
        f"default, {SE} ●", "—", "55.00 ± 5.00", "54.00 ± 5.00", "—", "—", "—", "3", "—",
    ]  # fmt: skip
    assert rows[1] == ["gamma", "0.25 (default 1.0)", "not run", "not run", "—", "—", "—", "0", "0"]
    assert rows[3] == [
        "gamma ●", "2.0 (default 1.0)", "54.00 ± 5.05", "53.00 ± 5.05", "55.00",
        f"{MINUS}1.00 ± 0.10",
        f"{MINUS}1.25 to {MINUS}0.75", "3", "3",
    ]  # fmt: skip
    assert rows[11][0] == "default, CBAM-ResNet-50"
    assert rows[12][:2] == ["bypass_unit", "map (default block)"]
    assert table.legend() == "● recorded (smoke)"


def test_a_pair_that_differs_in_more_is_refused(tmp_path):
    write_row(tmp_path, DEFAULT, 0, 50.0)
    settings = load_recipe(GAMMA_2, overrides={"epochs": 3}).model_dump(mode="json")
    write_row(tmp_path, GAMMA_2, 0, 49.0, settings=settings)
    with pytest.raises(UserError, match=r"differ in dreal\.gamma alone, but differ in epochs; run"):
        compared(tmp_path)


def test_an_unwritten_setting_is_at_its_default(tmp_path):
    """Records from before a setting existed are compared with those after."""
    recipe = "ablations/se_resnet50_critic_hidden_16_reinforced"
    write_row(tmp_path, DEFAULT, 0, 50.0)
    write_row(tmp_path, recipe, 0, 49.0)
    pair = next(p for p in compared(tmp_path).networks if p.reinforced.recipe == recipe)
    assert pair.difference("top1_error_pct").mean == -1.0


def test_the_default_is_averaged_over_the_seeds_of_the_change(tmp_path):
    write_row(tmp_path, DEFAULT, 0, 50.0)
    write_row(tmp_path, DEFAULT, 1, 60.0)
    write_row(tmp_path, GAMMA_2, 1, 59.0)
    default, _, _, changed = (texts(r) for r in ablations.change_table(compared(tmp_path)).rows[:4])
    assert default[2] == "55.00 ± 7.07"
    assert changed[2:6] == ["59.00 ± —", "58.00 ± —", "60.00", f"{MINUS}1.00 ± —"]


def test_a_change_that_changes_nothing_is_called_so(tmp_path):
    drawn = "ablations/se_resnet50_bypass_draw_epoch_reinforced"
    for recipe in (DEFAULT, drawn):
        write_row(tmp_path, recipe, 0, 50.0)
    (said,) = ablations.without_effect(compared(tmp_path))
    assert said.startswith("`bypass_draw = epoch` changes nothing")
    write_row(tmp_path, DEFAULT, 1, 50.0)
    best = {"epoch": 3, "val_loss": 1.4, "top1_error_pct": 49.0, "top5_error_pct": 18.9}
    write_row(tmp_path, drawn, 1, 50.0, best=best)  # top-5 alone differs
    assert ablations.without_effect(compared(tmp_path)) == []


def test_how_likely_a_false_claim_is(tmp_path):
    assert ablations.chance_sentence(compared(tmp_path)) == (
        "Of 11 changes 0 were run here, 0 with an interval."
    )
    write_defaults_and_gamma_2(tmp_path)
    half = "ablations/se_resnet50_gamma_0_5_reinforced"
    for seed, error in enumerate([49.0, 54.1, 59.2]):
        write_row(tmp_path, half, seed, error)
    said = ablations.chance_sentence(compared(tmp_path))
    assert said.startswith("Of 11 changes 2 were run here, 2 with an interval.")
    assert said.endswith("one or more of 2 would still be significant in 10 % of the cases.")


# Critics by depth


def curves_run(root, recipe, seed, rows):
    """A run whose block curves are exactly these: (epoch, map, reward, rmse, correlation)."""
    write_row(root, recipe, seed, 50.0)
    path = records.record_path(root, "smoke", None, recipe, seed)
    table = records.read_record(path)
    frame = pd.DataFrame(
        [
            dict.fromkeys(records.BLOCK_COLUMNS, 0.5)
            | {"epoch": e, "map": m, "reward_mean": r, "critique_rmse": rmse, "correlation": c}
            for e, m, r, rmse, c in rows
        ]
    )
    files = table.files.model_copy(
        update={
            "blocks": records.write_table(
                records.companion_path(path, "blocks"),
                frame.to_dict("records"),
                records.BLOCK_COLUMNS,
            )
        }
    )
    records.write_record(table.model_copy(update={"files": files}), path)


NAN = float("nan")


def test_stage_means_of_the_last_epoch_by_hand(tmp_path):
    curves_run(
        tmp_path,
        DEFAULT,
        0,
        [(1, "layer1.0", 9, 9, 9), (2, "layer1.0", -0.2, 0.4, NAN), (2, "layer1.1", 0, 0.6, 0.3)]
        + [(2, f"layer{k}.0", -0.5, 0.1, NAN) for k in (2, 3, 4)],
    )
    comparison = compared(tmp_path)
    table = ablations.last_epoch_by_stage(comparison.networks[0].baseline)
    assert table.loc[(0, "layer1"), "critique_rmse"] == pytest.approx(0.5)
    assert table.loc[(0, "layer1"), "reward_mean"] == pytest.approx(-0.1)
    assert table.loc[(0, "layer1"), "correlation"] == pytest.approx(0.3)  # of the one defined
    # Critiques are 0.5: they lie 0.7 and 0.5 from their rewards, whatever the errors over images.
    assert table.loc[(0, "layer1"), "gap"] == pytest.approx(0.6)
    errors = [texts(row) for row in ablations.critic_table(comparison, ERRORS).rows]
    assert errors[0] == [
        f"default, {SE} ●", "0.60, 0.50, +0.30, 0.50", *["1.00, 0.10, —, 0.50"] * 3,
    ]  # fmt: skip
    assert errors[1] == ["gamma = 0.25", *["not run"] * 4]
    rewards = [texts(row) for row in ablations.critic_table(comparison, REWARDS).rows]
    assert rewards[0][1] == f"{MINUS}0.10, +0.50, +0.50"


def test_depth_is_claimed_by_the_interval(tmp_path):
    for seed, deep in enumerate((0.10, 0.11, 0.09)):
        curves_run(
            tmp_path,
            DEFAULT,
            seed,
            [(1, f"layer{k}.0", 0, deep if k == 4 else 0.5, 0) for k in (1, 2, 3, 4)],
        )
    scale = Scale(records.find_records(tmp_path), "smoke", None)
    found = measure_part(scale, "stages", {"network": "se_resnet50", "column": "critique_rmse"})
    one = found.difference
    assert (one.mean, one.low, one.high, one.n) == pytest.approx(
        (-0.4, -0.425, -0.375, 3), abs=1e-3
    )
    assert found.note == "0.50 in conv2_x, 0.50 in conv3_x, 0.50 in conv4_x, 0.10 in conv5_x"
    gain = {"network": "se_resnet50", "column": "reward_right_mean"}
    assert measure_part(scale, "stages", gain).difference.verdict == "untried"
    assert measure_part(scale, "stages", gain | {"network": "cbam_resnet50"}) is None


def test_shallow_critics_are_judged_by_the_gap_of_the_curves(tmp_path):
    """Deep ones nearer by the root mean square error and further off by the paper's own measure."""
    for seed, reward in enumerate((0.0, 0.01, -0.01)):
        curves_run(
            tmp_path,
            DEFAULT,
            seed,
            [(1, f"layer{k}.0", reward if k == 4 else 0.4, 0.9 - 0.2 * k, 0) for k in (1, 2, 3, 4)],
        )
    (statement,) = (one for one in statements() if one.id == "shallow-critics")
    found = observe(Scale(records.find_records(tmp_path), "smoke", None), statement)
    ((_, gap),), ((_, rmse),) = found.parts.items(), found.beside.items()
    assert (gap.difference.mean, rmse.difference.mean) == pytest.approx((0.4, -0.6))
    assert found.holds is False


def test_a_row_without_a_run_has_no_depth():
    with pytest.raises(UserError, match=r"table_1/x has no run to average over; run"):
        ablations.last_epoch_by_stage(Row("table_1/x"))


# The page


def test_the_page_without_a_run_says_how_to_make_each(tmp_path, run_page):
    said = run_page("ablations", profile="smoke", records_root=str(tmp_path))
    rows = [name for name in recipe_names() if name.startswith("ablations/")]
    rows += [DEFAULT, "table_1/cbam_resnet50_reinforced"]
    for name in rows:
        assert (
            said.count(f"dreal train {name} --profile smoke --seed 0 --threads 1 --data DATA") == 1
        )
    assert "Records: none at scale smoke" in said


def test_the_page_is_made_from_records_alone(tmp_path, run_page):
    write_defaults_and_gamma_2(tmp_path)
    said = run_page("ablations", profile="smoke", records_root=str(tmp_path)).replace(MINUS, "-")
    assert (
        "gamma 2 -1.00 ± 0.10 points (95 % interval -1.25 to -0.75, n = 3), significantly" in said
    )
    assert "tab-critic-errors" in said
    assert f"dreal train {GAMMA_2} " not in said.split("How this page")[0].split("```bash")[1]
    assert "6 recorded in" in said
