// The loss curve by step, with the validation accuracy, checkpoints and marks.

const LOSS_HEIGHT = 250;
const STEPS_LEFT = 62;
/** Room on the right of the plots by step, for the axis of the validation accuracy. */
const STEPS_RIGHT = data.accuracies.step.length > 0 ? 58 : 12;
const lossPlot = { x: () => 0, step: () => 0 };
/** Maximum number of vertical lines for marks. With more marks, only diamonds are drawn. */
const MAX_MARK_LINES = 40;

function stepRange() {
  // The version of the last checkpoint is one above the last update.
  const ends = [data.losses.step, data.rates.step, data.accuracies.step, data.checkpoints].filter((steps) => steps.length > 0);
  const first = Math.min(...ends.map((steps) => steps[0]));
  const last = Math.max(...ends.map((steps) => steps[steps.length - 1]));
  return [view.fromStep ?? first, Math.max((view.toStep ?? last), (view.fromStep ?? first) + 1)];
}

/** The mapping from steps to x, and back, of a plot of this width. */
function stepAxis(width) {
  const [low, high] = stepRange();
  const inner = width - STEPS_LEFT - STEPS_RIGHT;
  return {
    low, high, right: width - STEPS_RIGHT,
    x: (step) => STEPS_LEFT + ((step - low) / (high - low)) * inner,
    step: (px) => low + ((px - STEPS_LEFT) / inner) * (high - low),
  };
}

/** Labels the step axis, at the bottom of a plot. */
function drawStepAxis(context, { low, high, x, right }, height) {
  context.fillStyle = palette.dim; context.textAlign = "center"; context.textBaseline = "middle";
  for (const tick of ticks(low, high, right / 110).filter(Number.isInteger)) {
    context.fillText(tick.toLocaleString("en"), x(tick), height - 27);
  }
  context.fillText("step", (STEPS_LEFT + right) / 2, height - 8);
}

/** Draws horizontal lines with their labels on the left. */
function drawValueAxis(context, list, { y, right, label }) {
  context.lineWidth = 1; context.textBaseline = "middle"; context.textAlign = "right";
  for (const tick of list) {
    context.strokeStyle = palette.line; context.fillStyle = palette.dim;
    context.beginPath(); context.moveTo(STEPS_LEFT, y(tick)); context.lineTo(right, y(tick)); context.stroke();
    context.fillText(label(tick), STEPS_LEFT - 8, y(tick));
  }
}

function drawLoss(hover = null) {
  const { step: steps, value: losses } = data.losses;
  if (steps.length === 0) return;
  const { context, width, height } = prepare($("loss"), LOSS_HEIGHT);
  const axis = stepAxis(width);
  const { low, high, x, right } = axis;
  Object.assign(lossPlot, { x, step: axis.step });
  const [top, bottom] = [36, height - 42];
  const [begin, end] = [above(steps, low - 1), above(steps, high)];
  let [least, most] = [Infinity, -Infinity];
  for (let at = begin; at < end; at++) {
    const loss = losses[at];
    if (loss !== null) { least = Math.min(least, loss); most = Math.max(most, loss); }
  }
  if (!(least <= most)) [least, most] = [0, 1];
  const room = (most - least || Math.abs(most) || 1) * 0.06;
  [least, most] = [least - room, most + room];
  const y = (loss) => bottom - ((loss - least) / (most - least)) * (bottom - top);
  drawValueAxis(context, ticks(least, most, 5), { y, right, label: (tick) => String(Number(tick.toPrecision(6))) });
  drawStepAxis(context, axis, height);
  context.fillStyle = palette.loss; context.textAlign = "left";
  context.fillText("loss", 0, 9);
  const yAccuracy = drawAccuracyAxis(context, { top, bottom, right, width });
  drawMarksOnLoss(context, { x, top, bottom, low, high });
  context.save();
  context.beginPath(); context.rect(STEPS_LEFT - 3, 0, right - STEPS_LEFT + 6, height); context.clip();
  drawLossLine(context, { begin, end, x, y, width });
  drawAccuracy(context, { x, y: yAccuracy });
  drawCheckpoints(context, { x, bottom, low, high });
  context.restore();
  if (hover !== null && hover >= begin && hover < end && losses[hover] !== null) {
    context.fillStyle = palette.loss; context.strokeStyle = palette.panel; context.lineWidth = 2;
    context.beginPath(); context.arc(x(steps[hover]), y(losses[hover]), 4.5, 0, 7); context.fill(); context.stroke();
  }
}

/** Draws pixels that cover many steps: the range of their losses in a pale colour, the mean as a line. */
function drawLossLine(context, { begin, end, x, y, width }) {
  const { step: steps, value: losses } = data.losses;
  const columns = new Map();
  for (let at = begin; at < end; at++) {
    const loss = losses[at];
    if (loss === null) continue;
    const column = (end - begin) > 2 * width ? Math.round(x(steps[at])) : x(steps[at]);
    const seen = columns.get(column);
    if (seen) { seen.low = Math.min(seen.low, loss); seen.high = Math.max(seen.high, loss); seen.sum += loss; seen.n++; }
    else columns.set(column, { low: loss, high: loss, sum: loss, n: 1 });
  }
  context.fillStyle = palette.loss;
  context.globalAlpha = 0.22;
  for (const [column, seen] of columns) {
    if (seen.n > 1) context.fillRect(column - 0.5, y(seen.high), 1, Math.max(1, y(seen.low) - y(seen.high)));
  }
  context.globalAlpha = 1;
  context.strokeStyle = palette.loss; context.lineWidth = 1.6; context.lineJoin = "round";
  context.beginPath();
  for (const [column, seen] of columns) context.lineTo(column, y(seen.sum / seen.n));
  context.stroke();
}

/** Draws the axis of the validation accuracy on the right, from 0 to 100 %. Returns its mapping to y. */
function drawAccuracyAxis(context, { top, bottom, right, width }) {
  const y = (accuracy) => bottom - accuracy * (bottom - top);
  if (data.accuracies.step.length === 0) return y;
  context.fillStyle = palette.accuracy; context.strokeStyle = palette.accuracy; context.lineWidth = 1;
  context.textBaseline = "middle"; context.textAlign = "left";
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    context.beginPath(); context.moveTo(right, y(share)); context.lineTo(right + 5, y(share)); context.stroke();
    context.fillText(`${share * 100} %`, right + 9, y(share));
  }
  context.textAlign = "right";
  context.fillText("validation accuracy", width, 9);
  return y;
}

function drawAccuracy(context, { x, y }) {
  const { step: steps, value: accuracies } = data.accuracies;
  context.strokeStyle = palette.accuracy; context.fillStyle = palette.accuracy;
  context.lineWidth = 1.4;
  context.setLineDash([5, 4]);
  context.beginPath();
  steps.forEach((step, at) => context.lineTo(x(step), y(accuracies[at])));
  context.stroke();
  context.setLineDash([]);
  steps.forEach((step, at) => { context.beginPath(); context.arc(x(step), y(accuracies[at]), 2.2, 0, 7); context.fill(); });
}

/** Draws a triangle on the step axis for each checkpoint. */
function drawCheckpoints(context, { x, bottom, low, high }) {
  context.fillStyle = palette.save; context.strokeStyle = palette.panel; context.lineWidth = 1;
  for (const step of data.checkpoints) {
    if (step < low || step > high) continue;
    context.beginPath();
    context.moveTo(x(step), bottom - 7); context.lineTo(x(step) + 5.5, bottom + 3); context.lineTo(x(step) - 5.5, bottom + 3);
    context.closePath(); context.fill(); context.stroke();
  }
}

/** Returns a line for the tip: the newest validation accuracy of a version up to `step`. */
function accuracyAt(step) {
  const { step: steps, value: accuracies } = data.accuracies;
  const at = above(steps, step) - 1;
  return at < 0 ? [] : [`validation accuracy ${percent(accuracies[at], 2)} at step ${steps[at].toLocaleString("en")}`];
}

function drawMarksOnLoss(context, { x, top, bottom, low, high }) {
  const shown = visibleMarks().filter((mark) => mark.step >= low && mark.step <= high);
  for (const mark of shown) {
    const at = x(mark.step);
    context.strokeStyle = palette.fault; context.fillStyle = palette.fault; context.lineWidth = 1;
    if (shown.length <= MAX_MARK_LINES) {
      context.setLineDash([2, 3]);
      context.beginPath(); context.moveTo(at, top); context.lineTo(at, bottom); context.stroke();
      context.setLineDash([]);
    }
    diamond(context, at, top - 7);
  }
}

function diamond(context, x, y, size = 5) {
  context.beginPath();
  context.moveTo(x, y - size); context.lineTo(x + size * 0.9, y); context.lineTo(x, y + size); context.lineTo(x - size * 0.9, y);
  context.closePath(); context.fill();
}

/** Draws the legend of the loss plot: each name is beside a sample. */
function fillLossLegend() {
  const entries = [
    ["key-loss", "loss: mean over the slots of each update"],
    data.accuracies.step.length > 0 && ["key-accuracy", "validation accuracy"],
    data.checkpoints.length > 0 && ["key-checkpoint", "checkpoint"],
    data.marks.some((mark) => mark.step >= 0) && ["key-mark", "fault or turn"],
  ].filter(Boolean);
  $("loss-legend").replaceChildren(...entries.map(([kind, name]) => make("span", {}, make("i", { class: `key ${kind}` }), name)));
}

$("loss").addEventListener("pointermove", (event) => {
  const { step: steps, value: losses } = data.losses;
  if (steps.length === 0) return;
  const step = lossPlot.step(event.offsetX);
  let at = clamp(above(steps, step) - 1, 0, steps.length - 1);
  if (at + 1 < steps.length && steps[at + 1] - step < step - steps[at]) at++;
  const isNear = (step) => step >= 0 && Math.abs(lossPlot.x(step) - event.offsetX) < 6;
  const near = visibleMarks().filter((mark) => isNear(mark.step));
  const saved = data.checkpoints.filter(isNear).slice(0, 2);
  drawLoss(at);
  const loss = losses[at] === null ? "not finite" : losses[at].toPrecision(7);
  tip(event, [`Step ${steps[at].toLocaleString("en")}`, `loss ${loss}`, ...accuracyAt(steps[at]),
    ...saved.map((step) => `▲ checkpoint of step ${step.toLocaleString("en")}`), ...near.slice(0, 4).map((mark) => `◆ ${mark.text}`)]);
});
$("loss").addEventListener("pointerleave", (event) => { tip(event, null); drawLoss(); });
$("loss").addEventListener("click", (event) => showStep(Math.round(lossPlot.step(event.offsetX))));
