// The data of the page, and what all of its parts use. Times are nanoseconds since the run began;
// -1 is nothing.

const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const { tasks, states } = data;
const [COMPUTE, APPLY, SEND, WAIT, SAVE, JOIN, DOWN] = states.keys();

/** An element with text or children. Text is never taken for HTML. */
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

const count = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;
const taskName = (task) => (task >= 0 ? tasks[task] : "");
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** The first place in ascending numbers at which there is one above `value`. */
function above(numbers, value) {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

/** Where each of several lengths begins, and where the last one ends. */
function beginnings(first, lengths) {
  const begins = new Float64Array(lengths.length + 1);
  begins[0] = first;
  lengths.forEach((length, at) => { begins[at + 1] = begins[at] + length; });
  return begins;
}

/** Round numbers to label an axis with, about so many. */
function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((by) => by * power).find((by) => by >= rough) || power * 10;
  const list = [];
  for (let at = Math.ceil(low / step) * step; at <= high && list.length < 100; at += step) list.push(at);
  return list;
}
