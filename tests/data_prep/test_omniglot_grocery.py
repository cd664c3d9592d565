"""Omniglot and Grocery Store as open-set retrieval: small archives by hand, and the real packs."""

import csv
import hashlib
import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from data_prep import grocery, omniglot
from data_prep.archives import open_zip
from data_prep.errors import PreparationError
from data_prep.packs import archive_record

PACKS = Path(__file__).parents[3] / "shared" / "data"


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def index_csv(columns, rows):
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerows([columns, *rows])
    return table.getvalue()


def rows(root):
    with (root / "index.csv").open() as stream:
        return list(csv.DictReader(stream))


def drawing_files(alphabets, top="images_background_small1", drawers=5):
    """As the official zips name them; the content names the drawing."""
    name = "{}/{}/character{:02d}/{:04d}_{:02d}.png"
    return {
        name.format(top, alphabet, c, 900 + c, d): f"{alphabet} {c} {d}".encode()
        for alphabet, characters in alphabets.items()
        for c in range(1, characters + 1)
        for d in range(1, drawers + 1)
    }


def drawing_pack(alphabets, damaged=(), **marks):
    files, table = {}, []
    for number, (source, content) in enumerate(drawing_files(alphabets).items()):
        _, alphabet, character, name = source.split("/")
        path = f"images/{number:03d}.png"
        files[path] = b"changed" if source in damaged else content
        digest = hashlib.sha256(content).hexdigest()
        drawer = int(name[5:7])
        table.append([path, alphabet, int(character[-2:]), drawer, digest, marks.get(path, "0")])
    columns = ["file", "alphabet", "character", "drawer", "sha256", "duplicate"]
    return {**files, "index.csv": index_csv(columns, table)}


ALPHABETS = {"Beta": 3, "Alpha": 2, "Delta": 4, "Gamma": 1}


def test_official_zips_and_the_pack_give_the_same_rows(tmp_path):
    official = write_zip(tmp_path / "images_background_small1.zip", drawing_files(ALPHABETS))
    pack = write_zip(tmp_path / "omniglot-some.zip", drawing_pack(ALPHABETS))
    first = omniglot.prepare(tmp_path / "first", official, query_drawers=2)
    second = omniglot.prepare(tmp_path / "second", pack, query_drawers=2)
    assert (first / "index.csv").read_bytes() == (second / "index.csv").read_bytes()
    row = next(row for row in rows(first) if row["file"] == "train/Beta/character03/04.png")
    assert row == {
        "file": "train/Beta/character03/04.png",
        "identity": "Beta/character03",
        "camera": "04",
        "split": "train",
    }
    assert (first / row["file"]).read_bytes() == b"Beta 3 4"


def test_alphabets_are_split_by_name_nearest_to_sixty_percent(tmp_path):
    # Of 10 characters: Alpha 2, Beta 5, Delta 9, all 10: five is nearest to six.
    assert omniglot.split_alphabets(ALPHABETS) == ["Delta", "Gamma"]
    assert omniglot.split_alphabets(ALPHABETS, ["Gamma", "Alpha"]) == ["Alpha", "Gamma"]
    for chosen, message in ((["Epsilon"], "'Epsilon'"), (list(ALPHABETS), "of their own")):
        with pytest.raises(PreparationError, match=message):
            omniglot.split_alphabets(ALPHABETS, chosen)
    with pytest.raises(PreparationError, match="of their own"):
        omniglot.split_alphabets({"Alpha": 7})


def test_the_first_drawers_are_queries_and_share_no_camera_with_the_gallery(tmp_path):
    archive = write_zip(tmp_path / "omniglot.zip", drawing_files(ALPHABETS))
    root = omniglot.prepare(tmp_path / "set", archive, test_alphabets=["Delta"], query_drawers=2)
    found = rows(root)
    assert Counter(row["split"] for row in found) == {"train": 30, "query": 8, "gallery": 12}
    assert {row["camera"] for row in found if row["split"] == "query"} == {"01", "02"}
    assert {row["camera"] for row in found if row["split"] == "gallery"} == {"03", "04", "05"}
    trained = {row["identity"] for row in found if row["split"] == "train"}
    tested = {row["identity"] for row in found if row["split"] != "train"}
    assert tested == {f"Delta/character0{c}" for c in range(1, 5)}
    assert not trained & tested
    assert "as named" in json.loads((root / "manifest.json").read_text())["rule"]
    with pytest.raises(PreparationError, match=r"query_drawers must lie between 1 and 4.*got 5"):
        omniglot.prepare(tmp_path / "other", archive, query_drawers=5)


def test_drawings_of_both_small_zips_are_stored_once(tmp_path):
    write_zip(tmp_path / "images_background_small1.zip", drawing_files({"Alpha": 2, "Beta": 1}))
    second = drawing_files({"Beta": 1, "Gamma": 1}, "images_background_small2")
    write_zip(tmp_path / "images_background_small2.zip", second)
    root = omniglot.prepare(tmp_path / "set", tmp_path, query_drawers=1)
    assert len(rows(root)) == 4 * 5
    assert json.loads((root / "manifest.json").read_text())["excluded_duplicates"] == 5
    second[next(iter(second))] = b"another drawing"
    write_zip(tmp_path / "images_background_small2.zip", second)
    with pytest.raises(PreparationError, match="differs from"):
        omniglot.prepare(tmp_path / "other", tmp_path)


def test_a_changed_drawing_and_a_marked_duplicate_of_a_pack(tmp_path):
    changed = "images_background_small1/Beta/character01/0901_02.png"
    pack = write_zip(tmp_path / "a.zip", drawing_pack(ALPHABETS, damaged=[changed]))
    with pytest.raises(PreparationError, match="does not have the checksum"):
        omniglot.prepare(tmp_path / "set", pack)
    assert not (tmp_path / "set").exists()
    marked = write_zip(tmp_path / "b.zip", drawing_pack(ALPHABETS, **{"images/000.png": "1"}))
    root = omniglot.prepare(tmp_path / "marked", marked)
    assert len(rows(root)) == 49


def test_the_official_names_have_torchvisions_checksums(tmp_path):
    archive = write_zip(tmp_path / "images_background.zip", drawing_files(ALPHABETS))
    with pytest.raises(PreparationError, match="68d2efa1b9178cc56df9314c21c6e718"):
        omniglot.prepare(tmp_path / "set", archive)


@pytest.mark.parametrize("module", [omniglot, grocery])
def test_absent_and_foreign_archives_are_named(tmp_path, module):
    with pytest.raises(PreparationError, match=r"get the set from https://github.com/"):
        module.prepare(tmp_path / "set", tmp_path)
    foreign = write_zip(tmp_path / "foreign.zip", {"a.txt": b"a"})
    with pytest.raises(PreparationError, match=r"'foreign.zip' holds no"):
        module.prepare(tmp_path / "set", foreign)
    no_columns = write_zip(tmp_path / "columns.zip", {"index.csv": index_csv(["file"], [["a"]])})
    with pytest.raises(PreparationError, match=r"lacks .* in a row"):
        module.prepare(tmp_path / "set", no_columns)
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  columns.zip\n")
    with pytest.raises(PreparationError, match="is damaged or another version"):
        archive_record(no_columns, "its home")


@pytest.mark.parametrize("module", [omniglot, grocery])
def test_a_file_that_the_index_lists_in_vain_is_named(tmp_path, module):
    files = drawing_pack(ALPHABETS) if module is omniglot else photo_pack()
    missing = next(iter(files))
    del files[missing]
    with pytest.raises(PreparationError, match=f"lists '{missing}', which the pack does not hold"):
        module.prepare(tmp_path / "set", write_zip(tmp_path / "pack.zip", files))


PRODUCTS = {"Apple/Gala": 2, "Apple/Pink": 1, "Juice/A-Juice": 2, "Zucchini": 3}


def photo_files(top="GroceryStoreDataset-master/"):
    files = {f"{top}dataset/classes.csv": b"", f"{top}sample_images/natural/Kiwi.jpg": b"sample"}
    for product, count in PRODUCTS.items():
        name = product.split("/")[-1]
        for part in ("train", "val", "test"):
            for i in range(1, count + 1):
                path = f"dataset/{part}/Food/{product}/{name}_{i:03d}.jpg"
                files[top + path] = f"{name} {part} {i}".encode()
        iconic = f"dataset/iconic-images-and-descriptions/Food/{product}/{name}_Iconic.jpg"
        files[top + iconic] = b"iconic"
    return files


def photo_pack():
    files, table = {}, []
    for source, content in photo_files(top="").items():
        if "iconic" in source or "/Food/" in source:
            part = "iconic" if "iconic" in source else source.split("/")[1]
            path = f"{part}/{source.partition('/Food/')[2]}"
            files[path] = content
            table.append([path, part, source.split("/")[-2]])
    return {**files, "index.csv": index_csv(["file", "split", "class"], table)}


def test_every_second_product_is_held_out_and_parts_do_not_mix(tmp_path):
    archive = write_zip(tmp_path / "GroceryStoreDataset-master.zip", photo_files())
    root = grocery.prepare(tmp_path / "set", archive, allow_other_counts=True)
    found = rows(root)
    # Sorted: A-Juice, Gala, Pink, Zucchini.
    assert {row["identity"] for row in found if row["split"] == "train"} == {"A-Juice", "Pink"}
    assert Counter((row["identity"], row["split"]) for row in found) == {
        ("A-Juice", "train"): 6,
        ("Pink", "train"): 3,
        ("Gala", "query"): 2,
        ("Gala", "gallery"): 4,
        ("Zucchini", "query"): 3,
        ("Zucchini", "gallery"): 6,
    }
    assert {row["camera"] for row in found} == {""}
    for row in found:
        content = (root / row["file"]).read_text().split()
        assert content[0] == row["identity"]
        assert row["split"] == "train" or (content[1] == "test") == (row["split"] == "query")


def test_the_pack_gives_the_same_rows_as_the_repository(tmp_path):
    official = write_zip(tmp_path / "one.zip", photo_files())
    pack = write_zip(tmp_path / "two.zip", photo_pack())
    first = grocery.prepare(tmp_path / "first", official, allow_other_counts=True)
    second = grocery.prepare(tmp_path / "second", pack, allow_other_counts=True)
    assert (first / "SHA256SUMS").read_bytes() == (second / "SHA256SUMS").read_bytes()


def test_counts_are_compared_with_the_repositorys(tmp_path):
    archive = write_zip(tmp_path / "one.zip", photo_files())
    with pytest.raises(PreparationError, match=r"'train' should have 2,640 .* found 8;"):
        grocery.prepare(tmp_path / "set", archive)


def pack(name):
    path = PACKS / name
    if not path.is_file():
        pytest.skip(
            f"'{path}' is not here: it holds photographs or drawings that are not committed"
        )
    return path


def test_the_real_omniglot_pack_lists_its_published_counts():
    with open_zip(pack("omniglot-small.zip")) as members:
        found, repeated = omniglot.unify(omniglot.drawings(members, "pack"))
    assert (len(found), repeated) == (4840, 0)
    characters = {}
    for drawing in found:
        characters.setdefault(drawing.alphabet, set()).add(drawing.character)
    counts = {name: len(members) for name, members in characters.items()}
    assert sum(counts.values()) == 242
    test = omniglot.split_alphabets(counts)
    assert test == ["Latin", "Sanskrit", "Tagalog"]
    splits = Counter(entry.split for entry, _ in omniglot.entries(found, test, 4))
    assert splits == {"train": 3140, "query": 340, "gallery": 1360}


def test_the_real_grocery_pack_lists_its_published_counts():
    with open_zip(pack("grocery128-all.zip")) as members:
        found = grocery.photos(members, "pack")
    grocery.check_counts(found)
    assert len({photo.product for photo in found}) == 81
    rows_ = [image.entry for image in grocery.images(found)]
    assert Counter(row.split for row in rows_) == {"train": 2668, "query": 1245, "gallery": 1508}
    queried = {row.identity for row in rows_ if row.split == "query"}
    assert queried == {row.identity for row in rows_ if row.split == "gallery"}
    assert len(queried) == 40
