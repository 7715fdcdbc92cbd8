// The loss curve, by step.

const LOSS_HEIGHT = 210;
const LOSS_LEFT = 56;
const lossPlot = { left: LOSS_LEFT, right: 0, x: () => 0, step: () => 0 };

function stepRange() {
  const steps = data.losses.step;
  const first = steps[0] ?? 0;
  const last = steps[steps.length - 1] ?? 1;
  return [view.fromStep ?? first, Math.max((view.toStep ?? last), (view.fromStep ?? first) + 1)];
}

function drawLoss(hover = null) {
  const { step: steps, loss: losses } = data.losses;
  if (steps.length === 0) return;
  const { context, width, height } = prepare($("loss"), LOSS_HEIGHT);
  const [low, high] = stepRange();
  const [top, bottom] = [16, height - 22];
  const [begin, end] = [above(steps, low - 1), above(steps, high)];
  let [least, most] = [Infinity, -Infinity];
  for (let at = begin; at < end; at++) {
    const loss = losses[at];
    if (loss !== null) { least = Math.min(least, loss); most = Math.max(most, loss); }
  }
  if (!(least <= most)) [least, most] = [0, 1];
  const room = (most - least || Math.abs(most) || 1) * 0.06;
  [least, most] = [least - room, most + room];
  const x = (step) => LOSS_LEFT + ((step - low) / (high - low)) * (width - LOSS_LEFT - 8);
  const y = (loss) => bottom - ((loss - least) / (most - least)) * (bottom - top);
  Object.assign(lossPlot, { x, step: (px) => low + ((px - LOSS_LEFT) / (width - LOSS_LEFT - 8)) * (high - low) });
  context.lineWidth = 1;
  context.textBaseline = "middle";
  for (const tick of ticks(least, most, 5)) {
    context.strokeStyle = palette.line;
    context.beginPath(); context.moveTo(LOSS_LEFT, y(tick)); context.lineTo(width - 8, y(tick)); context.stroke();
    context.fillStyle = palette.dim; context.textAlign = "right";
    context.fillText(String(Number(tick.toPrecision(6))), LOSS_LEFT - 8, y(tick));
  }
  context.textAlign = "center";
  for (const tick of ticks(low, high, width / 110).filter(Number.isInteger)) {
    context.fillStyle = palette.dim;
    context.textAlign = x(tick) > width - 30 ? "right" : "center";
    context.fillText(tick.toLocaleString("en"), Math.min(x(tick), width - 2), height - 9);
  }
  drawMarksOnLoss(context, x, top, bottom, low, high);
  context.save();
  context.beginPath(); context.rect(LOSS_LEFT, 0, width - LOSS_LEFT, height); context.clip();
  drawLossLine(context, { begin, end, x, y, width });
  drawAccuracy(context, { x, top, bottom });
  context.restore();
  if (hover !== null && hover >= begin && hover < end && losses[hover] !== null) {
    context.fillStyle = palette.loss; context.strokeStyle = palette.panel; context.lineWidth = 2;
    context.beginPath(); context.arc(x(steps[hover]), y(losses[hover]), 4.5, 0, 7); context.fill(); context.stroke();
  }
}

/** By pixel: the range of all losses in it, pale, and their mean as a line. */
function drawLossLine(context, { begin, end, x, y, width }) {
  const { step: steps, loss: losses } = data.losses;
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

/** The validation accuracies, on a scale of their own: 0 is the bottom and 1 the top of the plot. */
function drawAccuracy(context, { x, top, bottom }) {
  const { step: steps, accuracy: accuracies } = data.accuracies;
  const y = (accuracy) => bottom - accuracy * (bottom - top);
  context.strokeStyle = palette.text; context.fillStyle = palette.text;
  context.lineWidth = 1.2;
  context.setLineDash([5, 4]);
  context.beginPath();
  steps.forEach((step, at) => context.lineTo(x(step), y(accuracies[at])));
  context.stroke();
  context.setLineDash([]);
  steps.forEach((step, at) => { context.beginPath(); context.arc(x(step), y(accuracies[at]), 2, 0, 7); context.fill(); });
}

/** The newest validation accuracy of a version up to `step`, as a line of the tip; nothing before the first. */
function accuracyAt(step) {
  const { step: steps, accuracy: accuracies } = data.accuracies;
  const at = above(steps, step) - 1;
  return at < 0 ? [] : [`validation accuracy ${Number(accuracies[at].toPrecision(4))} at step ${steps[at].toLocaleString("en")}`];
}

function drawMarksOnLoss(context, x, top, bottom, low, high) {
  for (const mark of visibleMarks()) {
    if (mark.step < low || mark.step > high) continue;
    const at = x(mark.step);
    context.strokeStyle = palette.fault; context.fillStyle = palette.fault;
    context.setLineDash([2, 3]);
    context.beginPath(); context.moveTo(at, top); context.lineTo(at, bottom); context.stroke();
    context.setLineDash([]);
    diamond(context, at, top - 6);
  }
}

function diamond(context, x, y) {
  context.beginPath();
  context.moveTo(x, y - 5); context.lineTo(x + 4.5, y); context.lineTo(x, y + 5); context.lineTo(x - 4.5, y);
  context.closePath(); context.fill();
}

$("loss").addEventListener("pointermove", (event) => {
  const { step: steps, loss: losses } = data.losses;
  if (steps.length === 0) return;
  const step = lossPlot.step(event.offsetX);
  let at = clamp(above(steps, step) - 1, 0, steps.length - 1);
  if (at + 1 < steps.length && steps[at + 1] - step < step - steps[at]) at++;
  const near = visibleMarks().filter((mark) => mark.step >= 0 && Math.abs(lossPlot.x(mark.step) - event.offsetX) < 6);
  drawLoss(at);
  const loss = losses[at] === null ? "not finite" : losses[at].toPrecision(7);
  tip(event, [`Step ${steps[at].toLocaleString("en")}`, `loss ${loss}`, ...accuracyAt(steps[at]), ...near.slice(0, 4).map((mark) => `◆ ${mark.text}`)]);
});
$("loss").addEventListener("pointerleave", (event) => { tip(event, null); drawLoss(); });
$("loss").addEventListener("click", (event) => showStep(Math.round(lossPlot.step(event.offsetX))));
