// What each task was at: lanes, the critical path, messages and marks, by time.

const LANE = 30;
const GAP = 12;
const FILES = 8;
const LEFT = 84;
const TOP = 44;
const shownLanes = () => lanes.filter((lane) => shownTasks.has(lane.task));
const visibleMarks = () => data.marks.filter((mark) => mark.task < 0 || shownTasks.has(mark.task));
const plot = { width: 1, lanes: [], x: () => 0, time: () => 0 };

function laneHeight(lane) { return LANE + (lane.files.length > 0 ? FILES + 3 : 0); }

function drawTimeline() {
  if (!hasTime) return;
  const list = shownLanes();
  const height = TOP + list.reduce((sum, lane) => sum + laneHeight(lane) + GAP, 0) + 6;
  const { context, width } = prepare($("timeline"), height);
  const right = width - 8;
  const scale = (right - LEFT) / (view.to - view.from);
  const x = (at) => LEFT + (at - view.from) * scale;
  Object.assign(plot, { width, right, lanes: [], x, time: (px) => view.from + (px - LEFT) / scale });
  drawAxis(context, x, right, height);
  drawBands(context, x, right, height);
  let y = TOP;
  for (const lane of list) {
    context.fillStyle = palette.text; context.textAlign = "left"; context.textBaseline = "middle";
    context.fillText(tasks[lane.task], 0, y + LANE / 2);
    plot.lanes.push({ lane, y, height: laneHeight(lane) });
    context.save();
    context.beginPath(); context.rect(LEFT, y - 6, right - LEFT, laneHeight(lane) + 12); context.clip();
    drawLane(context, lane, y, right);
    drawFiles(context, lane, y + LANE + 3, x);
    context.restore();
    y += laneHeight(lane) + GAP;
  }
  context.save();
  context.beginPath(); context.rect(LEFT - 6, 0, right - LEFT + 12, height); context.clip();
  drawPath(context, x);
  drawMessages(context, x);
  drawMarks(context, x, height);
  context.restore();
  describe();
}

function drawAxis(context, x, right, height) {
  context.lineWidth = 1; context.textAlign = "center"; context.textBaseline = "middle";
  const list = ticks(view.from, view.to, (right - LEFT) / 120);
  const step = list.length > 1 ? list[1] - list[0] : view.to;
  const digits = Math.max(3, Math.ceil(Math.log10(Math.max(1, view.to / step))) + 1);
  for (const tick of list) {
    context.strokeStyle = palette.line;
    context.beginPath(); context.moveTo(x(tick), TOP - 12); context.lineTo(x(tick), height); context.stroke();
    context.fillStyle = palette.dim;
    if (x(tick) > LEFT + 16 && x(tick) < right - 16) context.fillText(tidy(tick, digits), x(tick), 9);
  }
}

/** A time on an axis: without zeros behind its point. */
const tidy = (ns, digits) => ns === 0 ? "0" : time(ns, digits).replace(/\.0+ /, " ").replace(/(\.\d*[1-9])0+ /, "$1 ");

/** Spans that can be seen as they are; those that are smaller share a pixel, by their lengths. */
function drawLane(context, lane, y, right) {
  const { begins, state } = lane;
  const scale = (right - LEFT) / (view.to - view.from);
  const left = (at) => LEFT + (begins[at] - view.from) * scale;
  const width = (at) => (begins[at + 1] - begins[at]) * scale;
  const end = Math.min(state.length, above(begins, view.to));
  const shares = new Float64Array(states.length);
  for (let at = Math.max(0, above(begins, view.from) - 1); at < end;) {
    if (width(at) >= 1.5) {
      fill(context, state[at], left(at), width(at), y, LANE, width(at) > 3);
      at++;
      continue;
    }
    const pixel = Math.floor(left(at));
    shares.fill(0);
    do shares[state[at]] += width(at++); while (at < end && left(at) < pixel + 1 && width(at) < 1.5);
    drawShares(context, shares, pixel, y);
  }
}

const STACK = [COMPUTE, APPLY, SAVE, SEND, WAIT, JOIN, DOWN];

function drawShares(context, shares, pixel, y) {
  const sum = shares.reduce((a, b) => a + b, 0);
  if (sum <= 0) return;
  let bottom = y + LANE;
  for (const state of STACK) {
    const height = (shares[state] / sum) * LANE;
    if (height > 0) { bottom -= height; fill(context, state, pixel, 1.02, bottom, height, false); }
  }
}

function fill(context, state, left, width, y, height, hasEdge) {
  context.fillStyle = shownStates.has(state) ? palette[states[state]] : palette.panel;
  context.fillRect(left, y, hasEdge ? Math.max(0.5, width - 0.6) : width, height);
}

function drawFiles(context, lane, y, x) {
  if (!shownStates.has(SAVE)) return;
  context.fillStyle = palette.save;
  for (const [begin, length] of lane.files) {
    if (begin + length >= view.from && begin <= view.to) context.fillRect(x(begin), y, Math.max(1.5, x(begin + length) - x(begin)), FILES);
  }
}

/** The path over the lane of whom the run waited for: a line, or by pixel as dark as its share. */
function drawPath(context, x) {
  const places = new Map(plot.lanes.map(({ lane, y }) => [lane.task, y]));
  const begin = Math.max(0, above(path.begins, view.from) - 1);
  const end = Math.min(path.task.length, above(path.begins, view.to));
  if ((end - begin) * 8 > plot.width) { drawPathShares(context, x, places, begin, end); return; }
  context.strokeStyle = palette.path; context.lineWidth = 2;
  context.beginPath();
  let last = null;
  for (let at = begin; at < end; at++) {
    const y = places.get(path.task[at]);
    const [left, right] = [x(path.begins[at]), x(path.begins[at + 1])];
    if (y === undefined) { last = null; continue; }
    if (last !== null && last !== y) { context.moveTo(left, last - 3.5); context.lineTo(left, y - 3.5); }
    context.moveTo(left, y - 3.5); context.lineTo(Math.max(right, left + 0.4), y - 3.5);
    last = y;
  }
  context.stroke();
}

/** With many parts to a pixel, lines from lane to lane would hide everything. */
function drawPathShares(context, x, places, begin, end) {
  const shares = new Map([...places.keys()].map((task) => [task, new Float64Array(Math.ceil(plot.width) + 1)]));
  for (let at = begin; at < end; at++) {
    const share = shares.get(path.task[at]);
    const [left, right] = [Math.max(LEFT, x(path.begins[at])), Math.min(plot.right, x(path.begins[at + 1]))];
    for (let pixel = Math.floor(left); share && pixel < right; pixel++) {
      share[pixel] += Math.min(right, pixel + 1) - Math.max(left, pixel);
    }
  }
  context.fillStyle = palette.path;
  for (const [task, share] of shares) {
    share.forEach((part, pixel) => {
      if (part <= 0.02) return;
      context.globalAlpha = Math.min(1, part);
      context.fillRect(pixel, places.get(task) - 5, 1, 3);
    });
  }
  context.globalAlpha = 1;
}

const MAX_ARROWS = 160;
const longestWay = data.messages.took.reduce((a, b) => Math.max(a, b), 0);

function drawMessages(context, x) {
  const { from, to, sent, took } = data.messages;
  const places = new Map(plot.lanes.map(({ lane, y }) => [lane.task, y]));
  const shown = [];
  // They are there by when they were sent.
  for (let at = above(sent, view.from - longestWay - 1); at < sent.length && sent[at] <= view.to && shown.length <= MAX_ARROWS; at++) {
    if (sent[at] + took[at] >= view.from && places.has(from[at]) && places.has(to[at])) shown.push(at);
  }
  if (shown.length > MAX_ARROWS || !shownStates.has(SEND)) return;
  context.strokeStyle = palette.dim; context.fillStyle = palette.dim; context.lineWidth = 1; context.globalAlpha = 0.75;
  for (const at of shown) {
    const [a, b] = [places.get(from[at]), places.get(to[at])];
    const [y1, y2] = a < b ? [a + LANE, b] : [a, b + LANE];
    const [x1, x2] = [x(sent[at]), x(sent[at] + took[at])];
    context.beginPath(); context.moveTo(x1, y1); context.lineTo(x2, y2); context.stroke();
    context.beginPath(); context.arc(x2, y2, 2, 0, 7); context.fill();
  }
  context.globalAlpha = 1;
}

/** Faults that last, behind the lanes. */
function drawBands(context, x, right, height) {
  context.fillStyle = palette.fault;
  context.globalAlpha = 0.14;
  for (const mark of visibleMarks().filter((mark) => mark.until > mark.at)) {
    const [begin, end] = [Math.max(LEFT, x(mark.at)), Math.min(right, Math.max(x(mark.until), x(mark.at) + 1))];
    if (begin < end) context.fillRect(begin, TOP - 12, end - begin, height);
  }
  context.globalAlpha = 1;
}

function drawMarks(context, x, height) {
  for (const mark of visibleMarks()) {
    const until = mark.until < 0 ? mark.at : mark.until;
    if (until < view.from || mark.at > view.to) continue;
    context.fillStyle = palette.fault; context.strokeStyle = palette.fault;
    context.globalAlpha = 0.55; context.lineWidth = 1; context.setLineDash([2, 3]);
    context.beginPath(); context.moveTo(x(mark.at), 30); context.lineTo(x(mark.at), height); context.stroke();
    context.setLineDash([]); context.globalAlpha = 1;
    diamond(context, x(mark.at), 25);
  }
}

/** In words, what the timeline shows, for those who do not see it, too. */
function describe() {
  const steps = above(updates.at, view.to) - 1;
  const first = above(updates.at, view.from);
  const range = steps >= first && first < updates.step.length
    ? `, updates ${updates.step[first].toLocaleString("en")} to ${updates.step[steps].toLocaleString("en")}` : "";
  $("view").textContent = `${tidy(view.from, 7)} to ${tidy(view.to, 7)}: ${time(view.to - view.from)}${range}. `
    + "The line above the lanes is the critical path.";
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
    return file ? [`${tasks[lane.task]}: reads or saves a checkpoint`, `step ${file[2] < 0 ? "—" : file[2]}`, `${time(file[1])} from ${time(file[0], 6)}`] : null;
  }
  const place = above(lane.begins, at) - 1;
  if (place < 0 || place >= lane.state.length) return null;
  const [step, slot, peer, state] = [lane.step[place], lane.slot[place], lane.peer[place], lane.state[place]];
  const whom = peer < 0 ? "" : state === SEND ? `to ${tasks[peer]}` : `until ${tasks[peer]} sent what it needed`;
  const on = path.task[above(path.begins, at) - 1] === lane.task;
  return [
    `${tasks[lane.task]}: ${states[state]}`,
    [step >= 0 && `step ${step.toLocaleString("en")}`, slot >= 0 && `slot ${slot}`].filter(Boolean).join(", "),
    whom,
    `${time(lane.length[place])} from ${time(lane.begins[place], 7)}`,
    on && "the run waited for it",
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
      zoom(Math.exp(clamp(event.deltaY, -120, 120) * 0.004), plot.time(Math.max(LEFT, event.offsetX)));
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
  canvas.addEventListener("dblclick", (event) => zoom(0.25, plot.time(event.offsetX)));
  const span = () => view.to - view.from;
  const keys = {
    ArrowLeft: () => show(view.from - span() / 8, view.to - span() / 8),
    ArrowRight: () => show(view.from + span() / 8, view.to + span() / 8),
    PageUp: () => show(view.from - span(), view.to - span()),
    PageDown: () => show(view.from + span(), view.to + span()),
    Home: () => show(0, span()),
    End: () => show(data.length - span(), data.length),
    "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6), 0: () => show(0, data.length),
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); act(); }
  });
  $("zoom-in").addEventListener("click", keys["+"]);
  $("zoom-out").addEventListener("click", keys["-"]);
  $("zoom-all").addEventListener("click", keys[0]);
}
