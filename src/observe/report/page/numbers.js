// Number formats of tables. A column has one unit, which its heading shows, and one number of
// decimals, so that its numbers can be compared at a glance.

const UNITS = [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]];

/** Returns the format of a column of times in ns. `digits` is for the largest time. */
function timeColumn(times, digits) {
  const most = times.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const [unit, by] = UNITS.find(([, size]) => most >= size) ?? UNITS[1];
  const wholeDigits = Math.trunc(most / by).toString().length;
  // No decimals beyond whole nanoseconds.
  const decimals = clamp(digits - wholeDigits, 0, Math.round(Math.log10(by)));
  return { unit, show: (ns) => (ns / by).toFixed(decimals) };
}

const NONE = "—";
const percent = (share, digits = 1) => `${(share * 100).toFixed(digits)} %`;
const numberCell = (text) => make("td", { class: "number" }, text);
const wholeCell = (n) => numberCell(n < 0 ? NONE : n.toLocaleString("en"));

/** Replaces the heading of a table. A column is [name] or [name, "number"]. */
function setHeading(table, columns) {
  table.tHead.replaceChildren(make("tr", {}, ...columns.map(([name, kind = ""]) => make("th", { scope: "col", class: kind }, name))));
}
