#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: Chromium without a window, driven by Playwright.

It is skipped where one of them is absent. Chromium is Debian's package, or
what MNEME_CHROMIUM names. The Python packages of page_requirements.txt are
looked for in this Python, and then in a virtual environment: page-venv in the
build folder, or the one that MNEME_PAGE_VENV names.
"""

import json
import os
import re
import shutil
import sys
import time

from flow_util import (SLOW, SMALLEST, Daemon, Tap, free_port, records,
                       skip_all, write_lines, TMP)

VENV = os.environ.get("MNEME_PAGE_VENV", "page-venv")
try:
    from playwright.sync_api import Error, sync_playwright
    import axe_playwright_python
except ImportError:
    python = os.path.join(VENV, "bin", "python")
    if not os.path.exists(python) or os.environ.get("MNEME_PAGE_AGAIN"):
        skip_all("no Python packages playwright and axe-playwright-python "
                 "(tests/flows/page_requirements.txt)")
    os.execve(python, [python, os.path.abspath(__file__)],
              dict(os.environ, MNEME_PAGE_AGAIN="yes"))

CHROMIUM = os.environ.get("MNEME_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser",
                                    "google-chrome"))), None)
AXE = os.path.join(os.path.dirname(axe_playwright_python.__file__),
                   "axe.min.js")
MS = 1000 * SLOW

# A domain whose name would run code, if it were ever read as HTML.
EVIL = "<script>window.hit=1</script><img src=x onerror=window.hit=1>"
ADMIN = "admin-token-of-the-page"
INFER = "infer-token-of-the-page"


def evil(n):
    lines = [json.loads(line) for line in records("workshop", n, seed=2)]
    return [json.dumps(dict(r, domain=EVIL, id=f"evil-{i}"))
            for i, r in enumerate(lines)]


class Feed:
    """A file that grows while the daemon follows it."""

    def __init__(self, path):
        self.path = write_lines(path, [])
        self.n = 0

    def add(self, lines):
        with open(self.path, "a") as f:
            f.write("".join(line + "\n" for line in lines))
        self.n += len(lines)


def mixed(lists):
    """Records of several domains, in turn."""
    return [line for together in zip(*lists) for line in together]


class Page:
    """A page, and what went wrong in it."""

    def __init__(self, browser, address, width=1280, height=800, **options):
        self.address = "http://%s:%d/" % address
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, **options)
        self.context.set_default_timeout(20 * MS)
        self.page = self.context.new_page()
        self.wrong = []
        self.foreign = []
        # A refused connection is what the test of a killed daemon wants.
        self.page.on("console", lambda m: self.wrong.append(m.text)
                     if m.type == "error" and "Failed to load" not in m.text
                     else None)
        self.page.on("pageerror", lambda e: self.wrong.append(str(e)))
        self.page.on("request", lambda r: self.foreign.append(r.url)
                     if not r.url.startswith(self.address) else None)

    def open(self):
        self.page.goto(self.address)
        return self

    def ready(self):
        """The page shows a version."""
        self.page.wait_for_selector("#versions .row")
        return self

    def text(self, selector):
        return self.page.locator(selector).first.text_content()

    def until(self, expression, what, seconds=20):
        """Waits for a JavaScript expression to be true."""
        try:
            self.page.wait_for_function(f"() => {expression}",
                                        timeout=seconds * MS, polling=100)
            return True
        except Error:
            print(f"# waited in vain for {what}: {expression}", flush=True)
            return False

    def focused(self, expression):
        return self.page.evaluate(
            f"() => {{ const e = document.activeElement; "
            f"return Boolean({expression}); }}")

    def tab_to(self, expression, presses=150):
        """Presses Tab until the focused element e fits the expression."""
        for _ in range(presses):
            if self.focused(expression):
                return True
            self.page.keyboard.press("Tab")
        return False

    def axe(self):
        """The violations that axe-core finds."""
        if not self.page.evaluate("() => Boolean(window.axe)"):
            with open(AXE) as f:
                self.page.evaluate(f.read())
        found = self.page.evaluate(
            "async () => (await axe.run(document)).violations.map(v => v.id + "
            "': ' + v.nodes.map(n => n.target + ' ' + n.html).join(', '))")
        for line in found:
            print("# " + line[:1000], flush=True)
        return found


def serving(page):
    found = re.search(r"version (\d+) serves", page.text("#sentence"))
    return int(found.group(1)) if found else 0


# --- what is shown ----------------------------------------------------------

def shows(tap, page, daemon):
    sentence = page.text("#sentence")
    tap.ok(re.search(r"^(Learning|Waiting for records) from", sentence),
           "the sentence: the state")
    tap.ok(re.search(r"\d\.\d\d bits per byte", sentence),
           "the sentence: the loss")
    tap.ok(re.search(r"version \d+ serves, made .* ago", sentence),
           "the sentence: the serving version")
    tap.ok(re.search(r"lag \d+ records?\.$", sentence), "the sentence: lag")
    daemon.until(lambda: serving(page) == daemon.status()["serving_version"],
                 "the daemon's serving version in the page", 20)
    tap.equal(page.page.locator("#answers .good, #answers .note, "
                                "#answers .warn, #answers .bad").count(), 3,
              "three answers")
    tap.ok(page.page.locator("#loss .lines path").count() >= 3,
           "a line for each domain")
    tap.ok(page.page.locator("#loss .versions path").count() >= 2,
           "versions below the lines")
    tap.ok(page.page.locator("#heat td").count() >= 4, "the heat map")
    tap.ok(page.page.locator("#lag-plot .lines path").count() == 1 and
           page.page.locator("#rate-plot .lines path").count() == 1,
           "lag and throughput")
    tap.ok("reference" in page.text("#timeline .unit") and
           page.page.locator("#versions .words:not(:empty)").count() >= 1,
           "what the gate said")
    tap.ok(page.until("[...document.querySelectorAll('#versions .word')].some("
                      "w => w.textContent.includes('@good'))", "the tag"),
           "a version's tag")


def evil_name(tap, page):
    names = page.page.locator("#legend .name").all_text_contents()
    tap.ok(EVIL in names, "a domain named <script>: shown as it is")
    tap.ok(EVIL in page.page.locator("#heat th").all_text_contents(),
           "a domain named <script>: in the heat map")
    tap.ok(page.page.evaluate(
        "() => window.hit === undefined && !document.querySelector('img') && "
        "document.querySelectorAll('script').length === 1"),
           "a domain named <script>: no element, no code")


def keeps(tap, page, feed):
    """Nodes are updated in place: the selection and the focus stay."""
    page.page.locator("#versions .row").last.click()
    page.page.evaluate("""() => {
        window.kept = document.querySelector("#versions .row");
        getSelection().selectAllChildren(
            document.querySelector("#version-facts > div:last-child dd"));
        document.querySelector("#heat tbody td").focus();
    }""")
    selected = page.page.evaluate("() => String(getSelection())")
    key = page.page.evaluate("() => document.activeElement.dataset.key")
    before = page.text("#sentence")
    feed.add(mixed([records("harbour", 12, seed=5)]))
    tap.ok(page.until(f"document.getElementById('sentence').textContent !== "
                      f"{json.dumps(before)}", "an update"),
           "the page updates by itself")
    time.sleep(3)
    now = page.page.evaluate("() => document.activeElement.dataset.key")
    tap.ok(len(selected) == 16 and
           page.page.evaluate("() => String(getSelection())").strip() != "",
           "the selection stays")
    tap.equal(now, key, "the focus stays")
    tap.ok(page.page.evaluate("() => window.kept.isConnected"),
           "a version's row stays the same node")


def cursors(tap, page):
    """Arrow keys in the pictures."""
    page.page.locator("#loss svg").first.focus()
    value = "document.querySelector('#loss .chart').getAttribute(" \
            "'aria-valuetext')"
    before = page.page.evaluate(f"() => {value}")
    for _ in range(3):
        page.page.keyboard.press("ArrowLeft")
    after = page.page.evaluate(f"() => {value}")
    tap.ok(before != after and "harbour" in after,
           "the chart: arrow keys move the cursor")
    tap.ok(page.page.locator("#loss .cursor path").get_attribute("d"),
           "the chart: the cursor is drawn")
    tap.ok("," in page.text("#lag-now"), "the charts have one cursor")
    page.page.locator("#heat tbody tr").first.locator("td").last.focus()
    first = page.text("#heat-readout")
    page.page.keyboard.press("ArrowLeft")
    second = page.text("#heat-readout")
    page.page.keyboard.press("ArrowDown")
    third = page.text("#heat-readout")
    tap.ok("version" in first and len({first, second, third}) == 3,
           "the heat map: arrow keys move from cell to cell")
    page.page.locator("#heat-numbers").focus()
    page.page.keyboard.press("Space")
    tap.ok(page.until("/^\\d+\\.\\d\\d$/.test(document.querySelector("
                      "'#heat td[class^=f] span').textContent)", "numbers"),
           "the heat map: as numbers")
    page.page.keyboard.press("Space")


def scale(tap, page):
    """One per cent of noise is drawn as such: no stretched scale."""
    heights = page.page.evaluate("""async () => {
        const {Chart} = await import("/page/chart.js");
        const host = document.createElement("div");
        document.querySelector("main").append(host);
        const chart = new Chart(host, {label: "test", height: 200,
                                       format: String});
        const times = [...Array(50).keys()];
        const height = values => {
            chart.show({from: 0, to: 49, lines: [{key: "a", times, values}]});
            const y = host.querySelector(".lines path").getAttribute("d")
                .split(/[ML]/).slice(1).map(p => Number(p.split(" ")[1]));
            return Math.max(...y) - Math.min(...y);
        };
        const all = [height(times.map(t => 2 + 0.02 * (t % 2))),
                     height(times.map(t => 8 - t / 10)),
                     height(times.map(t => 0))];
        host.remove();
        return all;
    }""")
    tap.ok(0 < heights[0] < 20, f"one per cent of noise stays low {heights}")
    tap.ok(heights[1] > 80, "a real change fills the picture")
    tap.equal(heights[2], 0, "a constant is a straight line")


def reload_keeps(tap, page):
    """The daemon keeps the series: a reload draws the same curves."""
    points = ("[...document.querySelectorAll('.lines path')].map(p => "
              "p.getAttribute('d').length).reduce((a, b) => a + b, 0)")
    before = page.page.evaluate(f"() => {points}")
    page.page.reload()
    page.ready()
    after = page.page.evaluate(f"() => {points}")
    tap.ok(before > 100 and after > 0.7 * before,
           f"a reload keeps the curves ({before}, {after})")


# --- operations -------------------------------------------------------------

def rollback_by_keyboard(tap, page, other, daemon):
    """Tab, arrow keys, Enter and text; the other page sees it live."""
    rows = [v["version"] for v in daemon.versions()
            if v["state"] == "passed" and not v["head"]]
    target = rows[min(2, len(rows) - 1)]
    page.page.evaluate("() => { document.activeElement.blur(); "
                       "scrollTo(0, 0); }")
    tap.ok(page.tab_to("e.matches('.row') && "
                       f"e.firstChild.textContent === '{target}'"),
           "keyboard: the row of a version")
    page.page.keyboard.press("Enter")
    tap.ok(page.until("document.getElementById('version-title').textContent "
                      f"=== 'Version {target}'", "the version"),
           "keyboard: the version is shown")
    tap.ok(page.tab_to("e.id === 'rollback'"), "keyboard: Roll back")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#confirm[open]")
    tap.ok(page.focused("e.value === 'rewind'"), "the dialog has the focus")
    tap.equal(page.axe(), [], "axe: the dialog")
    page.page.keyboard.press("Tab")
    page.page.keyboard.type("keyboard only")
    page.page.keyboard.press("Tab")
    page.page.keyboard.type("9999")
    page.page.keyboard.press("Enter")
    tap.ok(page.page.locator("#confirm[open]").count() == 1 and
           page.page.locator("#confirm-go").is_disabled(),
           "a wrong word confirms nothing")
    for _ in range(4):
        page.page.keyboard.press("Backspace")
    page.page.keyboard.type(str(target))
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#confirm[open]", state="detached")
    what = f"Rolled back to {target}: keyboard only"
    seen = ("[...document.querySelectorAll('#versions .turn .words')].some("
            f"p => p.textContent === {json.dumps(what)})")
    tap.ok(page.until(seen, "the rollback"), "the rollback is in the timeline")
    tap.ok(other.until(seen, "the rollback, live"),
           "another page sees it live")
    tap.ok(other.until("document.querySelector('#loss .marks .rollback')",
                       "the mark"), "and in the picture of the loss")
    tap.ok(page.focused("e.id === 'rollback' || e.matches('.row, body')"),
           "the focus is back in the page")
    history = daemon.get("/v1/history")[1]["history"]
    tap.ok(any(h["cause"] == "rollback" and h["version"] == target
               for h in history), "the daemon has rolled back")


def promote_by_mouse(tap, page, daemon):
    passed = [v["version"] for v in daemon.versions()
              if v["state"] == "passed" and not v["serving"]]
    target = passed[min(4, len(passed) - 1)]
    row = page.page.locator("#versions .row", has=page.page.get_by_text(
        re.compile(f"^{target}$"))).first
    row.evaluate("e => e.scrollIntoView({block: 'center', "
                 "behavior: 'instant'})")
    row.click()
    page.page.click("#promote")
    tap.ok(page.page.locator("#confirm-go").is_disabled(),
           "promote: nothing happens without the word")
    page.page.fill("#confirm-word", str(target))
    page.page.click("#confirm-go")
    tap.ok(page.until("document.getElementById('sentence').textContent."
                      f"includes('version {target} serves')", "the promotion"),
           "promote: the sentence says so")
    page.page.click("#follow")
    page.page.fill("#confirm-word", "latest")
    page.page.click("#confirm-go")
    tap.ok(page.until("document.getElementById('follow').hidden", "the gate"),
           "promote: the gate chooses again")
    tap.equal(daemon.status()["serving_pinned"], False,
              "promote: the daemon, too")


def quarantine(tap, page):
    page.page.click("#quarantine-load")
    page.page.wait_for_selector("#records li")
    text = page.text("#records pre")
    tap.ok("\x00" not in text and len(text) > 3, "quarantine: a preview")
    page.page.locator("#records .whole").first.click()
    tap.ok(page.until("document.querySelector('#records .is-whole')",
                      "the whole record"), "quarantine: the whole record")
    for reason, answer in (("bad field", "cannot be released"),
                           ("repetition", "is released")):
        row = page.page.locator("#records li", has=page.page.get_by_text(
            reason, exact=True)).first
        row.locator(".release").click()
        tap.ok(page.until("document.getElementById('toast').textContent."
                          f"includes({json.dumps(answer)})", "an answer"),
               f"quarantine: a record with a reason {reason} {answer}")


def playground(tap, page):
    prompt = "The tide at the quay <b>"
    page.page.fill("#prompt", prompt)
    page.page.fill("#tokens", "12")
    page.page.click("#go")
    ok = page.until("document.querySelectorAll('#sides .asked').length === 2",
                    "two answers")
    texts = page.page.locator("#sides .tokens").all_text_contents()
    tap.ok(ok and all(t.startswith(prompt) for t in texts),
           "playground: two answers begin with the prompt")
    tap.ok(page.page.locator("#sides .tokens span[class^=p]").count() >=
           2 * len(prompt), "playground: each token has a colour")
    tap.ok(all(re.match(r"Version \d+$", t) for t in
               page.page.locator("#sides h3").all_text_contents()),
           "playground: the versions are named")
    page.page.locator("#sides .tokens").first.focus()
    page.page.keyboard.press("ArrowRight")
    tap.ok("%" in page.text("#sides .readout"),
           "playground: a token's probability by keyboard")


def gone(tap, page, daemon):
    daemon.kill()
    tap.ok(page.until("!document.getElementById('gone').hidden && document."
                      "body.classList.contains('is-gone')", "the banner"),
           "the daemon is killed: the page says so")
    tap.ok("has not answered since" in page.text("#gone"),
           "the daemon is killed: since when")
    tap.equal(page.axe(), [], "axe: the daemon is killed")
    tap.equal(page.text("#link-text"), "no answer",
              "the daemon is killed: the bar says so")
    daemon.start()
    tap.ok(page.until("document.getElementById('gone').hidden && !document."
                      "body.classList.contains('is-gone')", "the return", 30),
           "the daemon is back: so is the page, by itself")


# --- the ways to see it -----------------------------------------------------

def looks(tap, browser, daemon):
    grounds = {}
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            page = Page(browser, daemon.address(), width, 740,
                        color_scheme=scheme, reduced_motion="reduce").open()
            page.ready()
            what = f"{scheme}, {width} px"
            playground(tap, page)
            page.page.click("#quarantine-load")
            page.page.wait_for_selector("#records li")
            tap.equal(page.axe(), [], f"axe: {what}")
            page.page.check("#heat-numbers")
            tap.equal(page.axe(), [], f"axe: {what}, numbers")
            tap.ok(page.page.evaluate(
                "() => document.documentElement.scrollWidth <= innerWidth"),
                f"no horizontal scroll: {what}")
            grounds[scheme] = page.page.evaluate(
                "() => getComputedStyle(document.body).backgroundColor")
            tap.ok(page.page.evaluate(
                "() => [...document.querySelectorAll('*')].every(e => "
                "getComputedStyle(e).transitionDuration === '0s')"),
                f"no motion: {what}")
            tap.equal((page.wrong, page.foreign), ([], []),
                      f"no error, no request to elsewhere: {what}")
            page.context.close()
    tap.ok(grounds["light"] != grounds["dark"] and
           sum(map(int, re.findall(r"\d+", grounds["dark"])[:3])) < 120,
           "dark mode is dark")


def tokens(tap, browser):
    """The page asks for a token when it needs one, and keeps it in memory."""
    daemon = Daemon("tokens", source__type="file", source__follow="true",
                    http__token_file=write_lines(
                        os.path.join(TMP, "tokens.txt"),
                        [f"infer {INFER}", f"admin {ADMIN}"]),
                    source__path=write_lines(
                        os.path.join(TMP, "tokens.jsonl"),
                        records("harbour", 120)))
    daemon.start(wait="ready")
    page = Page(browser, daemon.address()).open()
    page.page.wait_for_selector("#token[open]")
    tap.ok("infer" in page.text("#token-text"), "tokens: the page asks")
    tap.equal(page.axe(), [], "axe: the question for a token")
    page.page.fill("#token-word", INFER)
    page.page.keyboard.press("Enter")
    page.ready()
    tap.ok(True, "tokens: a token to read shows the page")
    page.page.locator("#versions .row").last.click()
    page.page.click("#pin")
    page.page.wait_for_selector("#token[open]")
    tap.ok("admin" in page.text("#token-text"),
           "tokens: to act, the page asks for an admin token")
    page.page.fill("#token-word", ADMIN)
    page.page.keyboard.press("Enter")
    tap.ok(page.until("document.getElementById('pin').textContent === "
                      "'Unpin'", "the pin"), "tokens: and acts")
    tap.ok(page.page.evaluate(
        "() => !localStorage.length && !sessionStorage.length && "
        "!document.cookie"), "tokens: kept in memory only")
    page.page.reload()
    page.page.wait_for_selector("#token[open]")
    tap.ok(True, "tokens: a reload asks again")
    page.page.keyboard.press("Escape")
    page.page.wait_for_selector("#gone-token:visible")
    tap.ok("refuses" in page.text("#gone"), "tokens: without one, it says so")
    tap.equal(page.axe(), [], "axe: without a token")
    page.page.click("#gone-token")
    page.page.fill("#token-word", "wrong-token-of-the-page")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#token[open]")
    page.page.fill("#token-word", INFER)
    page.page.keyboard.press("Enter")
    page.ready()
    tap.ok(page.until("document.getElementById('gone').hidden", "the page"),
           "tokens: the page comes back with one")
    page.context.close()
    daemon.stop()


def labels(tap, browser):
    """Preset linear has no loss: the page shows the share of wrong labels."""
    lines = [json.dumps(dict(json.loads(line), label=domain))
             for domain in ("harbour", "orchard")
             for line in records(domain, 150)]
    daemon = Daemon("labels", source__type="file", source__follow="true",
                    model__preset="linear", source__path=write_lines(
                        os.path.join(TMP, "labels.jsonl"), lines))
    daemon.settings.pop("model.tokenizer")
    daemon.start()
    page = Page(browser, daemon.address()).open().ready()
    tap.ok(page.until("/\\d % of labels right/.test(document.getElementById("
                      "'sentence').textContent)", "the share"),
           "labels: the sentence")
    tap.equal(page.text("#loss-unit"), "% of labels wrong",
              "labels: the unit of the picture")
    page.page.locator("#measure label").last.click()
    tap.ok(page.until("document.querySelector('#loss .dots circle') && "
                      "document.querySelector('#heat td[class^=f]')",
                      "held-out labels"),
           "labels: held-out labels in both pictures")
    tap.equal((page.wrong, page.axe()), ([], []), "labels: no error")
    page.context.close()
    daemon.stop()


def main():
    if not CHROMIUM:
        skip_all("no Chromium")
    tap = Tap()
    feed = Feed(os.path.join(TMP, "feed.jsonl"))
    daemon = Daemon("page", source__type="file", source__follow="true",
                    publish__keep__newest=1000,
                    source__path=feed.path,
                    http__listen=f"127.0.0.1:{free_port()}", **SMALLEST)
    feed.add(['{"text": 1}', json.dumps({"text": "tide " * 400,
                                         "domain": "harbour"})])
    feed.add(mixed([records("harbour", 100), records("orchard", 100),
                    evil(100)]))
    daemon.start()
    daemon.until(lambda: daemon.request("PUT", "/v1/tags/good", {"version": 1})
                 [0] == 200, "a tag")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM,
                                    args=["--no-sandbox"])
        page = Page(browser, daemon.address()).open().ready()
        other = Page(browser, daemon.address()).open().ready()
        daemon.until(lambda: len(daemon.versions()) > 4 or
                     feed.add(records("orchard", 6, seed=feed.n)),
                     "some versions", 60)
        page.until("document.querySelectorAll('#versions .row').length > 4",
                   "some versions")
        shows(tap, page, daemon)
        evil_name(tap, page)
        keeps(tap, page, feed)
        cursors(tap, page)
        scale(tap, page)
        reload_keeps(tap, page)
        rollback_by_keyboard(tap, page, other, daemon)
        promote_by_mouse(tap, page, daemon)
        quarantine(tap, page)
        looks(tap, browser, daemon)
        tokens(tap, browser)
        labels(tap, browser)
        gone(tap, page, daemon)
        for x in (page, other):
            tap.equal((x.wrong, x.foreign), ([], []),
                      "no error, no request to elsewhere")
        browser.close()
    tap.equal(daemon.stop(), 0, "the daemon ends well")
    tap.exit()


main()
