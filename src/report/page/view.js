// What of the run is in view, the same for all parts; and the tip beside the pointer.

const lanes = data.lanes.map((lane) => ({ ...lane, begins: beginnings(lane.begin, lane.length) }));
const path = { ...data.path, begins: beginnings(0, data.path.length) };
const updates = data.updates;
const hasTime = data.length > 0;
const shownTasks = new Set(tasks.keys());
const shownStates = new Set(states.keys());
const view = { from: 0, to: Math.max(1, data.length), fromStep: null, toStep: null };
const palette = {};
let pending = false;

function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawLoss(); drawTimeline(); });
}

function readColors() {
  for (const name of ["back", "panel", "line", "text", "dim", "fault", "path", "loss", ...states]) palette[name] = color(name);
}

/** A canvas made sharp for its screen: its context, width and height in CSS pixels. */
function prepare(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.parentElement.clientWidth;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px " + getComputedStyle(document.body).fontFamily;
  return { context, width, height };
}

/** Zooms the timeline, keeping what is at `around` where it is. */
function zoom(factor, around = (view.from + view.to) / 2) {
  const span = clamp((view.to - view.from) * factor, 50, Math.max(50, data.length));
  const share = (around - view.from) / (view.to - view.from);
  show(around - share * span, around + (1 - share) * span);
}

function show(from, to) {
  const span = Math.min(to - from, Math.max(1, data.length));
  view.from = clamp(from, 0, Math.max(0, data.length - span));
  view.to = view.from + span;
  redraw();
}

/** The time in which an update was made, from the one before it on. */
function timeOfStep(step) {
  const at = above(updates.step, step) - 1;
  if (at < 0 || updates.step[at] !== step) return null;
  return { from: at > 0 ? updates.at[at - 1] : 0, to: updates.at[at] };
}

function showStep(step) {
  const when = timeOfStep(step);
  if (!when || !hasTime) return;
  const margin = Math.max(1000, (when.to - when.from) * 0.5);
  show(when.from - margin, when.to + margin);
  $("timeline-section").scrollIntoView({ block: "nearest" });
}

function tip(event, lines) {
  const box = $("tip");
  if (!lines) { box.hidden = true; return; }
  box.replaceChildren(make("b", {}, lines[0]), ...lines.slice(1).filter(Boolean).map((line) => `\n${line}`));
  box.hidden = false;
  const { innerWidth, innerHeight } = window;
  const { width, height } = box.getBoundingClientRect();
  box.style.left = `${clamp(event.clientX + 14, 4, innerWidth - width - 4)}px`;
  box.style.top = `${event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18}px`;
}
