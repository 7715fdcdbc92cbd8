// The tables: settings, the critical path by task, marks, and updates.

const pair = ({ name, value }) => make("div", {}, make("dt", {}, name), make("dd", {}, value));

function fillSettings() {
  $("settings-section").hidden = data.settings.length === 0;
  $("settings").replaceChildren(...data.settings.map(pair));
}

/** Lists the reasons why the run failed. Each has a link to its mark, if it has a time. */
function fillFailures() {
  $("failures").hidden = data.failures.length === 0;
  $("failures").replaceChildren(...data.failures.map(({ text, at }) => {
    if (at < 0 || !hasTime) return make("p", {}, text);
    const link = make("a", { href: "#timeline-section" }, text);
    link.addEventListener("click", () => showMark(at, at));
    return make("p", {}, link, make("span", { class: "when" }, ` at ${tidy(at, 6)} ◆`));
  }));
}

const sumOf = (list) => list.reduce((a, b) => a + b, 0);

function fillGates() {
  const gates = data.gates.filter((gate) => shownTasks.has(gate.task));
  const most = Math.max(...data.gates.map((gate) => sumOf(gate.by_state)), 1);
  const waited = timeColumn(data.gates.map((gate) => sumOf(gate.by_state)), 5);
  const margin = timeColumn(data.gates.map((gate) => gate.margin), 5);
  setHeading($("gates"), [["Task"], ["On the path, by state"], [`On the path (${waited.unit})`, "number"], ["Share", "number"],
    ["Came last", "number"], [`Sum of delays (${margin.unit})`, "number"]]);
  $("gates").tBodies[0].replaceChildren(...gates.map((gate) => {
    const sum = sumOf(gate.by_state);
    const bar = make("div", { class: "bar", role: "img" });
    const parts = [];
    gate.by_state.forEach((length, state) => {
      if (length === 0) return;
      const part = make("span", { title: `${states[state]} ${time(length)}` });
      part.style.cssText = `width:${(length / most) * 100}%;background:var(--${states[state]})`;
      bar.append(part);
      parts.push(`${states[state]} ${time(length)}`);
    });
    bar.setAttribute("aria-label", parts.join(", "));
    return make("tr", {}, make("th", { scope: "row" }, tasks[gate.task]), make("td", {}, bar),
      numberCell(waited.show(sum)), numberCell(data.length > 0 ? percent(sum / data.length) : NONE),
      numberCell(gate.n_last ? gate.n_last.toLocaleString("en") : NONE),
      numberCell(gate.n_last ? margin.show(gate.margin) : NONE));
  }));
}

function fillMarks() {
  const marks = visibleMarks().filter((mark) => inSteps(mark.step));
  const begins = timeColumn(data.marks.map((mark) => mark.at), 7);
  const lengths = timeColumn(data.marks.map((mark) => Math.max(0, mark.until - mark.at)), 4);
  setHeading($("marks"), [[`Time (${begins.unit})`, "number"], [`Length (${lengths.unit})`, "number"], ["Step", "number"],
    ["Kind"], ["Task"], ["What happened"]]);
  $("marks-about").textContent = marks.length ? count(marks.length, "mark") : "none";
  document.querySelector("#marks-section .scroll").hidden = marks.length === 0;
  $("marks").tBodies[0].replaceChildren(...marks.slice(0, 1000).map((mark) => {
    const row = make("tr", {}, numberCell(begins.show(mark.at)),
      numberCell(mark.until > mark.at ? lengths.show(mark.until - mark.at) : NONE), wholeCell(mark.step),
      make("td", {}, make("span", { class: "tag fault" }, mark.kind)), make("td", {}, taskName(mark.task)), make("td", { class: "text" }, mark.text));
    row.addEventListener("click", () => showMark(mark.at, mark.until));
    return row;
  }));
}

const ROW = 27;
const droppedBy = new Map();
for (const row of data.dropped) {
  if (!droppedBy.has(row.step)) droppedBy.set(row.step, []);
  droppedBy.get(row.step).push(row);
}
let listed = [];
const madeAt = timeColumn(updates.at, 7);
const delay = timeColumn(updates.margin, 5);
const nSlots = updates.slots.reduce((most, slots) => Math.max(most, slots.length), 0);
const inSteps = (step) => (view.fromStep === null || step >= view.fromStep) && (view.toStep === null || step <= view.toStep);

function headUpdates() {
  // Only a trace has times.
  setHeading($("updates"), [["Step", "number"], ...(hasTime ? [[`Made at (${madeAt.unit})`, "number"]] : []),
    [nSlots === 1 ? "Slot: computed by" : "Slots: computed by"],
    ...(hasTime ? [["Came last"], [`Delay (${delay.unit})`, "number"]] : []), ["Not used"]]);
}

function listUpdates() {
  const only = $("only-dropped").checked;
  const isShown = (at) => inSteps(updates.step[at])
    && (updates.workers[at].length === 0 || updates.workers[at].some((worker) => worker < 0 || shownTasks.has(worker)))
    && (!only || droppedBy.has(updates.step[at]));
  listed = [...updates.step.keys()].filter(isShown);
  const unused = data.dropped.length;
  $("updates-about").textContent = `${count(listed.length, "update")}${listed.length < updates.step.length ? ` of ${updates.step.length.toLocaleString("en")}` : ""}, ${count(unused, "gradient")} not used`;
  drawRows();
}

/** Creates only the rows that are in view. Two empty rows replace the rows above and below. */
function drawRows() {
  const box = $("updates-scroll");
  const first = clamp(Math.floor(box.scrollTop / ROW) - 8, 0, listed.length);
  const last = Math.min(listed.length, first + Math.ceil(420 / ROW) + 24);
  const space = (n) => { const cell = make("td"); cell.colSpan = 6; cell.style.cssText = `height:${n * ROW}px;padding:0;border:0`; return make("tr", { "aria-hidden": "true" }, cell); };
  $("updates").tBodies[0].replaceChildren(space(first), ...listed.slice(first, last).map(updateRow), space(listed.length - last));
}

const MAX_SLOTS = 12;

function updateRow(at) {
  const step = updates.step[at];
  const who = make("td");
  updates.slots[at].slice(0, MAX_SLOTS).forEach((slot, place) => {
    const worker = updates.workers[at][place];
    const isLast = worker >= 0 && worker === updates.last[at];
    who.append(make("span", { class: isLast ? "slot last" : "slot" }, `${slot}: ${worker < 0 ? "?" : tasks[worker]}`));
  });
  if (updates.slots[at].length > MAX_SLOTS) who.append(`and ${updates.slots[at].length - MAX_SLOTS} more`);
  const dropped = make("td");
  for (const row of droppedBy.get(step) || []) {
    dropped.append(make("span", { class: `tag ${row.why}` }, `${row.why} ${row.slot}: ${taskName(row.worker)} at ${taskName(row.ps)}`), " ");
  }
  const hasLast = updates.last[at] >= 0;
  const row = make("tr", { class: "row" }, wholeCell(step),
    ...(hasTime ? [numberCell(madeAt.show(updates.at[at]))] : []), who,
    ...(hasTime ? [make("td", {}, hasLast ? tasks[updates.last[at]] : NONE), numberCell(hasLast ? delay.show(updates.margin[at]) : NONE)] : []),
    dropped);
  if (updates.times[at] > 1) who.append(make("span", { class: "tag", title: "recomputed after a rollback" }, `made ${updates.times[at]} times`));
  row.addEventListener("click", () => showStep(step));
  return row;
}
