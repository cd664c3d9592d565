"""DukeMTMC-reID (Ristani et al., 2016; Zheng et al., 2017), for those who hold a copy.

Its authors withdrew DukeMTMC in 2019, and with it this set of people who had not been asked. It
is downloaded for nobody, here or elsewhere in this project, and no address is given. A copy held
from before is read where it lies, as a folder or as DukeMTMC-reID.zip; whether it may still be used
is for its holder to settle.

    python -m data_prep.dukemtmc data/dukemtmc DukeMTMC-reID
"""

from data_prep import identity_names
from data_prep.command import run
from data_prep.identity_rows import Expected, FolderSet, command_of

PUBLISHED = {
    "train": Expected(images=16_522, identities=702),
    "query": Expected(images=2_228, identities=702),
    "gallery": Expected(images=17_661, identities=1_110),  # 702, and 408 that serve as distractors
}
DUKEMTMC = FolderSet(
    name="dukemtmc",
    origin="DukeMTMC-reID, withdrawn by its authors; from a copy that the user holds",
    home="DukeMTMC-reID was withdrawn by its authors and is downloaded for nobody: if you hold a "
    "copy, give its zip, or the folder with its three folders; else use another set",
    parse=identity_names.dukemtmc,
    published=PUBLISHED,
)

prepare = DUKEMTMC.prepare
main = command_of(
    prepare,
    """Prepare DukeMTMC-reID, which its authors withdrew, from a copy that you hold.

    Nothing is downloaded for it.

    Example: python -m data_prep.dukemtmc data/dukemtmc DukeMTMC-reID
    """,
)

if __name__ == "__main__":
    run(main)
