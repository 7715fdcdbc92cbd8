#!/usr/bin/env python3
"""Opens reports in headless Chromium and uses them: usage: check.py CHROMIUM SIMULATED.html REAL.html BARE.html

The first is of a simulated run with faults, the second of a real run, the third of a run without
traces. With SHOTS=DIR it leaves screenshots there, light and dark.
"""

import os
import sys
import time

from browser import Browser

SHOTS = os.environ.get("SHOTS")
VIEW = "[unisonoReport.view.from, unisonoReport.view.to]"


def shot(browser, name):
    if SHOTS:
        browser.screenshot(os.path.join(SHOTS, f"{name}.png"))


def place(browser, selector):
    """Where an element is in the window, once it is scrolled there."""
    browser.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    browser.settle()
    return browser.run(
        f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()")


def tip(browser):
    return browser.run("tip.hidden ? '' : tip.textContent")


def pixel(browser, x, y):
    """What the timeline shows at a place of its own."""
    return browser.run(
        "(() => { const c = document.getElementById('timeline'); const r = c.width / c.clientWidth;"
        f" return [...c.getContext('2d').getImageData({x} * r, {y} * r, 1, 1).data]; }})()")


def click(browser, selector):
    browser.run(f"document.querySelector({selector!r}).click()")
    browser.settle()


def check_quiet(browser):
    assert browser.errors == [], browser.errors
    asked = [url for url in browser.requests if not url.startswith("file://")]
    assert asked == [], asked


def check_hover(browser):
    left, top, width, height = place(browser, "#timeline")
    lane = browser.run("(() => { const { y } = unisonoReport.plot.lanes[0]; return y; })()")
    browser.mouse("mouseMoved", left + width / 2, top + lane + 15)
    text = tip(browser)
    assert "ps 0: " in text and " from " in text, text
    assert browser.run("tip.getBoundingClientRect().width") > 50
    browser.mouse("mouseMoved", left + width / 2, top - 60)
    left, top, width, height = place(browser, "#loss")
    browser.mouse("mouseMoved", left + width / 2, top + height / 2)
    assert "Step " in tip(browser) and "loss " in tip(browser), tip(browser)
    browser.mouse("mouseMoved", 2, 2)


def check_zoom(browser):
    left, top, width, height = place(browser, "#timeline")
    begin, end = browser.run(VIEW)
    browser.mouse("mouseWheel", left + width / 2, top + height / 2, deltaX=0, deltaY=-400)
    from_, to = browser.run(VIEW)
    assert to - from_ < 0.9 * (end - begin), (from_, to)
    browser.mouse("mousePressed", left + 500, top + 60, button="left", buttons=1, clickCount=1)
    browser.mouse("mouseMoved", left + 400, top + 60, button="left", buttons=1)
    browser.mouse("mouseReleased", left + 400, top + 60, button="left", clickCount=1)
    dragged = browser.run(VIEW)
    assert dragged[0] > from_ and abs((dragged[1] - dragged[0]) - (to - from_)) < 2, dragged
    browser.run("timeline.focus()")
    for key, changes in [("+", True), ("ArrowRight", True), ("ArrowLeft", True), ("-", True)]:
        before = browser.run(VIEW)
        browser.key(key)
        assert (browser.run(VIEW) != before) == changes, key
    words = browser.run("document.getElementById('view').textContent")
    assert " to " in words and "critical path" in words, words
    browser.key("0")
    assert browser.run(VIEW) == [begin, end]


def check_filters(browser):
    lanes, rows = browser.run("[unisonoReport.plot.lanes.length, unisonoReport.listed]")
    click(browser, "#filter-tasks label:last-child input")
    assert browser.run("unisonoReport.plot.lanes.length") == lanes - 1
    click(browser, "#filter-tasks label:last-child input")
    before = browser.run(VIEW)
    browser.run("(() => { const f = document.getElementById('from-step'), t = document.getElementById('to-step');"
                " f.value = 5; t.value = 9; for (const e of [f, t]) e.dispatchEvent(new Event('input', { bubbles: true })); })()")
    browser.settle()
    assert browser.run("unisonoReport.listed") == 5
    seen = browser.run("[...document.querySelectorAll('#updates tr.row')].map(r => r.cells[0].firstChild.textContent)")
    assert seen == ["5", "6", "7", "8", "9"], seen
    assert browser.run(VIEW) != before
    # A state that is not shown loses its colour.
    y = browser.run("unisonoReport.plot.lanes[2].y + 15")
    columns = range(90, 1200, 7)
    shown = [pixel(browser, x, y) for x in columns]
    click(browser, "#filter-states label:nth-child(1) input")
    hidden = [pixel(browser, x, y) for x in columns]
    assert shown != hidden
    browser.run("document.querySelector('#filters button').click()")
    browser.run("new Promise(done => setTimeout(done, 0))")
    browser.settle()
    assert browser.run("unisonoReport.listed") == rows
    assert browser.run("document.querySelectorAll('.chips input:not(:checked)').length") == 0


def check_theme(browser):
    theme = "getComputedStyle(document.body).backgroundColor"
    browser.media(prefers_color_scheme="light")
    light = browser.run(theme)
    corner = pixel(browser, 300, 60)
    click(browser, "#theme")
    dark = browser.run(theme)
    assert light != dark and corner != pixel(browser, 300, 60)
    click(browser, "#theme")
    assert browser.run(theme) == light
    browser.media(prefers_color_scheme="dark")
    assert browser.run(theme) == dark
    browser.media(prefers_color_scheme="light")


def check_names(browser):
    """Whatever can be used says what it is, and nothing can be read only by its colour."""
    unnamed = browser.run(
        "[...document.querySelectorAll('button, input, canvas, [tabindex]')].filter(e =>"
        " !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.closest('label')"
        " || e.textContent.trim())).map(e => e.outerHTML)")
    assert unnamed == [], unnamed
    assert browser.run("document.documentElement.lang") == "en"
    # Contrast of text and of what is quieter, after WCAG 2: at least 4.5 to 1.
    for theme in ["light", "dark"]:
        browser.media(prefers_color_scheme=theme)
        worst = browser.run("""(() => {
          const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          const light = (css) => { const d = document.createElement("div"); d.style.color = css;
            document.body.append(d); const [r, g, b] = getComputedStyle(d).color.match(/[0-9.]+/g).map(Number);
            d.remove(); return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
          const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
          const pairs = [["text", "back"], ["text", "panel"], ["dim", "back"], ["dim", "panel"], ["fault", "panel"]];
          return Math.min(...pairs.map(([a, b]) => ratio(`var(--${a})`, `var(--${b})`)));
        })()""")
        assert worst >= 4.5, (theme, worst)
    browser.media(prefers_color_scheme="light")


def check_whole(browser, path, name):
    browser.media(prefers_color_scheme="light")
    browser.open(path)
    check_quiet(browser)
    shot(browser, f"{name}-light")
    for check in [check_hover, check_zoom, check_filters, check_theme, check_names]:
        check(browser)
    browser.media(prefers_color_scheme="dark")
    browser.run("scrollTo(0, 0)")
    shot(browser, f"{name}-dark")
    check_quiet(browser)


def check_bare(browser, path):
    browser.media(prefers_color_scheme="light")
    browser.open(path)
    check_quiet(browser)
    assert "--trace" in browser.run("document.getElementById('notes').textContent")
    assert browser.run("document.getElementById('timeline-section').hidden")
    assert not browser.run("document.getElementById('loss-section').hidden")
    shot(browser, "bare-light")


def main():
    chromium, simulated, real, bare = sys.argv[1:]
    began = time.monotonic()
    browser = Browser(chromium)
    try:
        check_whole(browser, simulated, "simulated")
        assert browser.run("document.querySelectorAll('#marks tbody tr').length") > 0, "faults are marked"
        check_whole(browser, real, "real")
        check_bare(browser, bare)
    finally:
        browser.close()
    print(f"reports: three pages loaded and used in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
