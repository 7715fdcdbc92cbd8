// The timeline: lanes, the critical path, messages, marks and breaks.

const LANE = 30;
const GAP = 12;
const FILES = 8;
const LEFT = 84;
const TOP = 44;
/** Width of a column that shows shares, in pixels. */
const COLUMN = 8;
/** Maximum number of spans in a column that are drawn one by one. */
const MAX_IN_COLUMN = 4;
const shownLanes = () => lanes.filter((lane) => shownTasks.has(lane.task));
const visibleMarks = () => data.marks.filter((mark) => mark.task < 0 || shownTasks.has(mark.task));
/**
 * `x` and `time` map times to pixels and back, `unit` is the length of a pixel on the axis, and `shares`
 * holds the task and the left and right edge of each column that shows shares.
 */
const plot = { width: 1, right: 1, unit: 1, lanes: [], x: () => 0, time: () => 0, shares: [] };

function laneHeight(lane) { return LANE + (lane.files.length > 0 ? FILES + 3 : 0); }

function drawTimeline() {
  if (!hasTime) return;
  const list = shownLanes();
  const height = TOP + list.reduce((sum, lane) => sum + laneHeight(lane) + GAP, 0) + 6;
  const { context, width } = prepare($("timeline"), height);
  const right = width - 8;
  const unit = (view.to - view.from) / (right - LEFT);
  const x = (time) => LEFT + (scale.position(time) - view.from) / unit;
  const position = (px) => view.from + (px - LEFT) * unit;
  Object.assign(plot, { width, right, unit, lanes: [], x, position, time: (px) => scale.time(position(px)), shares: [] });
  drawAxis(context, height);
  drawBands(context, height);
  let y = TOP;
  for (const lane of list) {
    context.fillStyle = palette.text; context.textAlign = "left"; context.textBaseline = "middle";
    context.fillText(tasks[lane.task], 0, y + LANE / 2);
    plot.lanes.push({ lane, y, height: laneHeight(lane) });
    context.save();
    context.beginPath(); context.rect(LEFT, y - 6, right - LEFT, laneHeight(lane) + 12); context.clip();
    drawLane(context, lane, y);
    drawFiles(context, lane, y + LANE + 3);
    context.restore();
    y += laneHeight(lane) + GAP;
  }
  context.save();
  context.beginPath(); context.rect(LEFT - 6, 0, right - LEFT + 12, height); context.clip();
  drawPath(context);
  drawMessages(context);
  drawBreaks(context, height);
  drawMarks(context, height);
  context.restore();
  describe();
}

const visibleBreaks = () => scale.breaks.filter(({ from, to }) => scale.position(to) > view.from && scale.position(from) < view.to);

/** Draws each break as a hatched band over all lanes, with zigzag sides and its length inside. */
function drawBreaks(context, height) {
  for (const { from, to } of visibleBreaks()) {
    const [left, right, top] = [plot.x(from), plot.x(to), TOP - 12];
    const side = (x, back) => {
      const n = Math.ceil((height - top) / 6);
      for (let at = 0; at <= n; at++) {
        const step = back ? n - at : at;
        context.lineTo(x + (step % 2 ? 2.5 : -2.5), Math.min(height, top + step * 6));
      }
    };
    context.save();
    context.beginPath(); side(left + 3, false); side(right - 3, true); context.closePath();
    context.fillStyle = palette.panel; context.fill();
    context.strokeStyle = palette.dim; context.lineWidth = 1; context.stroke();
    context.clip();
    hatch(context, { left, top, right, bottom: height }, 7);
    drawBreakLength(context, tidy(to - from, 3), (Math.max(left, LEFT) + Math.min(right, plot.right)) / 2, (top + height) / 2);
    context.restore();
  }
}

/** Writes the length of a break upwards, since the band is narrow. */
function drawBreakLength(context, text, x, y) {
  const width = context.measureText(text).width;
  context.translate(x, y);
  context.rotate(-Math.PI / 2);
  context.fillStyle = palette.panel;
  context.fillRect(-width / 2 - 5, -9, width + 10, 18);
  context.fillStyle = palette.text; context.textAlign = "center"; context.textBaseline = "middle";
  context.fillText(text, 0, 0.5);
}

/** Draws slanted lines over an area, in the colour that is set. */
function hatch(context, { left, top, right, bottom }, distance) {
  context.globalAlpha = 0.4;
  context.beginPath();
  for (let at = Math.floor((left - bottom) / distance) * distance; at < right; at += distance) {
    context.moveTo(at, bottom); context.lineTo(at + bottom - top, top);
  }
  context.stroke();
  context.globalAlpha = 1;
}

function drawAxis(context, height) {
  // Before a break and after it, labels may be too close to each other.
  let free = LEFT;
  context.lineWidth = 1; context.textBaseline = "middle";
  context.fillStyle = palette.dim; context.textAlign = "left";
  context.fillText(data.is_simulated ? "virtual time" : "time", 0, 9);
  context.textAlign = "center";
  const distance = tickDistance(view.to - view.from, (plot.right - LEFT) / 120);
  const digits = Math.max(3, Math.ceil(Math.log10(Math.max(1, scale.time(view.to) / distance))) + 1);
  // Between breaks, time runs as positions do.
  const ends = [view.from, ...visibleBreaks().flatMap(({ from, to }) => [scale.position(from), scale.position(to)]), view.to];
  for (let at = 0; at + 1 < ends.length; at += 2) {
    for (const tick of ticksIn(scale.time(ends[at]), scale.time(ends[at + 1]), distance)) {
      const x = plot.x(tick);
      context.strokeStyle = palette.line;
      context.beginPath(); context.moveTo(x, TOP - 12); context.lineTo(x, height); context.stroke();
      const text = tidy(tick, digits);
      const room = context.measureText(text).width / 2;
      if (x - room < free || x + room > plot.right) continue;
      context.fillText(text, x, 9);
      free = x + room + 10;
    }
  }
}

/** Formats a time on an axis, without trailing zeros. */
const tidy = (ns, digits) => ns === 0 ? "0" : time(ns, digits).replace(/\.0+ /, " ").replace(/(\.\d*[1-9])0+ /, "$1 ");

/**
 * Draws the spans of a lane one by one where there are few of them, and elsewhere columns with the
 * share of each state. Columns have fixed places on the axis, so that shares stay while the view pans.
 */
function drawLane(context, lane, y) {
  const length = COLUMN * plot.unit;
  const [first, last] = [Math.floor(view.from / length), Math.floor(view.to / length)];
  let exactFrom = null;
  for (let column = first; column <= last + 1; column++) {
    const spans = column <= last ? spansIn(lane, scale.time(column * length), scale.time((column + 1) * length)) : null;
    const isExact = spans !== null && spans.end - spans.begin <= MAX_IN_COLUMN;
    if (isExact) { exactFrom ??= column; continue; }
    if (exactFrom !== null) drawSpans(context, lane, y, scale.time(exactFrom * length), scale.time(column * length));
    exactFrom = null;
    if (spans) plot.shares.push({ task: lane.task, ...drawShares(context, lane, y, spans) });
  }
}

/** Returns the range of the spans of a lane that overlap the period between two times. */
function spansIn({ begins }, from, to) {
  const n = begins.length - 1;
  return { from, to, begin: clamp(above(begins, from) - 1, 0, n), end: clamp(above(begins, to), 0, n) };
}

function drawSpans(context, lane, y, from, to) {
  const { begins, state } = lane;
  const { begin, end } = spansIn(lane, from, to);
  for (let at = begin; at < end; at++) {
    const [left, right] = [plot.x(Math.max(from, begins[at])), plot.x(Math.min(to, begins[at + 1]))];
    // If the span is wide enough, a gap is left at its end.
    const gap = begins[at + 1] <= to && right - left > 3 ? 0.6 : 0;
    if (right > left) fill(context, state[at], left, Math.max(0.5, right - left - gap), y, LANE);
  }
}

const STACK = [COMPUTE, APPLY, SAVE, SEND, WAIT, JOIN, DOWN];

/** Draws the share of each state in a column, and returns the column's edges. */
function drawShares(context, { begins, state }, y, { from, to, begin, end }) {
  const shares = new Float64Array(states.length);
  for (let at = begin; at < end; at++) {
    shares[state[at]] += Math.max(0, Math.min(to, begins[at + 1]) - Math.max(from, begins[at]));
  }
  const sum = shares.reduce((a, b) => a + b, 0);
  const left = plot.x(Math.max(from, begins[0]));
  const width = plot.x(Math.min(to, begins[begins.length - 1])) - left;
  let [share, bottom] = [0, y + LANE];
  for (const it of STACK) {
    share += sum > 0 ? shares[it] / sum : 0;
    // A border within a row of pixels would be a blend of both states.
    const top = Math.round(y + LANE * (1 - share));
    // Neighbours overlap a little, so that no line shows between them.
    if (top < bottom) fill(context, it, left, width + 0.3, top, bottom - top);
    bottom = top;
  }
  return { left, right: left + width };
}

function fill(context, state, left, width, y, height) {
  context.fillStyle = shownStates.has(state) ? palette[states[state]] : palette.panel;
  context.fillRect(left, y, width, height);
  if (state === DOWN && shownStates.has(state)) {
    context.save();
    context.beginPath(); context.rect(left, y, width, height); context.clip();
    context.strokeStyle = palette.fault; context.lineWidth = 1;
    hatch(context, { left: Math.max(left, LEFT), top: y, right: Math.min(left + width, plot.right), bottom: y + height }, 6);
    context.restore();
  }
}

function drawFiles(context, lane, y) {
  if (!shownStates.has(SAVE)) return;
  context.fillStyle = palette.save;
  for (const [begin, length] of lane.files) {
    const [left, right] = [plot.x(begin), plot.x(begin + length)];
    if (right >= LEFT && left <= plot.right) context.fillRect(left, y, Math.max(1.5, right - left), FILES);
  }
}

/** Draws the critical path above the lanes: a line, or in columns where it has many parts. */
function drawPath(context) {
  const places = new Map(plot.lanes.map(({ lane, y }) => [lane.task, y]));
  const begin = Math.max(0, above(path.begins, scale.time(view.from)) - 1);
  const end = Math.min(path.task.length, above(path.begins, scale.time(view.to)));
  if ((end - begin) * COLUMN > plot.width) { drawPathShares(context, places, begin, end); return; }
  context.strokeStyle = palette.path; context.lineWidth = 2;
  context.beginPath();
  let last = null;
  for (let at = begin; at < end; at++) {
    const y = places.get(path.task[at]);
    const [left, right] = [plot.x(path.begins[at]), plot.x(path.begins[at + 1])];
    if (y === undefined) { last = null; continue; }
    if (last !== null && last !== y) { context.moveTo(left, last - 3.5); context.lineTo(left, y - 3.5); }
    context.moveTo(left, y - 3.5); context.lineTo(Math.max(right, left + 0.4), y - 3.5);
    last = y;
  }
  context.stroke();
}

/** The height of each column is the share of the path that is the task's. Lines from lane to lane would
    hide everything here. */
function drawPathShares(context, places, begin, end) {
  const length = COLUMN * plot.unit;
  const first = Math.floor(view.from / length);
  const n = Math.floor(view.to / length) - first + 1;
  const shares = new Map([...places.keys()].map((task) => [task, new Float64Array(n)]));
  for (let at = begin; at < end; at++) {
    const share = shares.get(path.task[at]);
    if (!share) continue;
    const [from, to] = [scale.position(path.begins[at]) / length - first, scale.position(path.begins[at + 1]) / length - first];
    for (let column = Math.max(0, Math.floor(from)); column < Math.min(n, to); column++) {
      share[column] += Math.min(to, column + 1) - Math.max(from, column);
    }
  }
  context.fillStyle = palette.path;
  for (const [task, share] of shares) {
    const bottom = places.get(task) - 1;
    share.forEach((part, column) => {
      if (part <= 0.02) return;
      const height = 1 + 5 * Math.min(1, part);
      const left = LEFT + ((first + column) * length - view.from) / plot.unit;
      context.fillRect(left, bottom - height, COLUMN - 1, height);
    });
  }
}

const MAX_ARROWS = 160;
const longestWay = data.messages.took.reduce((a, b) => Math.max(a, b), 0);

function drawMessages(context) {
  const { from, to, sent, took } = data.messages;
  const places = new Map(plot.lanes.map(({ lane, y }) => [lane.task, y]));
  const [begin, end] = [scale.time(view.from), scale.time(view.to)];
  const shown = [];
  // Messages ascend by the time of sending.
  for (let at = above(sent, begin - longestWay - 1); at < sent.length && sent[at] <= end && shown.length <= MAX_ARROWS; at++) {
    if (sent[at] + took[at] >= begin && places.has(from[at]) && places.has(to[at])) shown.push(at);
  }
  if (shown.length > MAX_ARROWS || !shownStates.has(SEND)) return;
  context.strokeStyle = palette.dim; context.fillStyle = palette.dim; context.lineWidth = 1; context.globalAlpha = 0.75;
  for (const at of shown) {
    const [a, b] = [places.get(from[at]), places.get(to[at])];
    const [y1, y2] = a < b ? [a + LANE, b] : [a, b + LANE];
    const [x1, x2] = [plot.x(sent[at]), plot.x(sent[at] + took[at])];
    context.beginPath(); context.moveTo(x1, y1); context.lineTo(x2, y2); context.stroke();
    context.beginPath(); context.arc(x2, y2, 2, 0, 7); context.fill();
  }
  context.globalAlpha = 1;
}

/** Draws faults that have a length, behind the lanes. */
function drawBands(context, height) {
  context.fillStyle = palette.fault;
  context.globalAlpha = 0.14;
  for (const mark of visibleMarks().filter((mark) => mark.until > mark.at)) {
    const left = plot.x(mark.at);
    const [begin, end] = [Math.max(LEFT, left), Math.min(plot.right, Math.max(plot.x(mark.until), left + 1))];
    if (begin < end) context.fillRect(begin, TOP - 12, end - begin, height);
  }
  context.globalAlpha = 1;
}

function drawMarks(context, height) {
  for (const mark of visibleMarks()) {
    const x = plot.x(mark.at);
    if (x < LEFT - 6 || x > plot.right + 6) continue;
    const isFailure = mark.kind === "failure";
    context.fillStyle = palette.fault; context.strokeStyle = palette.fault;
    context.globalAlpha = isFailure ? 1 : 0.55; context.lineWidth = isFailure ? 2 : 1; context.setLineDash(isFailure ? [] : [2, 3]);
    context.beginPath(); context.moveTo(x, 30); context.lineTo(x, height); context.stroke();
    context.setLineDash([]); context.globalAlpha = 1;
    diamond(context, x, 25, isFailure ? 7 : 5);
  }
}

/** Describes the timeline in words, also for readers who cannot see it. */
function describe() {
  const [from, to] = [scale.time(view.from), scale.time(view.to)];
  const steps = above(updates.at, to) - 1;
  const first = above(updates.at, from);
  const range = steps >= first && first < updates.step.length
    ? `, updates ${updates.step[first].toLocaleString("en")} to ${updates.step[steps].toLocaleString("en")}` : "";
  const n = visibleBreaks().length;
  $("view").textContent = [
    `${tidy(from, 7)} to ${tidy(to, 7)}: ${time(to - from)}${range}.`,
    "The line above the lanes is the critical path.",
    plot.shares.length > 0 && `Each column shows shares over ${time(COLUMN * plot.unit)}; zoom in to see single spans.`,
    n > 0 && `${count(n, "idle stretch", "es")} in which nothing happened ${n === 1 ? "is" : "are"} shortened; each shows its length.`,
  ].filter(Boolean).join(" ");
}

function under(event) {
  const row = plot.lanes.find(({ y, height }) => event.offsetY >= y - 5 && event.offsetY <= y + height + 2);
  const at = plot.time(event.offsetX);
  if (event.offsetY < TOP - 10) {
    const near = visibleMarks().filter((mark) => Math.abs(plot.x(mark.at) - event.offsetX) < 7);
    return near.length ? [time(near[0].at, 6), ...near.slice(0, 6).map((mark) => `◆ ${mark.text}`)] : null;
  }
  if (!row || event.offsetX < LEFT) return null;
  const { lane, y } = row;
  if (event.offsetY > y + LANE) {
    const file = lane.files.find(([begin, length]) => at >= begin && at <= begin + length);
    return file ? [`${tasks[lane.task]}: reads or writes a checkpoint`, `step ${file[2] < 0 ? "—" : file[2]}`, `${time(file[1])} from ${time(file[0], 6)}`] : null;
  }
  const place = above(lane.begins, at) - 1;
  if (place < 0 || place >= lane.state.length) return null;
  const [step, slot, peer, state] = [lane.step[place], lane.slot[place], lane.peer[place], lane.state[place]];
  const whom = peer < 0 ? "" : state === SEND ? `to ${tasks[peer]}` : `for a message from ${tasks[peer]}`;
  const on = path.task[above(path.begins, at) - 1] === lane.task;
  return [
    `${tasks[lane.task]}: ${states[state]}`,
    [step >= 0 && `step ${step.toLocaleString("en")}`, slot >= 0 && `slot ${slot}`].filter(Boolean).join(", "),
    whom,
    `${time(lane.length[place])} from ${time(lane.begins[place], 7)}`,
    on && "on the critical path",
  ].filter(Boolean);
}

function listenToTimeline() {
  const canvas = $("timeline");
  let grabbed = null;
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = (event.deltaX / plot.width) * (view.to - view.from);
      show(view.from + by, view.to + by);
    } else {
      zoom(Math.exp(clamp(event.deltaY, -120, 120) * 0.004), plot.position(Math.max(LEFT, event.offsetX)));
    }
    tip(event, null);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    grabbed = { x: event.clientX, from: view.from, to: view.to };
    canvas.setPointerCapture(event.pointerId);
    canvas.classList.add("dragging");
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grabbed) { tip(event, under(event)); return; }
    const by = ((grabbed.x - event.clientX) / (plot.right - LEFT)) * (grabbed.to - grabbed.from);
    tip(event, null);
    show(grabbed.from + by, grabbed.to + by);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { grabbed = null; canvas.classList.remove("dragging"); });
  }
  canvas.addEventListener("pointerleave", (event) => tip(event, null));
  canvas.addEventListener("dblclick", (event) => zoom(0.25, plot.position(event.offsetX)));
  const span = () => view.to - view.from;
  const keys = {
    ArrowLeft: () => show(view.from - span() / 8, view.to - span() / 8),
    ArrowRight: () => show(view.from + span() / 8, view.to + span() / 8),
    PageUp: () => show(view.from - span(), view.to - span()),
    PageDown: () => show(view.from + span(), view.to + span()),
    Home: () => show(0, span()),
    End: () => show(scale.length - span(), scale.length),
    "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: showAll,
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(); }
  });
  $("shorten").addEventListener("change", () => setBreaks($("shorten").checked));
  $("zoom-in").addEventListener("click", keys["+"]);
  $("zoom-out").addEventListener("click", keys["-"]);
  $("zoom-all").addEventListener("click", keys[0]);
}
