// The data of the page, and helpers for all of its parts. Times are nanoseconds since the start of
// the run. A missing number is -1.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const { tasks, states } = data;
const [COMPUTE, APPLY, SEND, WAIT, SAVE, JOIN, DOWN] = states.keys();

/** Creates an element with text or children. Text is never parsed as HTML. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function time(ns, digits = 3) {
  const size = Math.abs(ns);
  const [unit, by] = size >= 1e9 ? ["s", 1e9] : size >= 1e6 ? ["ms", 1e6] : size >= 1e3 ? ["µs", 1e3] : ["ns", 1];
  const value = ns / by;
  const shown = value === 0 ? "0" : value.toPrecision(Math.max(digits, Math.trunc(Math.abs(value)).toString().length));
  return `${shown} ${unit}`;
}

const count = (n, what, plural = "s") => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : plural}`;
const taskName = (task) => (task >= 0 ? tasks[task] : "");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Returns the index of the first number above `value` in a list of ascending numbers. */
function above(numbers, value) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

/** Returns the begin of each span, and the end of the last span. The spans have no gaps. */
function beginnings(first, lengths) {
  const begins = new Float64Array(lengths.length + 1);
  begins[0] = first;
  lengths.forEach((length, at) => { begins[at + 1] = begins[at] + length; });
  return begins;
}

/** Returns a round distance between ticks, for about the given number of ticks. */
function tickDistance(span, wanted) {
  const rough = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough) || power * 10;
}

/** Returns the multiples of a distance in a range, at most 100. */
function ticksIn(low, high, distance) {
  const list = [];
  for (let at = Math.ceil(low / distance); at * distance <= high && list.length < 100; at++) list.push(at * distance);
  return list;
}

const ticks = (low, high, wanted) => ticksIn(low, high, tickDistance(high - low, wanted));
