#!/usr/bin/env python3
"""Opens reports in headless Chromium, and tests their controls.

usage: check.py CHROMIUM SIMULATED.html REAL.html BARE.html FAILED.html SLOW.html

The pages are those of a simulated run with faults, a real run, a run without traces, a simulated run
that fails after a long idle stretch, and a simulated run with slow checkpoints. With SHOTS=DIR, the check
writes light and dark screenshots to that folder.
"""

import os
import re
import sys
import time

from browser import Browser

SHOTS = os.environ.get("SHOTS")
VIEW = "[unisonoReport.view.from, unisonoReport.view.to]"


def shot(browser, name):
    if SHOTS:
        browser.screenshot(os.path.join(SHOTS, f"{name}.png"))


def place(browser, selector):
    """Scrolls to an element, and returns its position and size in the window."""
    browser.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
    browser.settle()
    return browser.run(
        f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
        " return [r.left, r.top, r.width, r.height]; })()")


def tip(browser):
    return browser.run("tip.hidden ? '' : tip.textContent")


def pixel(browser, x, y):
    """Returns the colour of the timeline at a position."""
    return browser.run(
        "(() => { const c = document.getElementById('timeline'); const r = c.width / c.clientWidth;"
        f" return [...c.getContext('2d').getImageData({x} * r, {y} * r, 1, 1).data]; }})()")


def click(browser, selector):
    browser.run(f"document.querySelector({selector!r}).click()")
    browser.settle()


def check_quiet(browser):
    assert browser.errors == [], browser.errors
    requested = [url for url in browser.requests if not url.startswith("file://")]
    assert requested == [], requested


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
    # A hidden state is drawn without its colour.
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


# The two lane colours with the smallest distance in OKLab, among states, lines and the panel behind them. A
# distance of 0.02 is just noticeable.
NEAREST_COLOURS = """(() => {
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const lab = (name) => { const d = document.createElement("div"); d.style.color = `var(--${name})`;
    document.body.append(d); const [r, g, b] = getComputedStyle(d).color.match(/[0-9.]+/g).map(Number).map(part);
    d.remove();
    const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
    const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
    const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
    return [0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
      1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
      0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s]; };
  const names = ["panel", "line", "wait", "join", "down", "compute", "apply", "send", "save"];
  const pairs = names.flatMap((a, at) => names.slice(at + 1).map((b) => [Math.hypot(...lab(a).map((it, i) => it - lab(b)[i])), a, b]));
  return pairs.sort((a, b) => a[0] - b[0])[0];
})()"""


def texts(browser, canvas):
    """Returns the texts that a canvas shows."""
    return browser.run(f"drawnTexts[{canvas!r}] || []")


def pairs(browser, selector):
    """Returns the names and values of a list of facts."""
    return dict(browser.run(
        f"[...document.querySelectorAll('{selector} > div')].map(div =>"
        " [div.children[0].textContent, div.children[1].textContent])"))


def check_facts(browser, is_simulated, has_accuracy):
    settings, facts = pairs(browser, "#settings"), pairs(browser, "#facts")
    for name in ["hidden layers", "batch size", "learning rate", "optimizer", "seed", "parameter servers",
                 "workers", "replicas to aggregate", "training steps"]:
        assert settings.get(name), (name, settings)
    assert ("seed of the simulator" in settings) == is_simulated, settings
    date = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert is_simulated == ("started" not in facts), facts
    assert is_simulated or re.fullmatch(date, facts["started"]), facts
    if has_accuracy:
        assert re.fullmatch(r"\d+\.\d\d % at step [\d,]+", facts["validation accuracy"]), facts
    foot = browser.run("document.querySelector('footer').textContent")
    assert re.search(r"Made by unisono \d+\.\d+\.\d+", foot), foot


# Whether the loss plot shows the colour of checkpoints just above its step axis.
HAS_CHECKPOINTS = """(() => {
  const canvas = document.getElementById("loss");
  const d = document.createElement("div"); d.style.color = "var(--save)"; document.body.append(d);
  const wanted = getComputedStyle(d).color.match(/[0-9]+/g).map(Number); d.remove();
  const y = canvas.height * (1 - 41 / 250);
  const { data } = canvas.getContext("2d").getImageData(0, y, canvas.width, 1);
  for (let at = 0; at < data.length; at += 4) if (wanted.every((c, i) => data[at + i] === c)) return true;
  return false;
})()"""


def check_axes(browser, is_simulated, has_accuracy, has_time=True):
    loss = texts(browser, "loss")
    assert "loss" in loss and "step" in loss, loss
    assert ("validation accuracy" in loss and "100 %" in loss) == has_accuracy, loss
    speed = texts(browser, "speed")
    assert ("steps/s of virtual time" if is_simulated else "steps/s") in speed and "step" in speed, speed
    legend = browser.run("document.getElementById('loss-legend').textContent")
    assert "checkpoint" in legend and "loss" in legend, legend
    assert ("validation accuracy" in legend) == has_accuracy, legend
    assert browser.run(HAS_CHECKPOINTS), "no checkpoint is drawn"
    if has_time:
        timeline = texts(browser, "timeline")
        assert ("virtual time" if is_simulated else "time") in timeline, timeline
        ticks = [text for text in timeline if re.fullmatch(r"[\d.]+ (s|ms|µs|ns)", text)]
        assert len(ticks) >= 2, timeline


def check_columns(browser):
    """Checks that each numeric column of a table has one unit, in its heading, and one number of
    decimals."""
    for table in ["gates", "marks", "updates"]:
        heads, rows, aligned = browser.run(
            f"(() => {{ const t = document.getElementById({table!r});"
            " const rows = [...t.tBodies[0].rows].filter(r => r.cells.length > 1);"
            " return [[...t.tHead.rows[0].cells].map(c => [c.textContent, c.className]),"
            "  rows.map(r => [...r.cells].map(c => c.textContent)),"
            "  [...t.tHead.rows, ...rows].every(r => [...r.cells].every(c =>"
            "   !c.className.includes('number') || getComputedStyle(c).textAlign === 'right'))]; })()")
        assert aligned, table
        for at, (name, kind) in enumerate(heads):
            if kind != "number":
                continue
            values = [row[at] for row in rows if row[at] != "—"]
            decimals = {len(value.removesuffix(" %").partition(".")[2]) for value in values}
            assert len(decimals) <= 1, (table, name, values)
            if name not in ("Step", "Came last", "Share"):
                assert re.search(r" \((s|ms|µs|ns)\)$", name), (table, name)
                assert all(re.fullmatch(r"[\d.]+", value) for value in values), (table, name, values)


def check_shares(browser):
    """Checks that, with many spans in view, each column of a lane has one height for each state."""
    browser.run("timeline.focus()")
    browser.key("0")
    words = browser.run("document.getElementById('view').textContent")
    assert re.search(r"Each column shows shares over [\d.]+ (s|ms|µs)", words), words
    columns, striped = browser.run("""(() => {
      const { lanes, shares, x } = unisonoReport.plot;
      const canvas = document.getElementById("timeline");
      const [context, ratio] = [canvas.getContext("2d"), canvas.width / canvas.clientWidth];
      const data = JSON.parse(document.getElementById("data").textContent);
      const isCrossed = ({ left, right }) =>
        data.marks.some((mark) => left - 2 < x(mark.at) && x(mark.at) < right + 2)
        || unisonoReport.breaks.some(({ from, to }) => left < x(to) + 4 && x(from) - 4 < right);
      const { lane, y } = lanes[0];
      const pixels = (px) => context.getImageData(px * ratio, (y + 1) * ratio, 1, 28).data;
      const isAlike = (a, b) => a.every((value, at) => value === b[at]);
      const columns = shares.filter((it) => it.task === lane.task && it.right - it.left >= 7.5 && !isCrossed(it));
      const isCalm = ({ left }) => [4, 6].every((at) => isAlike(pixels(left + 2), pixels(left + at)));
      return [columns.length, columns.filter((it) => !isCalm(it)).map(({ left }) => left)];
    })()""")
    assert columns > 0 and striped == [], (columns, striped)


def check_scale(browser):
    """Checks that the time axis is linear outside of breaks, and that it is inverted correctly."""
    length, breaks = 90_200, [[100, 30_100], [30_150, 60_150], [60_200, 90_200]]
    whole, at, errors = browser.run(f"""(() => {{
      const scale = unisonoReport.makeScale({length}, {breaks}.map(([from, to]) => ({{ from, to }})));
      const times = [-5, 0, 50, 100, 15100, 30100, 30125, 30150, 60150, 60180, 60200, 75000, 90200, 90300];
      return [scale.length, times.map(scale.position), times.map((t) => scale.time(scale.position(t)) - t)];
    }})()""")
    outside = length - 3 * 30_000
    width = 0.03 * outside
    assert abs(whole - (outside + 3 * width)) < 1e-9, whole
    assert max(map(abs, errors)) < 1e-6, errors
    assert all(a < b for a, b in zip(at, at[1:])), at
    expected = [-5, 0, 50, 100, 100 + width / 2, 100 + width, 125 + width, 150 + width, 150 + 2 * width,
                180 + 2 * width, 200 + 2 * width, None, whole, whole + 100]
    assert all(b is None or abs(a - b) < 1e-6 for a, b in zip(at, expected)), (at, expected)
    plain = browser.run("(() => { const s = unisonoReport.makeScale(1000, []);"
                        " return [s.length, s.position(123.5), s.time(123.5)]; })()")
    assert plain == [1000, 123.5, 123.5], plain


def check_idle(browser, breaks):
    """Checks that no task works in a break, and that no mark lies in one."""
    data = browser.run("JSON.parse(document.getElementById('data').textContent)")
    working = [data["states"].index(state) for state in ["compute", "apply", "send", "save"]]
    busy = [(mark["at"], mark["at"]) for mark in data["marks"]]
    busy += [(mark["until"], mark["until"]) for mark in data["marks"]]
    for lane in data["lanes"]:
        begin = lane["begin"]
        for length, state in zip(lane["length"], lane["state"]):
            if state in working:
                busy.append((begin, begin + length))
            begin += length
        busy += [(begin, begin + length) for begin, length, _ in lane["files"]]
    for it in breaks:
        within = [(begin, end) for begin, end in busy if begin < it["to"] and end > it["from"]]
        assert within == [], (it, within)


def check_breaks(browser):
    """Checks that long idle stretches are shortened and labelled with their lengths, and that the switch
    turns this off."""
    browser.run("timeline.focus()")
    browser.key("0")
    breaks, length, real = browser.run(
        "(() => { const { breaks, scale } = unisonoReport; return [breaks, scale.length, scale.time(scale.length)]; })()")
    assert breaks and length < real / 3, (breaks, length, real)
    check_idle(browser, breaks)
    longest = max(it["to"] - it["from"] for it in breaks)
    label = f"{longest / 1e9:.3g} s"
    assert label in texts(browser, "timeline"), (label, texts(browser, "timeline"))
    assert "shortened" in browser.run("document.getElementById('view').textContent")
    assert browser.run("document.getElementById('shorten').checked")
    click(browser, "#shorten")
    assert browser.run(VIEW) == [0, real]
    assert "shortened" not in browser.run("document.getElementById('view').textContent")
    click(browser, "#shorten")
    begin, end = browser.run(VIEW)
    assert begin == 0 and abs(end - length) < 1, (begin, end, length)


def check_failure(browser):
    """Checks that a click on a failure scrolls and zooms to its mark."""
    browser.run("scrollTo(0, 0)")
    links = "document.querySelectorAll('#failures a')"
    assert browser.run(f"{links}.length") > 0, browser.run("document.getElementById('failures').outerHTML")
    browser.run(f"{links}[0].click()")
    browser.settle()
    from_, to, whole, has_mark = browser.run(
        "(() => { const { view, scale } = unisonoReport;"
        " const tags = [...document.querySelectorAll('#marks .tag')];"
        " return [view.from, view.to, scale.length, tags.some(t => t.textContent === 'failure')]; })()")
    assert has_mark and to - from_ < 0.2 * whole, (from_, to, whole, has_mark)
    at = browser.run("JSON.parse(document.getElementById('data').textContent).failures[0].at")
    shown = browser.run(f"unisonoReport.plot.x({at})")
    assert 84 <= shown <= 1280, shown
    top, covered = browser.run("['timeline-title', 'filters'].map(id => document.getElementById(id).getBoundingClientRect())"
                               ".map((box, at) => at === 0 ? box.top : box.bottom)")
    assert covered <= top < 900, (covered, top)


def check_names(browser):
    """Checks that each control has a name, that each text has enough contrast, and that lane colours
    differ."""
    unnamed = browser.run(
        "[...document.querySelectorAll('button, input, canvas, [tabindex]')].filter(e =>"
        " !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.closest('label')"
        " || e.textContent.trim())).map(e => e.outerHTML)")
    assert unnamed == [], unnamed
    assert browser.run("document.documentElement.lang") == "en"
    # WCAG 2 requires a contrast of at least 4.5 to 1, also for dim text.
    for theme in ["light", "dark"]:
        browser.media(prefers_color_scheme=theme)
        worst = browser.run("""(() => {
          const part = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          const light = (css) => { const d = document.createElement("div"); d.style.color = css;
            document.body.append(d); const [r, g, b] = getComputedStyle(d).color.match(/[0-9.]+/g).map(Number);
            d.remove(); return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b); };
          const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
          const pairs = [["text", "back"], ["text", "panel"], ["dim", "back"], ["dim", "panel"], ["fault", "panel"],
            ["loss", "panel"], ["accuracy", "panel"], ["speed", "panel"]];
          return Math.min(...pairs.map(([a, b]) => ratio(`var(--${a})`, `var(--${b})`)));
        })()""")
        assert worst >= 4.5, (theme, worst)
        nearest = browser.run(NEAREST_COLOURS)
        assert nearest[0] >= 0.06, (theme, nearest)
    browser.media(prefers_color_scheme="light")


def check_whole(browser, path, name, is_simulated):
    browser.media(prefers_color_scheme="light")
    browser.open(path)
    check_quiet(browser)
    shot(browser, f"{name}-light")
    check_facts(browser, is_simulated, has_accuracy=not is_simulated)
    check_axes(browser, is_simulated, has_accuracy=not is_simulated)
    check_columns(browser)
    check_scale(browser)
    check_idle(browser, browser.run("unisonoReport.breaks"))
    assert browser.run("document.getElementById('failures').hidden")
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
    check_facts(browser, is_simulated=False, has_accuracy=True)
    check_axes(browser, is_simulated=False, has_accuracy=True, has_time=False)
    shot(browser, "bare-light")


def check_failed(browser, path):
    browser.media(prefers_color_scheme="light")
    browser.open(path)
    check_quiet(browser)
    shot(browser, "failed-light")
    check_breaks(browser)
    check_failure(browser)
    check_columns(browser)
    browser.media(prefers_color_scheme="dark")
    browser.run("timeline.focus()")
    browser.key("0")
    browser.run("scrollTo(0, 0)")
    shot(browser, "failed-dark")
    browser.media(prefers_color_scheme="light")
    check_quiet(browser)


def main():
    chromium, simulated, real, bare, failed, slow = sys.argv[1:]
    began = time.monotonic()
    browser = Browser(chromium)
    try:
        check_whole(browser, simulated, "simulated", is_simulated=True)
        assert browser.run("document.querySelectorAll('#marks tbody tr').length") > 0, "faults are marked"
        check_whole(browser, real, "real", is_simulated=False)
        check_shares(browser)
        check_bare(browser, bare)
        check_failed(browser, failed)
        browser.open(slow)
        check_idle(browser, browser.run("unisonoReport.breaks"))
        check_quiet(browser)
    finally:
        browser.close()
    print(f"reports: five pages loaded and used in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
