"""Every page of the built book in a browser: from a file and from a server, in both themes.

Run by `make browser`; leaves pictures of the pages under build/screenshots.
"""

import io
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser.visits import Visit, ink_share
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
EXPLORER_PAGE = "notebooks/fig_6.html"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def visits() -> dict[str, Visit]:
    """What was seen so far, by page."""
    return {}


@pytest.fixture(scope="module")
def visit(page_name: str, site: Path, visitor, visits) -> Visit:
    """What the page shows when it is opened from a file."""
    if page_name not in visits:
        shots = SCREENSHOTS / page_name.removesuffix(".html").replace("/", "-")
        visits[page_name] = visitor.visit((site / page_name).as_uri(), shots)
    return visits[page_name]


def test_a_page_opens_from_a_file(visit: Visit):
    assert not visit.problems, "\n".join(visit.problems)


def test_formulae_are_set(visit: Visit):
    places, drawn, bad = visit.formulae
    assert not bad
    assert drawn >= places


def test_figures_are_seen_in_both_themes(visit: Visit):
    unseen = [f for f in visit.figures if f[2] < 50 or f[3] < 30 or f[4] < 0.003]
    assert not unseen, f"blank, hidden or tiny: {unseen}"


def test_nothing_is_wider_than_a_phone(visit: Visit):
    assert not visit.sticking_out, "\n".join(visit.sticking_out)


def test_no_serious_violation_of_accessibility(visit: Visit):
    assert not visit.violations, "\n".join(visit.violations)


def test_links_lead_somewhere(visit: Visit, page_name: str, site: Path, visits):
    broken = []
    for link in set(visit.links):
        url = urlsplit(link)
        if url.scheme != "file":
            continue
        path = Path(unquote(url.path))
        try:
            name = path.relative_to(site).as_posix()
        except ValueError:
            broken.append(f"out of the book: {link}")
            continue
        if not path.is_file():
            broken.append(f"no such file: {link}")
        elif url.fragment and name.endswith(".html"):
            text = path.read_text(encoding="utf-8")
            anchor = unquote(url.fragment)
            if name == page_name:
                found = anchor in visit.ids
            else:
                found = f'id="{anchor}"' in text or f'name="{anchor}"' in text
            if not found:
                broken.append(f"no such place: {link}")
    assert not broken, "\n".join(broken)


def test_a_page_opens_from_a_server(page_name: str, address: str, visitor):
    visitor.open(address + page_name)
    assert not visitor.problems, "\n".join(visitor.problems)


def test_the_book_has_formulae_and_figures(visits):
    if not visits:
        pytest.skip("no page was visited")
    assert sum(visit.formulae[1] for visit in visits.values()) > 10
    assert sum(len(visit.figures) for visit in visits.values()) > 4


def test_the_front_door_leads_to_the_first_page(site: Path, visitor):
    page = visitor.open((site / "index.html").as_uri())
    page.wait_for_url("**/intro.html", timeout=5_000)
    assert page.locator(".bd-article h1").count() == 1


@pytest.mark.parametrize("served", [False, True], ids=["file", "server"])
def test_the_search_finds_a_word(served: bool, site: Path, visitor, request):
    base = request.getfixturevalue("address") if served else site.as_uri() + "/"
    page = visitor.open(f"{base}search.html?q=critique")
    page.wait_for_function("() => document.querySelectorAll('#search-results li a').length > 2")
    if served:  # a browser lets no page fetch another on file://
        page.wait_for_selector("#search-results p.context")
    page.wait_for_load_state("networkidle")
    assert not visitor.problems, "\n".join(visitor.problems)


def test_the_theme_can_be_switched_by_hand(site: Path, visitor):
    page = visitor.open((site / EXPLORER_PAGE).as_uri())
    seen = set()
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        seen.add(page.evaluate("document.documentElement.dataset.theme"))
    assert seen == {"light", "dark"}


def explorer(page):
    """The curves of the page and the line that tells their values."""
    page.wait_for_selector(".curve-explorer canvas", timeout=10_000)
    return page.locator(".curve-explorer"), page.locator(".curve-explorer output")


def test_the_curves_react_to_the_mouse(site: Path, visitor):
    page = visitor.open((site / EXPLORER_PAGE).as_uri())
    box, reading = explorer(page)
    plot = box.locator(".u-over")
    epochs = int(box.locator("input").get_attribute("max"))
    if epochs < 3:
        pytest.skip("the run is too short to point at two epochs")
    width = plot.bounding_box()["width"]
    last = reading.inner_text()
    assert f"epoch {epochs}:" in last
    plot.hover(position={"x": 2, "y": 50})
    assert "epoch 1:" in reading.inner_text()
    page.mouse.move(5, 5)
    page.wait_for_function(
        "text => document.querySelector('output').textContent === text", arg=last
    )
    plot.click(position={"x": width / 2, "y": 50})
    page.mouse.move(5, 5)
    page.wait_for_timeout(100)
    assert reading.inner_text() not in (last, "")
    assert 1 < int(box.locator("input").input_value()) < epochs
    box.locator("select").select_option(index=1)
    second = box.locator("option").nth(1).inner_text()
    assert reading.inner_text().startswith(second)
    assert not visitor.problems, "\n".join(visitor.problems)


def test_the_curves_tell_what_the_record_holds(site: Path, visitor):
    """The line of each block's last epoch agrees with the table below, to two digits."""
    page = visitor.open((site / EXPLORER_PAGE).as_uri())
    box, reading = explorer(page)
    ends: dict[str, list[list[str]]] = {}  # by block, of each run the last epoch's Q and R
    for row in page.locator("#tab-curves tbody tr").all():
        cells = [row.locator("td").nth(i).inner_text() for i in (0, 2, 3)]
        of_run = [cell.split(",")[1].strip() for cell in cells[1:]]
        ends.setdefault(cells[0].split()[0], []).append(of_run)
    assert ends
    page.eval_on_selector(
        ".curve-explorer input",
        "e => { e.value = e.max; e.dispatchEvent(new Event('input')); }",
    )
    for index in range(box.locator("option").count()):
        box.locator("select").select_option(index=index)
        text = reading.inner_text()
        told = [
            text.split(f"{q} ")[1].split(";")[0].split(" (")[0].split(", ")
            for q in ("critique", "reward")
        ]
        shown = ends[text.split()[0]]
        assert len(told[0]) == len(told[1]) == len(shown), text
        for of_run, rounded in zip(zip(*told, strict=True), shown, strict=True):
            for value, two_digits in zip(of_run, rounded, strict=True):
                assert abs(number(value) - number(two_digits)) <= 0.0056, text


def number(text: str) -> float:
    return float(text.replace("\u2212", "-"))


def test_the_curves_are_reached_and_used_by_keyboard(site: Path, visitor):
    page = visitor.open((site / EXPLORER_PAGE).as_uri())
    box, reading = explorer(page)
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.curve-explorer select')"):
            break
    else:
        pytest.fail("150 times Tab do not reach the choice of a block")
    before = reading.inner_text()
    page.keyboard.press("ArrowDown")
    block = reading.inner_text()
    assert block.split(",")[0] != before.split(",")[0]
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    if box.locator("input").get_attribute("min") != box.locator("input").get_attribute("max"):
        assert reading.inner_text().split(":")[0] != block.split(":")[0]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_curves_are_drawn_in_both_themes(site: Path, visitor):
    page = visitor.open((site / EXPLORER_PAGE).as_uri())
    box, _ = explorer(page)
    pictures = []
    for scheme in ("light", "dark"):
        visitor.turn(scheme)
        page.wait_for_timeout(100)
        pictures.append(box.screenshot(type="png"))
        assert ink_share(pictures[-1]) > 0.01, scheme
    ground = [Image.open(io.BytesIO(picture)).convert("L").getpixel((1, 1)) for picture in pictures]
    assert ground[0] > 200 > 60 > ground[1]


def test_without_scripts_and_on_paper_the_figure_stands_for_the_curves(site: Path, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / EXPLORER_PAGE).as_uri())
    assert page.locator(".curve-explorer p").is_visible()
    assert page.locator("#fig-critique-and-reward img").is_visible()
    page.emulate_media(media="print")
    assert not page.locator(".curve-explorer").is_visible()
    assert page.locator("#fig-critique-and-reward img").is_visible()
    context.close()


def test_the_curves_fit_a_phone(site: Path, phone):
    page = phone.open((site / EXPLORER_PAGE).as_uri())
    box, reading = explorer(page)
    before = reading.inner_text()
    plot = box.locator(".u-over")
    assert box.bounding_box()["width"] <= 390
    plot.click(position={"x": 5, "y": 50})
    assert "epoch 1:" in reading.inner_text() or reading.inner_text() == before


def picture(ink: tuple[int, int, int] | None) -> bytes:
    image = Image.new("RGB", (100, 100), (18, 18, 18))
    if ink:
        ImageDraw.Draw(image).line((0, 0, 99, 99), fill=ink, width=2)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_blank_pictures_and_invisible_ink_are_told():
    assert ink_share(picture(None)) == 0
    assert ink_share(picture((30, 30, 30))) == 0
    assert ink_share(picture((195, 201, 209))) > 0.01
