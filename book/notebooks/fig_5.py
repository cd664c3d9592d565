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
# # Fig. 5: small objects and large ones
#
# The paper goes on with eight more pairs of heat maps (appendix B.2), among them an object that
# takes up a small part of its image and is still found. Here the validation images are sorted by
# the object's size, images are drawn at random from each part, and each part has its scores. Where
# no object is known, the figure shows further images in the groups of {doc}`fig_4`.

# %%
from book.companion.attended import chosen, overlays, scores, text
from book.companion.claims import render
from book.companion.pages import page

# %% tags=["parameters"]
profile = "smoke"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # the runs' own images; those of other sets than the rendered one show only so
network = "se_resnet50"  # a row of Table 1

# %%
view = page.start("fig_5", globals())
pairs = scores.load_pairs(*view.pair())
grid = chosen.size_grid(pairs, view.parameters.data_root)
compared = chosen.scores_by_size(pairs)
view.say(text.availability(pairs))

# %% [markdown]
# ## Baseline over reinforced

# %% tags=["hide-input"]
view.say(chosen.choice_sentences(grid))

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    overlays.draw_grid,
    grid,
    caption="Heat maps for the true class over the images in grey, baseline above and reinforced "
    "below; the frame is the object's box. The paper's Fig. 5, with images drawn at random.",
    alt="Heat maps in pairs, baseline above and reinforced below. {data.titles}.",
    label="fig-grad-cam-by-size",
    numbers=chosen.of_grid,
)

# %% [markdown]
# ## Scores by size

# %% tags=["hide-input"]
view.show(
    text.group_table(compared, pairs),
    "The same scores by the size of the object. Difference: reinforced minus baseline, with its "
    "95 % interval, over seeds if there are several, else over the images of the one pair.",
    "tab-attended-by-size",
)

# %% [markdown]
# ## What this shows
#
# The rule is that of {doc}`fig_4`: a difference is significant where its 95 % interval over seeds
# leaves out zero. Several groups are looked at, each by itself. Over all images:

# %% tags=["hide-input"]
render.say(view, "more-correct", "more-complete", network=network)

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
