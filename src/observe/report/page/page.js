// Filters, theme, and the start of the page. This is the last script of the page.

function chips(box, names, shown, swatch) {
  names.forEach((name, at) => {
    const input = make("input", { type: "checkbox", checked: "", "aria-label": `Show ${name}` });
    const label = make("label", {}, input, ...(swatch ? [make("i")] : []), name);
    if (swatch) label.querySelector("i").style.background = `var(--${name})`;
    input.addEventListener("change", () => { if (input.checked) shown.add(at); else shown.delete(at); refresh(); });
    box.append(label);
  });
}

function refresh() { fillGates(); fillMarks(); listUpdates(); redraw(); }

function readSteps() {
  const number = (id) => { const value = $(id).value.trim(); return value === "" || !Number.isFinite(Number(value)) ? null : Number(value); };
  [view.fromStep, view.toStep] = [number("from-step"), number("to-step")];
  if (hasTime && updates.step.length) {
    const first = view.fromStep === null ? 0 : above(updates.step, view.fromStep - 1);
    const last = view.toStep === null ? updates.step.length - 1 : above(updates.step, view.toStep) - 1;
    if (view.fromStep === null && view.toStep === null) showAll();
    else if (first <= last && first < updates.step.length) showTimes(first > 0 ? updates.at[first - 1] : 0, updates.at[last]);
  }
  $("updates-scroll").scrollTop = 0;
  refresh();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readColors();
  redraw();
}

/** Returns the facts of the document, followed by the last values of its curves. */
function allFacts() {
  const facts = [];
  if (data.started_ms !== null) facts.push({ name: "started", value: `${new Date(data.started_ms).toISOString().slice(0, 19).replace("T", " ")} UTC` });
  if (hasTime && !data.is_simulated) facts.push({ name: "took", value: time(data.length) });
  facts.push(...data.facts);
  const losses = data.losses.value;
  if (losses.length) facts.push({ name: "last loss", value: losses[losses.length - 1] === null ? "not finite" : losses[losses.length - 1].toPrecision(6) });
  const { step, value: accuracy } = data.accuracies;
  if (step.length) facts.push({ name: "validation accuracy", value: `${percent(accuracy[step.length - 1], 2)} at step ${step[step.length - 1].toLocaleString("en")}` });
  return facts;
}

/** Links scroll to below the filters, which stay at the top of the window. */
function keepClearOfFilters() {
  const isSticky = getComputedStyle($("filters")).position === "sticky";
  document.documentElement.style.scrollPaddingTop = isSticky ? `${$("filters").offsetHeight + 8}px` : "0";
}

function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("kind").textContent = data.is_simulated ? "· simulated run" : "· run";
  $("title").textContent = data.title;
  $("version").textContent = `Made by unisono ${data.version}. `;
  if (hasTime) $("clock").textContent = data.is_simulated ? "Times are virtual. " : "Times are those of the tasks' own clocks, aligned by their messages. ";
  $("facts").replaceChildren(...allFacts().map(pair));
  $("notes").hidden = data.notes.length === 0;
  $("notes").replaceChildren(...data.notes.map((note) => make("p", {}, note)));
  fillFailures();
  fillSettings();
  fillLossLegend();
  $("loss-chart").hidden = data.losses.step.length === 0;
  $("speed-chart").hidden = data.rates.step.length === 0;
  $("loss-section").hidden = $("loss-chart").hidden && $("speed-chart").hidden;
  for (const id of ["timeline-section", "path-section", "marks-section"]) $(id).hidden = !hasTime;
  $("updates-section").hidden = updates.step.length === 0;
  chips($("filter-tasks"), tasks, shownTasks, false);
  chips($("filter-states"), states, shownStates, true);
  $("filter-states").closest("fieldset").hidden = !hasTime;
  headUpdates();
  $("shorten-label").hidden = breaks.length === 0;
  // Virtual time passes at no cost, so that simulated runs have long timers.
  $("shorten").checked = data.is_simulated;
  scale = makeScale(Math.max(1, data.length), data.is_simulated ? breaks : []);
  showAll();
  for (const id of ["from-step", "to-step"]) $(id).addEventListener("input", readSteps);
  $("only-dropped").addEventListener("change", listUpdates);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(() => {
    tasks.forEach((_, at) => shownTasks.add(at));
    states.forEach((_, at) => shownStates.add(at));
    readSteps();
  }));
  $("updates-scroll").addEventListener("scroll", drawRows, { passive: true });
  new ResizeObserver(() => { keepClearOfFilters(); redraw(); }).observe(document.querySelector("main"));
  listenToTimeline();
  refresh();
}

begin();
// The state of the page, for tests.
window.unisonoReport = { view, plot, makeScale, breaks, get scale() { return scale; }, get listed() { return listed.length; } };
