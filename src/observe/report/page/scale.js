// The time axis: a piecewise linear mapping from time to position, in which long idle stretches are
// short breaks. Outside of breaks, a nanosecond of time is one unit of position.

/** Maximum number of breaks. More breaks would hide the run between them. */
const MAX_BREAKS = 12;
/** Minimum length of a break, as a share of the time outside of breaks. */
const MIN_BREAK = 0.15;
/** Length of each break on the axis, as a share of the time outside of breaks. */
const BREAK_LENGTH = 0.03;

/** Makes a mapping for a run of this length and these breaks, ascending, each { from, to } in ns. */
function makeScale(length, breaks) {
  const outside = length - breaks.reduce((sum, { from, to }) => sum + to - from, 0);
  const breakLength = Math.max(1, outside * BREAK_LENGTH);
  const [times, positions] = [[0], [0]];
  const add = (time, distance) => {
    times.push(time);
    positions.push(positions[positions.length - 1] + distance);
  };
  for (const { from, to } of breaks) {
    add(from, from - times[times.length - 1]);
    add(to, breakLength);
  }
  add(length, length - times[times.length - 1]);
  return {
    breaks,
    length: positions[positions.length - 1],
    position: (time) => interpolate(time, times, positions),
    time: (position) => interpolate(position, positions, times),
  };
}

/** Maps a value from the list `from` to the list `to`. Both ascend; outside, the slope is 1. */
function interpolate(value, from, to) {
  const last = from.length - 1;
  if (value <= from[0]) return to[0] + value - from[0];
  if (value >= from[last]) return to[last] + value - from[last];
  const at = above(from, value) - 1;
  return to[at] + ((value - from[at]) / (from[at + 1] - from[at])) * (to[at + 1] - to[at]);
}

/** Returns the stretches in which all tasks wait, join or are down, and which contain no mark. */
function idleStretches() {
  const isActive = states.map((_, state) => ![WAIT, JOIN, DOWN].includes(state));
  const active = [];
  for (const { begins, state, files } of lanes) {
    let open = null;
    state.forEach((it, at) => {
      if (!isActive[it]) { open = null; return; }
      if (open) open[1] = begins[at + 1]; else active.push(open = [begins[at], begins[at + 1]]);
    });
    for (const [begin, length] of files) active.push([begin, begin + length]);
  }
  for (const { at, until } of data.marks) active.push([at, at], ...(until > at ? [[until, until]] : []));
  active.push([data.length, data.length]);
  active.sort((a, b) => a[0] - b[0]);
  const idle = [];
  let end = 0;
  for (const [from, to] of active) {
    if (from > end) idle.push({ from: end, to: from });
    end = Math.max(end, to);
  }
  return idle;
}

/** Returns the idle stretches that are long in comparison with the rest of the run. */
function findBreaks(idle, length) {
  const longest = [...idle].sort((a, b) => (b.to - b.from) - (a.to - a.from)).slice(0, MAX_BREAKS);
  let outside = length - longest.reduce((sum, { from, to }) => sum + to - from, 0);
  while (longest.length > 0) {
    const { from, to } = longest[longest.length - 1];
    if (to - from >= MIN_BREAK * outside) break;
    outside += to - from;
    longest.pop();
  }
  return longest.sort((a, b) => a.from - b.from);
}
