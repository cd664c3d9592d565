# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Scoreboard: what became of each statement
#
# {cite:t}`li2020dreal` make statements that can be tested. Here stands each of them, with what was
# found; folded below the table are the quotes, what decides, and how close is close enough. Five
# verdicts are possible:
#
# - **reproduced:** it holds, by counting or at the paper's own scale;
# - **not reproduced:** it does not hold, by counting or at the paper's own scale;
# - **contradicted by the paper itself:** two places of the paper cannot both be so;
# - **unclear in the paper:** it can be read in two ways, or two places read differently without
#   excluding each other;
# - **not yet tried at a scale that can decide:** it is about training on ImageNet or on a
#   re-identification set, and no such runs are on record, or those on record leave it open.
#
# Small runs of our own are shown where there are any, and decide nothing: a thin network on a part
# of Tiny-ImageNet cannot tell whether ImageNet results are right. Even at the paper's scale all
# that a statement speaks of must have been run, in two seeds or more.
#
# Each criterion says whether it was fixed before or after the first of its runs was on record, and
# by which commit. One fixed after binds runs at the paper's scale alone. The rule for a difference,
# that its 95 % interval has to leave out zero (`dreal_lib/comparison/paired.py`), was committed
# before the first record.

# %%
from book.companion.claims import board, front_page, multiplicity
from book.companion.pages import page
from book.companion.results import table_1
from book.companion.text import runs

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("scoreboard", globals(), table_1.compare_networks)
judged = board.judge(view.stored, view.parameters.profile, view.parameters.variant)
view.say([board.tally_sentence(judged), *multiplicity.sentences(judged)])

# %% [markdown]
# ## At a glance

# %% tags=["hide-input"]
view.show(
    board.overview(judged),
    "Statements of the paper and what became of them. Differences are reinforced less baseline "
    "unless said otherwise, errors in points, mean ± sample standard deviation over n seeds; those "
    "not called significant are not.",
    "tab-scoreboard",
)
view.say(runs.scale_caption(view.comparison))
view.say(board.how_to_decide())

# %% [markdown]
# ## Errors
#
# A difference is *significant* where the two-sided 95 % interval (Student's t, paired by seed)
# leaves out zero. Where the paper prints its size, ours has to agree with it as well, in runs that
# scatter less than it: with three seeds, by a standard deviation below about a fifth of the printed
# size.

# %% tags=["hide-input"]
view.say(board.details(judged, "errors"))

# %% [markdown]
# ## Costs
#
# Parameters and multiply-accumulates are counted on networks built as the paper describes them, at
# 224 px and 1000 classes, without training.

# %% tags=["hide-input"]
view.say(board.details(judged, "costs"))

# %% [markdown]
# ## What the attention does

# %% tags=["hide-input"]
view.say(board.details(judged, "attention"))

# %% [markdown]
# ## Critiques and rewards

# %% tags=["hide-input"]
view.say(board.details(judged, "critics"))

# %% [markdown]
# ## Retrieval

# %% tags=["hide-input"]
view.say(board.details(judged, "retrieval"))

# %% [markdown]
# ## How it is trained

# %% tags=["hide-input"]
view.say(board.details(judged, "training"))

# %% tags=["remove-cell", "nbval-ignore-output"]
front_page.keep(view, judged)

# %% [markdown]
# ## How this page was made
#
# The statements stand in `book/companion/claims/dreal.yaml`, each with the verdict reached
# last; a test fails when the records say something else than the entry.

# %% tags=["hide-input"]
view.footer(board.runs_of_board(judged))
