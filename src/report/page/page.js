// Filters, theme, and the beginning. It is the last of the scripts.

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
    if (view.fromStep === null && view.toStep === null) show(0, data.length);
    else if (first <= last && first < updates.step.length) show(first > 0 ? updates.at[first - 1] : 0, updates.at[last]);
  }
  $("updates-scroll").scrollTop = 0;
  refresh();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readColors();
  redraw();
}

function begin() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  $("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  $("kind").textContent = data.is_simulated ? "· simulated run" : "· run";
  $("title").textContent = data.title;
  if (hasTime) $("clock").textContent = data.is_simulated ? "Times are virtual. " : "Times are of the tasks' own clocks, laid side by side by their messages. ";
  const facts = [...(hasTime && !data.is_simulated ? [{ name: "took", value: time(data.length) }] : []), ...data.facts];
  const losses = data.losses.loss;
  if (losses.length) facts.push({ name: "last loss", value: losses[losses.length - 1] === null ? "not finite" : losses[losses.length - 1].toPrecision(6) });
  const { step: evaluated, accuracy: accuracies } = data.accuracies;
  if (accuracies.length) facts.push({ name: "validation accuracy", value: `${Number(accuracies[accuracies.length - 1].toPrecision(4))} at step ${evaluated[evaluated.length - 1].toLocaleString("en")}` });
  $("facts").replaceChildren(...facts.map(({ name, value }) => make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  $("notes").hidden = data.notes.length === 0;
  $("notes").replaceChildren(...data.notes.map((note) => make("p", {}, note)));
  $("loss-section").hidden = losses.length === 0;
  $("loss-about").textContent = "mean of the slots of each update" + (accuracies.length ? "; dashed: validation accuracy, from 0 at the bottom to 1 at the top" : "");
  for (const id of ["timeline-section", "path-section", "marks-section"]) $(id).hidden = !hasTime;
  $("updates-section").hidden = updates.step.length === 0;
  chips($("filter-tasks"), tasks, shownTasks, false);
  chips($("filter-states"), states, shownStates, true);
  $("filter-states").closest("fieldset").hidden = !hasTime;
  $("updates").tHead.append(make("tr", {}, ...[["Step", "number"], ["Made at", "number"], [nSlots === 1 ? "Slot: computed by" : "Slots: computed by", ""], ["Came last", ""], ["by", "number"], ["Not used", ""]]
    .map(([name, kind]) => make("th", { scope: "col", class: kind }, name))));
  for (const id of ["from-step", "to-step"]) $(id).addEventListener("input", readSteps);
  $("only-dropped").addEventListener("change", listUpdates);
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("filters").addEventListener("reset", () => setTimeout(() => {
    tasks.forEach((_, at) => shownTasks.add(at));
    states.forEach((_, at) => shownStates.add(at));
    readSteps();
  }));
  $("updates-scroll").addEventListener("scroll", drawRows, { passive: true });
  new ResizeObserver(redraw).observe(document.querySelector("main"));
  listenToTimeline();
  refresh();
}

begin();
// For whoever looks at the page with a program: what is shown.
window.unisonoReport = { view, plot, get listed() { return listed.length; } };
