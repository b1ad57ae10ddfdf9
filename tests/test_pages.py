"""Every page as people use it: in a real browser, by mouse and keyboard, wide and narrow.

Screenshots go to the folder PARATOPE_SCREENSHOTS, if it is set. The browser is Debian's.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

import paratope
from conftest import ROOT
from small_server import PAIRS, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
AXE = Path(__file__).with_name("data") / "axe.min.js"
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
WAIT = 300_000  # ms, for jobs, on a machine that does much else
FIRST = {name: PAIRS[0][name] for name in ("heavy", "light", "antigen")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "no chromium: apt-get install -y chromium chromium-driver"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("pages") / "kept"
    with Server(folder) as server:
        yield server


class Visit:
    """A page in the browser; whatever goes wrong in its console is kept."""

    def __init__(self, page: Page, server: Server, size: str) -> None:
        self.page, self.server, self.size = page, server, size
        self.wrong: list[str] = []
        self.is_looking = False  # when the tools' own styles and scripts meet the page's policy
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _hear(self, said: ConsoleMessage) -> None:
        # Plotly tries a sheet of its own, too; ours has what it needs
        is_plotly = "inline style" in said.text and "plotly" in said.location["url"]
        if said.type == "error" and not self.is_looking and not is_plotly:
            self.wrong.append(f"{said.text} {said.location}")

    def go(self, path: str) -> None:
        self.page.goto(self.server.address + path)

    def look(self, name: str) -> None:
        """A screenshot; nothing wider than the window, nothing that hinders access."""
        self.is_looking = True
        folder = os.environ.get("PARATOPE_SCREENSHOTS")
        if folder:
            target = Path(folder) / f"{name}-{self.size}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=target, full_page=True)
        widths = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths[0] <= widths[1], f"{name} is {widths[0]} wide in {widths[1]}"
        # through the protocol: the page's own policy lets no such script in
        self.page.evaluate(AXE.read_text("utf-8") + "; true")
        found = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        serious = [
            (one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], name
        self.is_looking = False

    def done(self) -> Any:
        """Wait for the job of the page to end well."""
        expect(self.page.locator("#job .badge").first).to_have_text("finished", timeout=WAIT)


@pytest.fixture(params=SIZES)
def visit(request, browser, server) -> Iterator[Visit]:
    context = browser.new_context(viewport=SIZES[request.param])
    visit = Visit(context.new_page(), server, request.param)
    yield visit
    context.close()
    assert [text for text in visit.wrong if "status of 4" not in text] == []


def row(mutations: str = "") -> dict[str, Any]:
    model = paratope.Predictor.load("default")
    rows = [{"id": "parent", **FIRST, "parent": "", "mutations": ""}]
    if mutations:
        variant = {**dict.fromkeys(FIRST, ""), "parent": "parent", "mutations": mutations}
        rows.append({"id": "v", **variant})
    return model.predict(pl.DataFrame(rows), parent="parent").row(-1, named=True)


def test_predict(visit):
    page = visit.page
    visit.go("/")
    visit.look("predict-empty")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#heavy-problem")).to_have_text("Paste a heavy chain, a VHH or an scFv.")
    expect(page.locator("#heavy")).to_be_focused()
    visit.look("predict-problem")
    page.get_by_label("Heavy chain").fill(FIRST["heavy"][:40] + "1")
    page.get_by_label("Antigen", exact=True).fill(FIRST["antigen"])
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#heavy-problem")).to_contain_text("is not an amino acid")
    page.get_by_label("Heavy chain").fill(FIRST["heavy"])
    page.get_by_label("Light chain").fill(FIRST["light"])
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".answer")).to_contain_text(f"{row()['pkd']:.2f}")
    expect(page.locator(".badge").first).to_have_text("in domain")
    visit.look("predict")
    page.locator("summary").click()
    page.get_by_label("Mutations").fill("H:Y105W,L:T94A")
    page.get_by_role("button", name="Predict").click()
    delta = row("H:Y105W,L:T94A")["delta_pkd"]
    expect(page.locator(".answer").first).to_contain_text(f"Δ {delta:+.2f}")
    visit.look("predict-variant")


def test_predict_by_keyboard_alone(visit):
    page = visit.page
    visit.go("/?example=3")
    page.locator("body").press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.locator("#antigen").focus()
    page.keyboard.press("Tab")  # to the summary
    page.keyboard.press("Tab")  # over the closed part to the button
    expect(page.get_by_role("button", name="Predict")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_contain_text("Kd")


def test_without_scripts(browser, server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.address + "/?example=1")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".answer")).to_contain_text(f"{row()['pkd']:.2f}")
    page.goto(server.address + "/table")
    page.get_by_label("Your table").set_input_files(ROOT / "examples" / "pairs.csv")
    page.get_by_role("button", name="Upload").click()
    page.get_by_role("button", name="Predict the table").click()
    expect(page.locator("#job .badge").first).to_have_text("finished", timeout=WAIT)
    context.close()


def test_table(visit, tmp_path, run_paratope):
    page = visit.page
    visit.go("/table")
    visit.look("table-upload")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#table-problem")).to_have_text("Choose a file.")
    (tmp_path / "nonsense.csv").write_bytes(b"\x00\x01\x02")
    page.get_by_label("Your table").set_input_files(tmp_path / "nonsense.csv")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#table-problem")).to_contain_text("nonsense.csv: this is a binary file")
    frame = pl.read_csv(ROOT / "examples" / "pairs.csv").rename({"heavy": "first chain"})
    frame.write_csv(tmp_path / "mine <b>.csv")
    page.get_by_label("Your table").set_input_files(tmp_path / "mine <b>.csv")
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("h1")).to_have_text("mine <b>.csv")
    page.get_by_label("Heavy chain").select_option("")
    page.get_by_role("button", name="Predict the table").click()
    expect(page.locator("#heavy-problem")).to_contain_text("Say which column")
    visit.look("table-columns")
    page.get_by_label("Heavy chain").select_option("first chain")
    page.get_by_role("button", name="Predict the table").click()
    expect(page).to_have_url(re.compile("/jobs/"))
    page.reload()  # in the midst of it
    visit.done()
    page.get_by_role("link", name="pKd").click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("pKd")
    shown = [float(text) for text in page.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    visit.look("table-result")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("predictions.csv")).click()
    path = ROOT / "examples" / "pairs.csv"
    run_paratope("predict", path, "-o", tmp_path / "p.csv", code=0)
    ours, theirs = pl.read_csv(download.value.path()), pl.read_csv(tmp_path / "p.csv")
    assert ours.rename({"first chain": "heavy"}).equals(theirs.select(
        [name.replace("first chain", "heavy") for name in ours.columns]))  # fmt: skip


def test_scan(visit, server):
    page = visit.page
    visit.go("/scan?example=1")
    page.get_by_label("Regions").fill("nowhere")
    page.get_by_role("button", name="Scan").click()
    expect(page.locator("#regions-problem")).to_contain_text("unknown region 'nowhere'")
    page.get_by_label("Regions").fill("H3")
    visit.look("scan-form")
    page.get_by_role("button", name="Scan").click()
    expect(page).to_have_url(re.compile("/jobs/"))
    page.goto("about:blank")  # the page is closed meanwhile
    time.sleep(1)
    page.go_back()
    visit.done()
    heat = page.locator(".heat-map .nsewdrag")
    expect(heat).to_be_visible()
    box = page.locator(
        ".heat-map .heatmaplayer image, .heat-map .heatmaplayer"
    ).first.bounding_box()
    assert box is not None
    heat.scroll_into_view_if_needed()
    box = heat.bounding_box()
    assert box is not None
    told = page.locator(".hovertext")
    for height in range(30, int(box["height"]) - 10, 12):  # a field of the parent's says nothing
        page.mouse.move(box["x"] + 40, box["y"] + height - 8)
        page.mouse.move(box["x"] + 50, box["y"] + height, steps=8)
        page.wait_for_timeout(300)
        if told.count():
            break
    expect(told.first).to_contain_text("pKd")
    page.mouse.click(box["x"] + 50, box["y"] + height)
    expect(page.get_by_label("Mutations")).to_have_value(re.compile(r"^H:[A-Z]\d+[A-Z]$"))
    for height in range(30, int(box["height"]) - 10, 24):
        box = heat.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 110, box["y"] + height - 8)
        page.mouse.move(box["x"] + 120, box["y"] + height, steps=8)
        page.wait_for_timeout(300)
        page.mouse.click(box["x"] + 120, box["y"] + height)
        page.wait_for_timeout(300)
        if "," in page.get_by_label("Mutations").input_value():
            break
    expect(page.get_by_label("Mutations")).to_have_value(re.compile(r"^H:\w+,H:\w+$"))
    visit.look("scan-result")
    mutations = page.get_by_label("Mutations").input_value()
    page.get_by_role("button", name="Predict this variant").click()
    expect(page.locator("#variant .answer").first).to_contain_text(
        f"Δ {row(mutations)['delta_pkd']:+.2f}"
    )


def test_campaign(visit, tmp_path):
    page = visit.page
    plate = pl.read_csv(ROOT / "examples" / "plate-1.csv")
    plate.head(40).write_csv(tmp_path / "plate-1.csv")
    visit.go("/campaign")
    page.get_by_role("button", name="Learn from it").click()
    expect(page.locator("#table-problem")).to_have_text("Choose a file.")
    visit.look("campaign-form")
    page.get_by_label("Measured variants").set_input_files(tmp_path / "plate-1.csv")
    page.get_by_role("button", name="Learn from it").click()
    visit.done()
    expect(page.locator("#job")).to_contain_text("How well it has learned")
    visit.look("campaign-result")
    page.get_by_label("How many antibodies").fill("6")
    page.get_by_label("Made how").select_option("single")
    page.get_by_role("button", name="Suggest").click()
    visit.done()
    visit.look("campaign-next")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(r"next\.csv")).click()
    suggested = pl.read_csv(download.value.path())
    assert suggested.height == 6
    measured = suggested.with_columns(kd_nM=pl.Series([1.0, 2.0, 0.5, 3.0, 1.5, 0.8]))
    measured.write_csv(tmp_path / "next.csv")
    page.get_by_label("Measured plate").set_input_files(tmp_path / "next.csv")
    page.get_by_role("button", name="Learn from both").click()
    expect(page.locator("h1")).to_contain_text("plate-1.csv, next.csv")
    visit.done()
    expect(page.locator("#job")).to_contain_text("Learned from")


@pytest.mark.parametrize("visit", ["wide"], indirect=True)
def test_screen(visit, tmp_path, run_paratope):
    page = visit.page
    library, panel = tmp_path / "my library.csv", tmp_path / "panel.fasta"
    pl.read_csv(ROOT / "examples" / "pairs.csv").drop("antigen").write_csv(library)
    panel.write_text(f">first\n{PAIRS[0]['antigen']}\n>second\n{PAIRS[4]['antigen']}\n")
    visit.go("/")
    page.get_by_role("link", name="Screen").click()
    page.get_by_label("Library of antibodies").set_input_files(library)
    page.get_by_role("button", name="Screen").click()
    expect(page.locator("#antigen-problem")).to_contain_text("Paste the antigen's residues")
    visit.look("screen-problem")
    page.get_by_label("Library of antibodies").set_input_files(library)
    page.get_by_label("Antigen").fill(panel.read_text())
    page.get_by_label("How many to keep").fill("4")
    page.get_by_role("button", name="Screen").click()
    expect(page).to_have_url(re.compile("/jobs/"))
    page.reload()  # in the midst of it
    visit.done()
    expect(page.get_by_role("heading", name="Best against second")).to_be_visible()
    visit.look("screen-result")
    page.get_by_role("link", name="Open the report").click()
    expect(page.locator("h1")).to_have_text("Screen of 15 antibodies")
    page.go_back()
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(r"hits\.csv")).click()
    options = ("--antigen", panel, "--top", 4, "-o", tmp_path / "hits")
    run_paratope("screen", library, *options, code=0)
    hits = tmp_path / "hits" / "hits.csv"
    assert download.value.path().read_bytes() == hits.read_bytes()
    shown = page.locator("section tbody tr td:nth-child(3)").all_inner_texts()
    assert shown == [f"{pkd:.2f}" for pkd in pl.read_csv(hits)["pkd"]]


def test_evaluate_and_compare(visit, tmp_path):
    page = visit.page
    numbers = [5 + 0.1 * n for n in range(40)]
    for name, shift in (("a", 0.3), ("b", 1.0)):
        values = [number + shift * (-1) ** n for n, number in enumerate(numbers)]
        ids = [f"r{n}" for n in range(40)]
        frame = pl.DataFrame({"id": ids, "true": numbers, "pred": values})
        frame.write_csv(tmp_path / f"{name}.csv")
    visit.go("/evaluate")
    visit.look("evaluate-form")
    page.get_by_label("One table, or several").set_input_files(tmp_path / "a.csv")
    page.get_by_role("button", name="Evaluate").click()
    visit.done()
    expect(page.frame_locator("iframe").locator("h1")).to_have_text("a.csv")
    visit.look("evaluate-result")
    visit.go("/evaluate")
    page.get_by_label("One table, or several").set_input_files(
        [tmp_path / "a.csv", tmp_path / "b.csv"]
    )
    page.get_by_role("button", name="Evaluate").click()
    visit.done()
    expect(page.locator("#job")).to_contain_text("Side by side")
    expect(page.locator("#job")).to_contain_text("b.csv")
    visit.look("compare-result")


def test_models_jobs_and_what_is_not_there(visit):
    page = visit.page
    visit.go("/models")
    page.get_by_role("link", name="default").click()
    expect(page.locator(".card h1")).to_be_visible()
    visit.look("model-card")
    visit.go("/jobs")
    visit.look("jobs")
    visit.go("/jobs/0123")
    expect(page.locator("h1")).to_have_text("There is no such page")
    visit.look("not-there")
