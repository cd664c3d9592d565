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
# # Fig. 4: does the network attend to the object?
#
# {cite:t}`li2020dreal` (appendix B.2) draw Grad-CAM heat maps of CBAM-ResNet-50, trained without
# and with their method, and read from chosen images that the attended regions become more correct
# and more complete. We draw the same grid: baseline above, reinforced below, the class of the image
# under each pair. Our images are drawn at random, though, under a rule that stands below; and
# beside the pictures stand scores over the whole validation set, which can say no.
#
# We show SE-ResNet-50 where the paper shows CBAM-ResNet-50, as it is the pair that the book trains
# first; the parameter `network` takes any row of Table 1.

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
view = page.start("fig_4", globals())
pairs = scores.load_pairs(*view.pair())
grid = chosen.outcome_grid(pairs, view.parameters.data_root)
compared = scores.compare_scores(pairs)
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
    "below; the frame is the object's box. The paper's Fig. 4, with images drawn at random.",
    alt="Heat maps in pairs, baseline above and reinforced below. {data.titles}.",
    label="fig-grad-cam",
    numbers=chosen.of_grid,
)

# %% [markdown]
# ## Scores over the whole validation set
#
# A heat map is *correct* if it lies on the object: its maximum (pointing game), its energy, its
# overlap. It is *complete* if it covers the object, which a map gets for nothing by being wide; so
# its area stands beside it. Deletion and insertion ask the network itself: its probability of the
# true class falls fast when the pixels that matter go first, and rises fast when they come first.

# %% tags=["hide-input"]
view.show(
    text.score_table(compared, pairs),
    "Scores of the maps, mean over the images on which both networks' are defined. Difference: "
    "reinforced minus baseline, image by image, with the 95 % interval of Student's t over the "
    "images of a seed, and over seeds in the last line of a score; p: Wilcoxon's signed-rank test "
    "over images. Pointing game: share of maps whose maximum lies in the object's box. Energy: "
    "share of the map's sum in the box. IoU, completeness, area: of the part of the map above a "
    "share of its maximum; with the object's mask (or box), the share of it that is covered, and "
    "the share of the image. n: the images counted; seeds in the last line of a score.",
    "tab-attended",
)

# %% [markdown]
# ## What this shows
#
# "More correct" needs the 95 % intervals over seeds of pointing game, energy and IoU all above
# zero, "more complete" that of completeness. p and the interval of one seed speak of other images
# shown to these two networks; the line of all seeds speaks of other trainings. So one seed can have
# p < 0.001 where nothing is significant over seeds.

# %% tags=["hide-input"]
render.say(view, "more-correct", "more-complete", network=network)
view.say(text.uniform_sentences(pairs))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
