// The walk through a run: the strip, the filters, the list, and what is chosen.
"use strict";

const LINE = 50, CELL = 18, MOST_LINES = 7;
const OBJECTS = new Set(["flag", "revise", "resample", "escalate", "block", "halt"]);
const BADLY = new Set(["failed", "refused", "unknown"]);
const READ = new Set(["step", "plan", "action", "review"]);
const IN_STRIP = new Set([...READ, "question"]);
const isLate = (row) => Boolean(row.later) && OBJECTS.has(row.later.worst);

class Walk {
  constructor(trace) {
    this.trace = trace;
    this.shown = trace.rows;
    this.moves = trace.rows.filter((row) => IN_STRIP.has(row.kind));
    this.moves.forEach((row, cell) => { row.cell = cell; });
    this.wanted = { worst: new Set(), kind: "", outcome: "", text: "", found: null };
    this.chosen = -1;
    this.list = new Windowed(at("list"), LINE, (index) => this.line(index));
    this.strip = new Windowed(at("strip"), CELL, (index) => this.cells(index));
    this.choices();
    this.listen();
    new ResizeObserver(() => { if (at("strip").clientWidth !== this.width) this.fold(); }).observe(at("strip"));
    this.filter();
  }

  // --- filters

  choices() {
    const worst = this.trace.manifest.figures.worst;
    const unmade = this.trace.rows.filter((row) => row.marks.includes("f")).length, late = this.trace.rows.filter(isLate).length;
    const words = { unread: "not read by any monitor", unmade: "check not made", late: "objected to later" };
    for (const look of [...DECISIONS, "unread", "unmade", "late"]) {
      const count = { unmade, late }[look] ?? (worst[look] || 0);
      if (!count) continue;
      const chip = button([element("span", "cell " + look, GLYPHS[look] ?? (look === "unread" ? "·" : "…")), words[look] || look, element("b", "", number(count))], () => this.toggle(chip, look), "chip");
      chip.setAttribute("aria-pressed", "false");
      chip.dataset.look = look;
      at("chips").append(chip);
    }
    for (const [id, values] of [["kind", this.trace.rows.map((row) => (row.ledger === "oversight" ? "oversight step" : row.kind))], ["outcome", this.trace.rows.map((row) => row.status)]]) {
      const counts = new Map();
      for (const value of values) counts.set(value, (counts.get(value) || 0) + 1);
      for (const [value, count] of [...counts].sort()) {
        if (!value) continue;
        const option = element("option", "", `${value} (${number(count)})`);
        option.value = value;
        at(id).append(option);
      }
    }
  }

  toggle(chip, look) {
    const on = !this.wanted.worst.delete(look);
    if (on) this.wanted.worst.add(look);
    chip.setAttribute("aria-pressed", String(on));
    this.filter();
  }

  matches(row) {
    const { worst, kind, outcome, text, found } = this.wanted;
    if (worst.size && !(READ.has(row.kind) && worst.has(row.worst || "unread")) && !(worst.has("unmade") && row.marks.includes("f")) && !(worst.has("late") && isLate(row))) return false;
    if (kind && kind !== (row.ledger === "oversight" ? "oversight step" : row.kind)) return false;
    if (outcome && outcome !== row.status) return false;
    return !text || row.label.toLowerCase().includes(text) || row.key.toLowerCase() === text || Boolean(found && found.has(row.number));
  }

  filter() {
    const all = !this.wanted.worst.size && !this.wanted.kind && !this.wanted.outcome && !this.wanted.text;
    this.shown = all ? this.trace.rows : this.trace.rows.filter((row) => this.matches(row));
    this.inSight = all ? null : new Set(this.shown.map((row) => row.number));
    this.shown.forEach((row, place) => { row.line = place; });
    this.list.resize(this.shown.length);
    this.strip.render(true);
    at("count").textContent = all ? number(this.trace.rows.length) + " in all" : `${number(this.shown.length)} of ${number(this.trace.rows.length)}`;
    if (this.chosen >= 0 && drawing && (!this.inSight || this.inSight.has(this.chosen))) this.list.reveal(this.trace.rows[this.chosen].line);
  }

  // The labels are looked through at once, and then, block by block, all content.
  async look(text) {
    const wanted = this.wanted;
    Object.assign(wanted, { text: text.trim().toLowerCase(), found: null });
    this.filter();
    if (wanted.text.length < 2) return;
    const mine = (wanted.found = new Set());
    let last = performance.now();
    const all = (rows, done, blocks) => {
      if (this.wanted !== wanted || wanted.found !== mine) return false;
      for (const row of rows) mine.add(row.number);
      if (done === blocks || performance.now() - last > 200) {
        last = performance.now();
        this.filter();
        if (done < blocks) at("count").textContent += `, searching the content: ${share(done, blocks)}`;
      }
      return true;
    };
    await this.trace.search(wanted.text, all).catch((error) => { at("count").textContent += "; the search is incomplete: " + error.message; });
  }

  // --- what is drawn

  fold() {
    this.width = at("strip").clientWidth;
    this.across = Math.max(1, Math.floor((this.width - 8) / 16));
    const lines = Math.ceil(this.moves.length / this.across);
    if (lines < MOST_LINES) at("strip").style.height = lines * CELL + 8 + "px";
    this.strip.resize(lines);
    if (this.chosen >= 0 && drawing) this.reveal();
  }

  cells(line) {
    const made = element("div", "cells");
    made.setAttribute("role", "presentation");
    const first = line * this.across;
    for (const row of this.moves.slice(first, first + this.across)) {
      const dim = this.inSight && !this.inSight.has(row.number);
      const cell = element("div", "cell " + lookOf(row.worst) + (row.marks.includes("f") ? " unmade" : "") + (isLate(row) ? " late" : "") + (dim ? " dim" : "") + (BADLY.has(row.status) ? " badly" : ""), GLYPHS[row.worst] ?? "·");
      cell.dataset.number = String(row.number);
      cell.title = plain(`${row.kind} ${row.key}: ${row.label.split("  ")[0]}, ${row.status}, ${row.worst || "not read by any monitor"}${row.later ? "; later: " + (row.later.worst || "allow") : ""}`);
      this.option(cell, "cell-", row, row.cell, this.moves.length);
      made.append(cell);
    }
    return made;
  }

  line(index) {
    const row = this.shown[index];
    const [name, ...rest] = row.label.split("  ");
    const made = element("div", "line " + row.kind + (row.ledger === "oversight" ? " oversight" : ""), element("span", "cell " + (row.cell === undefined ? "none" : lookOf(row.worst)) + (row.marks.includes("f") ? " unmade" : "") + (isLate(row) ? " late" : ""), row.cell === undefined ? "" : GLYPHS[row.worst] ?? "·"),
      element("span", "what", element("b", "", name), " ", rest.join("  ")),
      element("span", "sub", [row.key || row.kind, row.status, row.tokens ? number(row.tokens) + " tokens" : "", row.seconds ? lasting(row.seconds) : "", row.later && row.later.worst ? "later: " + row.later.worst : ""].filter(Boolean).join(" · ")),
      element("span", "seq", "#" + row.seq));
    made.dataset.number = String(row.number);
    this.option(made, "line-", row, index, this.shown.length);
    return made;
  }

  option(made, prefix, row, place, all) {
    made.id = prefix + row.number;
    made.setAttribute("aria-posinset", String(place + 1));
    made.setAttribute("aria-setsize", String(all));
    made.setAttribute("role", "option");
    made.setAttribute("aria-selected", String(row.number === this.chosen));
  }

  // --- what is chosen

  choose(place, { enter = false } = {}) {
    const row = this.trace.rows[place];
    if (!row) return;
    this.chosen = place;
    if (this.inSight && !this.inSight.has(place)) this.everything();
    this.reveal();
    for (const [id, prefix] of [["list", "line-"], ["strip", "cell-"]]) at(id).setAttribute("aria-activedescendant", prefix + place);
    try { history.replaceState(null, "", "#e" + row.seq); } catch { /* where a page may not change its address, it keeps it */ }
    const unread = (error) => element("p", "note bad", "Cannot be shown: " + error.message);
    this.detail = moveOf(this.trace, row).catch(unread).then((made) => {
      if (this.chosen !== place) return; // another has been chosen meanwhile
      at("detail").replaceChildren(made);
      at("detail").scrollTop = 0;
      if (enter) at("detail").focus();
    });
  }

  reveal() {
    const row = this.trace.rows[this.chosen];
    this.list.reveal(row.line);
    if (row.cell !== undefined && this.across) this.strip.reveal(Math.floor(row.cell / this.across));
    else this.strip.render(true);
  }

  everything() {
    this.wanted = { worst: new Set(), kind: "", outcome: "", text: "", found: null };
    for (const chip of at("chips").children) chip.setAttribute("aria-pressed", "false");
    at("kind").value = at("outcome").value = at("find").value = "";
    this.filter();
  }

  move(steps) {
    if (!this.shown.length) return;
    const row = this.trace.rows[this.chosen];
    const now = row && this.shown[row.line] === row ? row.line : steps > 0 ? -1 : 0;
    this.choose(this.shown[Math.max(0, Math.min(this.shown.length - 1, now + steps))].number);
  }

  // In the strip a line is as many cells as are across; only cells are stepped on.
  moveCells(steps) {
    const row = this.trace.rows[this.chosen];
    const now = row ? row.cell ?? this.moves.findIndex((each) => each.number > this.chosen) - 1 : -1;
    const next = this.moves[Math.max(0, Math.min(this.moves.length - 1, now + steps))];
    if (next) this.choose(next.number);
  }

  // To the next row of those in sight, or the one before, with which something is not right.
  objection(step) {
    const rows = this.trace.rows;
    for (let place = this.chosen + step; place >= 0 && place < rows.length; place += step) {
      const row = rows[place];
      if (this.inSight && !this.inSight.has(place)) continue;
      if (OBJECTS.has(row.worst) || isLate(row) || row.marks.includes("f") || BADLY.has(row.status)) return this.choose(place);
    }
    at("count").textContent = step > 0 ? "No objection after this." : "No objection before this.";
  }

  listen() {
    // Chosen when pressed, as in a listbox of the system: a list drawn anew before the release knows of no click. Who reads aloud only clicks.
    for (const id of ["list", "strip"]) for (const kind of ["mousedown", "click"]) at(id).addEventListener(kind, (event) => {
      const option = event.target.closest("[data-number]");
      if (option && event.button === 0 && Number(option.dataset.number) !== this.chosen) this.choose(Number(option.dataset.number));
    });
    const enter = () => at("detail").focus();
    listKeys(at("list"), () => 1, () => Math.floor(at("list").clientHeight / LINE), { move: (steps) => this.move(steps), end: (last) => this.move(last ? Infinity : -Infinity), enter });
    listKeys(at("strip"), () => this.across, () => this.across * 6, { move: (steps) => this.moveCells(steps), end: (last) => this.moveCells(last ? Infinity : -Infinity), enter });
    for (const id of ["kind", "outcome"]) at(id).addEventListener("change", () => { this.wanted[id] = at(id).value; this.filter(); });
    let waiting;
    at("find").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => this.look(at("find").value), 150); });
    at("goto").addEventListener("change", () => this.goTo(parseInt(at("goto").value, 10)));
    at("next").addEventListener("click", () => this.objection(1));
    at("previous").addEventListener("click", () => this.objection(-1));
  }

  goTo(seq, more) {
    const row = this.trace.rowAt(seq);
    if (row) this.choose(row.number, more);
    return Boolean(row);
  }
}
