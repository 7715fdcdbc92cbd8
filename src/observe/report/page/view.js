// The part of the run that is in view, shared by all plots and tables; and the tip at the pointer.

const lanes = data.lanes.map((lane) => ({ ...lane, begins: beginnings(lane.begin, lane.length) }));
const path = { ...data.path, begins: beginnings(0, data.path.length) };
const updates = data.updates;
const hasTime = data.length > 0;
const shownTasks = new Set(tasks.keys());
const shownStates = new Set(states.keys());
const breaks = hasTime ? findBreaks(idleStretches(), data.length) : [];
/** Begin and end of the view: positions on the time axis, and steps (null is the first or the last). */
const view = { from: 0, to: 1, fromStep: null, toStep: null };
const palette = {};
let scale = makeScale(Math.max(1, data.length), []);
let pending = false;

function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawLoss(); drawSpeed(); drawTimeline(); });
}

function readColors() {
  const names = ["back", "panel", "line", "text", "dim", "fault", "path", "loss", "accuracy", "speed", ...states];
  for (const name of names) palette[name] = color(name);
}

/** Sizes a canvas for the pixels of its screen. Returns its context, width and height in CSS pixels. */
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

/** Switches breaks on or off. The view keeps its times. */
function setBreaks(areShort) {
  const [from, to] = [scale.time(view.from), scale.time(view.to)];
  scale = makeScale(Math.max(1, data.length), areShort ? breaks : []);
  showTimes(from, to);
}

/** Zooms the timeline around a position, which does not move on the screen. */
function zoom(factor, around = (view.from + view.to) / 2) {
  const span = clamp((view.to - view.from) * factor, 50, Math.max(50, scale.length));
  const share = (around - view.from) / (view.to - view.from);
  show(around - share * span, around + (1 - share) * span);
}

/** Shows a range of positions. */
function show(from, to) {
  const span = Math.min(to - from, scale.length);
  view.from = clamp(from, 0, Math.max(0, scale.length - span));
  view.to = view.from + span;
  redraw();
}

/** Shows a range of times. */
function showTimes(from, to) { show(scale.position(from), scale.position(to)); }

function showAll() { show(0, scale.length); }

/** Zooms to a mark: the mark is in the middle of a tenth of the axis, or of its own length. */
function showMark(at, until) {
  const [from, to] = [scale.position(at), scale.position(Math.max(at, until))];
  const margin = Math.max(scale.length / 20, (to - from) / 2);
  show(from - margin, to + margin);
}

/** Returns the times of the previous update and of this update. */
function timeOfStep(step) {
  const at = above(updates.step, step) - 1;
  if (at < 0 || updates.step[at] !== step) return null;
  return { from: at > 0 ? updates.at[at - 1] : 0, to: updates.at[at] };
}

function showStep(step) {
  const when = timeOfStep(step);
  if (!when || !hasTime) return;
  const margin = Math.max(1000, (when.to - when.from) * 0.5);
  showTimes(when.from - margin, when.to + margin);
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
