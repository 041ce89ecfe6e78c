// Makes elements and words. Everything a trace says is set as text, never as markup: a trace may hold anything.
"use strict";

const at = (id) => document.getElementById(id);
const LONGEST = 20000;

// As on the terminal: nothing that a model or tool wrote is invisible, passes for another letter or turns what stands beside it around.
const UNSEEN = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800\u{1d400}-\u{1d7ff}]/gu;
const ALIKE = /[\u0370-\u058f\u13a0-\u13ff\u1c80-\u1c8f\u1f00-\u1fff\u2160-\u217f\u2c80-\u2dff\ua4d0-\ua4ff\ua640-\ua69f\uab70-\uabbf\uff10-\uff5a]/g;
const written = (letter) => letter === "\n" || letter === "\t" ? letter : "\\u{" + letter.codePointAt(0).toString(16) + "}";
function plain(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  const words = text.replace(/[\p{L}\p{N}_]+/gu, (word) => /[A-Za-z]/.test(word) ? word.replace(ALIKE, written) : word);
  return words.replace(UNSEEN, written);
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    made.append(child instanceof Node ? child : document.createTextNode(plain(child)));
  }
  return made;
}

function drawn(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  for (const child of children.flat()) made.append(child instanceof Node ? child : document.createTextNode(plain(child)));
  return made;
}

function button(label, act, className) {
  const made = element("button", className || "", label);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// A link to a row of this report, with the row's event in its address.
function jump(row, label) {
  const made = element("a", "jump", label ?? "event " + row.seq);
  made.href = "#e" + row.seq;
  return made;
}

function unfolding(title, build, open) {
  const made = element("details", "", element("summary", "", title));
  const fill = () => { if (made.open && made.childElementCount === 1) made.append(...[build()].flat()); };
  made.addEventListener("toggle", fill);
  if (open) { made.open = true; fill(); }
  return made;
}

// Text of any length: what is very long is shown whole on demand.
function passage(text, className, fill) {
  const show = fill || ((shown) => [document.createTextNode(plain(shown))]);
  const made = element("pre", className || "");
  if (text.length <= LONGEST) made.append(...show(text));
  else {
    made.append(...show(text.slice(0, LONGEST)), button("… show all " + number(text.length) + " characters", () => made.replaceChildren(...show(text)), "more"));
  }
  return made;
}

const readable = (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 2) ?? "");
const json = (value, className) => passage(readable(value), className || "value");

function facts(pairs) {
  const list = element("dl", "facts");
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === "" || value === false) continue;
    list.append(element("dt", "", name), element("dd", "", value));
  }
  return list;
}

// Rows of cells; a cell that is a number stands to the right.
function table(caption, heads, rows) {
  const made = element("table", "", element("caption", "", element("span", "", caption)), element("thead", "", element("tr", "", heads.map((head) => scoped("col", head)))));
  made.append(element("tbody", "", rows.map(([first, ...rest]) => element("tr", "", scoped("row", first), rest.map((cell) => element("td", typeof cell === "string" && /^[$~<]?[\d.,]+(\s?[a-z%µ]*)?$|^–$/.test(cell) ? "figure" : "", cell))))));
  return element("div", "scroll", made);
}

function scoped(scope, child) {
  const made = element("th", "", child);
  made.scope = scope;
  return made;
}

// --- words for figures

const number = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ","); // toLocaleString takes long to begin with
const share = (part, whole) => (whole ? (part / whole < 0.001 && part ? "<0.1" : (100 * part / whole).toFixed(part === whole || !part ? 0 : 1)) + "\u00a0%" : "–");
const counted = (count, word) => number(count) + " " + word + (count === 1 ? "" : "s");

function lasting(seconds) {
  if (!seconds) return "0 s";
  if (seconds < 0.001) return Math.round(seconds * 1e6) + " µs";
  if (seconds < 1) return Math.round(seconds * 1000) + " ms";
  if (seconds < 120) return seconds.toFixed(1) + " s";
  if (seconds < 7200) return Math.floor(seconds / 60) + " min " + Math.round(seconds % 60) + " s";
  if (seconds < 172800) return Math.floor(seconds / 3600) + " h " + Math.round((seconds % 3600) / 60) + " min";
  return (seconds / 86400).toFixed(1) + " days";
}

function dollars(usd) {
  if (usd === null) return "unknown";
  if (!usd) return "$0";
  return "$" + (usd >= 1 ? usd.toFixed(2) : usd.toPrecision(2));
}

const moment = (seconds) => (seconds ? new Date(seconds * 1000).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC") : "");
