"""`dreal rows`: paper, part, task, cost and pages of every row."""

import pytest
from synthetic_records import write_run

from book.companion.papers.paper import DREAL, RGA, paper_of, part_of
from book.companion.reproduction.listing import row_lines
from dreal_lib.recipes import recipe_names
from dreal_lib.records import find_records

BASELINE = "table_1/se_resnet50_baseline"


def test_every_row_has_a_line_with_what_is_known_of_it(tmp_path):
    write_run(tmp_path, BASELINE, wall_seconds=125)
    heads, *lines = row_lines(find_records(tmp_path))
    assert [line.split()[0] for line in lines] == recipe_names()
    assert heads.split() == ["Row", "Paper", "Part", "Task", "About", "Judged", "by", "Shown", "by"]
    by_row = {line.split()[0]: " ".join(line.split()[1:]) for line in lines}
    pages = "fig_2, fig_3, fig_4, fig_5, table_1, scoreboard"
    assert by_row[BASELINE] == f"DREAL Table 1 classification 2 min 05 s smoke, row {pages}"
    other = by_row["table_3/srm_resnet101_layer4_reinforced"]
    assert other.startswith("DREAL Table 3 classification 2 min 05 s smoke, task table_3")
    assert by_row["table_2/resnet50_attention"].startswith("DREAL Table 2 retrieval — — table_2")


@pytest.mark.parametrize(
    ("name", "paper", "part"),
    [
        ("table_1/se_resnet50_baseline", DREAL, "Table 1"),
        ("rga_table_1/rga_sc", RGA, "Table 1"),
        ("rga_fig_3", RGA, "Fig. 3"),
        ("fig_6", DREAL, "Fig. 6"),
        ("ablations/x", DREAL, "ablations"),
        ("rga_cifar/x", RGA, "cifar"),
    ],
)
def test_a_name_tells_its_paper_and_part(name, paper, part):
    assert (paper_of(name), part_of(name)) == (paper, part)
