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
# # Did you get what we got?
#
# `make reproduce` trains a pair of networks for each task. Here each of your runs stands beside the
# committed record of the same row, scale and seed.
#
# Numbers rarely agree to the last digit on another machine: the number of threads, the processor
# and torch's version decide in which order sums are rounded, and training makes much of little.
# How much was measured on one machine: *Expected* is the largest difference seen there.

# %%
from book.companion.pages import page
from book.companion.results import reruns

# %% tags=["parameters"]
results = "recorded"  # or rerun: look for the runs of this machine
benchmarks_root = ""  # a folder of benchmarks instead of the committed ones, e.g. build/benchmarks

# %%
view = page.start("reruns", globals())
spread = reruns.read_spread(view.parameters.benchmarks_root)
repeats = reruns.find_repeats(view.parameters.results)
view.say(reruns.sentences(repeats, spread))

# %% [markdown]
# ## Run by run

# %% tags=["hide-input"]
view.show(
    reruns.table(repeats, spread),
    "Your runs beside the committed records of the same row, scale and seed, at the last epoch, in "
    "per cent; threads of the record and of your run.",
    "tab-reruns",
)

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
