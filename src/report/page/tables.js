// For whom the run waited, what is marked, and the updates.

function fillGates() {
  const body = $("gates").tBodies[0];
  const most = Math.max(...data.gates.map((gate) => gate.by_state.reduce((a, b) => a + b, 0)), 1);
  body.replaceChildren(...data.gates.filter((gate) => shownTasks.has(gate.task)).map((gate) => {
    const sum = gate.by_state.reduce((a, b) => a + b, 0);
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
    const share = data.length > 0 ? `${((sum / data.length) * 100).toFixed(1)} %` : "";
    return make("tr", {}, make("th", { scope: "row" }, tasks[gate.task]), make("td", {}, bar),
      make("td", { class: "number" }, (sum / 1e9).toFixed(sum < 1e9 ? 4 : 2)), make("td", { class: "number" }, share),
      make("td", { class: "number" }, gate.n_last ? gate.n_last.toLocaleString("en") : "—"),
      make("td", { class: "number" }, gate.n_last ? time(gate.margin) : "—"));
  }));
}

function fillMarks() {
  const marks = visibleMarks().filter((mark) => inSteps(mark.step));
  $("marks-about").textContent = marks.length ? count(marks.length, "mark") : "none: nothing broke";
  document.querySelector("#marks-section .scroll").hidden = marks.length === 0;
  $("marks").tBodies[0].replaceChildren(...marks.slice(0, 1000).map((mark) => {
    const when = time(mark.at, 6) + (mark.until > mark.at ? ` for ${time(mark.until - mark.at)}` : "");
    const row = make("tr", {}, make("td", { class: "number" }, when), make("td", { class: "number" }, mark.step < 0 ? "—" : mark.step.toLocaleString("en")),
      make("td", {}, make("span", { class: "tag fault" }, mark.kind)), make("td", {}, taskName(mark.task)), make("td", { class: "text" }, mark.text));
    row.addEventListener("click", () => {
      const span = Math.max(data.length / 40, mark.until - mark.at);
      show(mark.at - span, Math.max(mark.at, mark.until) + span);
    });
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
const nSlots = Math.max(0, ...updates.slots.map((slots) => slots.length));
const inSteps = (step) => (view.fromStep === null || step >= view.fromStep) && (view.toStep === null || step <= view.toStep);

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

/** Only the rows that can be seen are there; two empty ones stand for the others. */
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
  const row = make("tr", { class: "row" }, make("td", { class: "number" }, step.toLocaleString("en")),
    make("td", { class: "number" }, hasTime ? time(updates.at[at], 6) : "—"), who,
    make("td", {}, updates.last[at] < 0 ? "—" : tasks[updates.last[at]]),
    make("td", { class: "number" }, updates.last[at] < 0 ? "—" : time(updates.margin[at])), dropped);
  if (updates.times[at] > 1) row.cells[0].append(make("span", { class: "quiet", title: "it was made again after a rollback" }, ` ×${updates.times[at]}`));
  row.addEventListener("click", () => showStep(step));
  return row;
}
