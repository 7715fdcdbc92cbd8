// The steps per second by step, below the loss curve and on the same axis. Each level is the mean over
// the steps since the previous level.

const SPEED_HEIGHT = 136;
const speedPlot = { step: () => 0 };

function drawSpeed(hover = null) {
  const { step: steps, value: rates } = data.rates;
  if (steps.length === 0) return;
  const { context, width, height } = prepare($("speed"), SPEED_HEIGHT);
  const axis = stepAxis(width);
  const { low, high, x, right } = axis;
  speedPlot.step = axis.step;
  const [top, bottom] = [24, height - 42];
  const [begin, end] = [above(steps, low - 1), Math.min(steps.length, above(steps, high) + 1)];
  const most = Math.max(...rates.slice(begin, end), 0) * 1.08 || 1;
  const y = (rate) => bottom - (rate / most) * (bottom - top);
  drawValueAxis(context, ticks(0, most, 3), { y, right, label: (tick) => Number(tick.toPrecision(6)).toLocaleString("en") });
  drawStepAxis(context, axis, height);
  context.fillStyle = palette.speed; context.textAlign = "left";
  context.fillText(data.is_simulated ? "steps/s of virtual time" : "steps/s", 0, 9);
  context.save();
  context.beginPath(); context.rect(STEPS_LEFT, 0, right - STEPS_LEFT, height); context.clip();
  context.strokeStyle = palette.speed; context.lineWidth = 1.6; context.lineJoin = "round";
  context.beginPath();
  for (let at = begin; at < end; at++) {
    context.lineTo(x(stretchBegin(at)), y(rates[at]));
    context.lineTo(x(steps[at]), y(rates[at]));
  }
  context.stroke();
  if (begin < end) {
    context.lineTo(x(steps[end - 1]), bottom); context.lineTo(x(stretchBegin(begin)), bottom);
    context.fillStyle = palette.speed; context.globalAlpha = 0.14; context.fill();
    if (hover !== null) {
      context.globalAlpha = 0.3;
      context.fillRect(x(stretchBegin(hover)), top, x(steps[hover]) - x(stretchBegin(hover)), bottom - top);
    }
    context.globalAlpha = 1;
  }
  context.restore();
}

const stretchBegin = (at) => at > 0 ? data.rates.step[at - 1] : Math.min(data.losses.step[0] ?? 0, data.rates.step[0]);

$("speed").addEventListener("pointermove", (event) => {
  const { step: steps, value: rates } = data.rates;
  if (steps.length === 0) return;
  const at = Math.min(above(steps, speedPlot.step(event.offsetX) - 1e-9), steps.length - 1);
  drawSpeed(at);
  tip(event, [`Steps ${stretchBegin(at).toLocaleString("en")} to ${steps[at].toLocaleString("en")}`, `${Number(rates[at].toPrecision(4)).toLocaleString("en")} steps/s`]);
});
$("speed").addEventListener("pointerleave", (event) => { tip(event, null); drawSpeed(); });
$("speed").addEventListener("click", (event) => showStep(Math.round(speedPlot.step(event.offsetX))));
