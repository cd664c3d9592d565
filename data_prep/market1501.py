"""Market-1501 (Zheng et al., 2015): 1,501 people before six cameras, boxes from a detector.

The authors hand it out for research at the address below, as Market-1501-v15.09.15.zip; nothing is
downloaded here. The gallery has junk (identity -1, dropped before ranking) and distractors (0000 in
the names, 0 in the index). The zip is read in place; of a folder, images are hard-linked where that
is possible, so a prepared image should be replaced, never changed in place.

    python -m data_prep.market1501 data/market1501 Market-1501-v15.09.15.zip
"""

from data_prep import identity_names
from data_prep.command import run
from data_prep.identity_rows import Expected, FolderSet, command_of

HOME = "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html"
PUBLISHED = {
    "train": Expected(images=12_936, identities=751),
    "query": Expected(images=3_368, identities=750),
    "gallery": Expected(images=15_913, identities=751, junk=3_819),  # 750 people, distractors as 1
}
MARKET1501 = FolderSet(
    name="market1501",
    origin=f"Market-1501, {HOME}",
    home=f"Market-1501 is handed out at {HOME}: give its zip, or the folder with its three folders",
    parse=identity_names.market1501,
    published=PUBLISHED,
)

prepare = MARKET1501.prepare
main = command_of(
    prepare,
    """Prepare Market-1501 from its zip or folder.

    Example: python -m data_prep.market1501 data/market1501 Market-1501-v15.09.15.zip
    """,
)

if __name__ == "__main__":
    run(main)
