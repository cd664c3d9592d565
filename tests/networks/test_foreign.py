"""Networks of other people by name, and their gates as a table."""

import pytest
from torch import nn
from typer.testing import CliRunner

from dreal_lib.actor_critic.gates import find_gates, table
from dreal_lib.cli import app
from dreal_lib.errors import UserError
from dreal_lib.networks.foreign import load_network


def test_networks_by_name():
    pytest.importorskip("timm")
    model = load_network("timm:mobilenetv3_small_050", num_classes=7)
    assert model.num_classes == 7
    assert isinstance(load_network("torchvision:mobilenet_v3_small"), nn.Module)
    assert isinstance(load_network("torchvision.models:mobilenet_v3_small"), nn.Module)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("seresnet50", r"given as timm:NAME.*got 'seresnet50'"),
        ("torchvision:mobilenet_v3_smal", r"did you mean 'mobilenet_v3_small'"),
        ("no.such.package:network", r"no\.such\.package:network cannot be imported"),
        ("torch.nn:Nothing", "cannot be imported"),
        ("builtins:dict", "returned dict"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name, said):
    with pytest.raises(UserError, match=said):
        load_network(name)


def test_an_unknown_name_of_timm_shows_some_like_it():
    pytest.importorskip("timm")
    with pytest.raises(UserError, match=r"'seresnet5'; some like it: .*seresnet50"):
        load_network("timm:seresnet5")


def test_the_command_prints_the_table_of_the_gates():
    arguments = ["gates", "torchvision:mobilenet_v3_small", "--size", "32"]
    done = CliRunner().invoke(app, [*arguments, "--pattern", r"features\.[45]\..*"])
    assert done.exit_code == 0, done.output
    model = load_network("torchvision:mobilenet_v3_small")
    gates = [g for g in find_gates(model) if g.path.startswith(("features.4", "features.5"))]
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [gate.path for gate in gates]
    assert lines[1].split()[1:6] == ["SqueezeExcitation", "96", "x", "2", "x"]
    assert lines[0].split() == table([])[0].split()
