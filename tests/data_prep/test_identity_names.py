"""Names as the sets have them, each with who and which camera by hand; and what must not parse."""

import pytest

from data_prep import identity_names

PARSED = {
    identity_names.market1501: {
        "0002_c1s1_000451_03.jpg": ("0002", "1"),
        "0001_c1s1_001051_00.jpg": ("0001", "1"),
        "0001_c2s1_000301_00.jpg": ("0001", "2"),
        "0001_c3s1_000551_00.jpg": ("0001", "3"),
        "0001_c4s6_000810_00.jpg": ("0001", "4"),
        "0001_c5s1_001426_00.jpg": ("0001", "5"),
        "0001_c6s1_009601_00.jpg": ("0001", "6"),
        "0003_c1s6_015971_00.jpg": ("0003", "1"),
        "1501_c6s4_001877_01.jpg": ("1501", "6"),
        "-1_c1s1_000401_03.jpg": ("-1", "1"),
        "-1_c6s2_112568_10.jpg": ("-1", "6"),
        "0000_c1s1_000151_01.jpg": ("0", "1"),
        "0000_c5s3_061212_07.jpg": ("0", "5"),
        "0002_C1S1_000451_03.JPG": ("0002", "1"),
    },
    identity_names.dukemtmc: {
        "0001_c2_f0046182.jpg": ("0001", "2"),
        "0005_c1_f0046985.jpg": ("0005", "1"),
        "0005_c3_f0051781.jpg": ("0005", "3"),
        "0007_c4_f0052001.jpg": ("0007", "4"),
        "0033_c5_f0057881.jpg": ("0033", "5"),
        "4748_c6_f0088251.jpg": ("4748", "6"),
        "4777_c7_f0168012.jpg": ("4777", "7"),
        "7140_c8_f0230281.jpg": ("7140", "8"),
    },
    identity_names.cuhk03_np: {
        "0001_c1_1.png": ("0001", "1"),
        "0003_c2_21.png": ("0003", "2"),
        "1467_c2_14066.png": ("1467", "2"),
    },
    identity_names.cuhk03_extracted: {
        "1_001_1_01.png": ("1_001", "1"),
        "1_001_2_06.png": ("1_001", "2"),
        "2_001_1_02.png": ("2_001", "1"),
        "1_843_2_10.png": ("1_843", "2"),
        "5_049_2_10.png": ("5_049", "2"),
    },
    identity_names.msmt17: {
        "0000_000_01_0303morning_0008_0.jpg": ("0000", "01"),
        "0001_000_01_0303morning_0017_2.jpg": ("0001", "01"),
        "0018_000_01_0303morning_0238_6.jpg": ("0018", "01"),
        "0083_002_01_0303morning_1439_0.jpg": ("0083", "01"),
        "0114_019_10_0303noon_0284_2_ex.jpg": ("0114", "10"),
        "0256_000_13_0303afternoon_0956_1.jpg": ("0256", "13"),
        "3059_021_15_0113afternoon_1205_3.jpg": ("3059", "15"),
    },
}
REFUSED = {
    identity_names.market1501: [
        "0002_c7s1_000451_03.jpg",  # there are six cameras
        "0002_c0s1_000451_03.jpg",
        "-2_c1s1_000401_03.jpg",
        "2_c1s1_000451_03.jpg",
        "0002_c1s1_000451_03.jpg.bak",
        "x0002_c1s1_000451_03.jpg",
        "0002_c1s1_000451_03.jpg\n",
        "٠٠٠٢_c1s1_000451_03.jpg",  # digits, but not these
        "0001_c2_f0046182.jpg",  # DukeMTMC's
        "Thumbs.db",
        "",
    ],
    identity_names.dukemtmc: [
        "0001_c9_f0046182.jpg",
        "-1_c2_f0046182.jpg",
        "0001_c2_0046182.jpg",
        "0002_c1s1_000451_03.jpg",
    ],
    identity_names.cuhk03_np: ["0001_c3_1.png", "0001_c1_.png", "1_001_1_01.png"],
    identity_names.cuhk03_extracted: [
        "6_001_1_01.png",
        "1_001_3_01.png",
        "1_1_1_01.png",
        "0001_c1_1.png",
    ],
    identity_names.msmt17: [
        "0000_000_16_0303morning_0008_0.jpg",  # there are fifteen cameras
        "0000_000_00_0303morning_0008_0.jpg",
        "0000_000_01_0303evening_0008_0.jpg",
        "0000_000_1_0303morning_0008_0.jpg",
        "0000_c1s1_000151_01.jpg",
    ],
}


@pytest.mark.parametrize(
    ("parse", "file_name", "expected"),
    [(parse, name, said) for parse, names in PARSED.items() for name, said in names.items()],
)
def test_a_name_says_who_and_which_camera(parse, file_name, expected):
    assert parse(file_name) == expected


@pytest.mark.parametrize(
    ("parse", "file_name"), [(parse, name) for parse, names in REFUSED.items() for name in names]
)
def test_another_name_is_not_guessed_at(parse, file_name):
    assert parse(file_name) is None


@pytest.mark.parametrize(
    ("parse", "name"),
    [
        (identity_names.market1501, "0002_c1s1_000451_03"),
        (identity_names.dukemtmc, "0001_c2_f0046182"),
        (identity_names.cuhk03_np, "0001_c1_1"),
        (identity_names.cuhk03_extracted, "1_001_1_01"),
        (identity_names.msmt17, "0000_000_01_0303morning_0008_0"),
    ],
)
def test_a_jpeg_may_be_spelt_out(parse, name):
    assert parse(f"{name}.jpeg") == parse(f"{name}.jpg") is not None
