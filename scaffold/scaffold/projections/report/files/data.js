// The trace as it lies in this file: an index of moves, unpacked at once, and blocks of events, unpacked when looked at.
"use strict";

const KEPT_BLOCKS = 12;

// One move: a place in the columns of the index, of which there may be a hundred thousand.
class Row {
  constructor(columns, place) {
    Object.assign(this, { columns, place });
    this.seq = columns[0][place];
    this.number = this.line = -1; // among all rows, and in the list as it is filtered
    this.cell = undefined; // in the strip
    this.later = null; // what was said of it when the run was read again
  }
}

["kind", "key", "label", "worst", "status", "marks", "t", "seconds", "tokens", "ledger", "plan", "node", "cites", "more", "block", "nth"].forEach((name, column) => {
  Object.defineProperty(Row.prototype, name, { get() { return this.columns[column + 2][this.place]; } });
});

// The numbers of its events: those after the first, where they do not follow on it one by one, else how many there are.
Object.defineProperty(Row.prototype, "seqs", { get() {
  const rest = this.columns[1][this.place];
  return typeof rest === "number" ? Array.from({ length: rest }, (_, after) => this.seq + after) : [this.seq, ...rest];
} });

// What lies in a template is never shown, and a browser reads it in half the time that scripts of other kinds take.
function part(template, id) {
  const holder = document.getElementById(template);
  return holder && holder.content.getElementById(id);
}

// What stands in the file under a name; while the file is still being read, that may not have come yet, or not whole.
async function packedAs(id) {
  for (;;) {
    const found = part("first", id) || part("rest", id);
    if (found && (found.nextSibling || document.readyState !== "loading")) return found.textContent;
    if (document.readyState !== "loading") throw new Error(`this file has no ${id}: it is incomplete, so write or copy it again`);
    await new Promise((later) => setTimeout(later, 10));
  }
}

async function unpack(id) {
  const packed = await packedAs(id);
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(packed) : Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return await new Response(stream).text();
}

// In which rows something stands that a later review has read, the likelier ones first.
const ROWS_OF = { step: ["step"], stream: ["step"], plan: ["plan", "action"], action: ["action"], observation: ["action"] };

class Trace {
  constructor(manifest, rows, later) {
    Object.assign(this, { manifest, rows, blocks: new Map() });
    this.rowOf = new Int32Array(manifest.events + 2).fill(-1);
    rows.sort((one, other) => one.seq - other.seq);
    rows.forEach((row, number) => {
      row.number = number;
      for (const seq of row.seqs) this.rowOf[seq] = number;
    });
    for (const told of later) this.readAgain(told);
  }

  readAgain([review, subject, key, digest, worst, block, place]) {
    const rows = subject === "answer" ? this.rows.slice(-1) : this.byKey.get(key) || [];
    for (const kind of ROWS_OF[subject] || ["run"]) {
      const fitting = rows.filter((row) => row.kind === kind);
      for (const row of fitting) {
        row.later ||= { worst: "", said: [] };
        if (severity(worst) > severity(row.later.worst)) row.later.worst = worst;
        row.later.said.push({ review, digest, block, place, sure: fitting.length === 1, last: row === fitting[fitting.length - 1] });
      }
      if (fitting.length) return;
    }
  }

  // The events of later reviews that speak of a row. Where a move was made several times, digests tell which is meant.
  async saidLater(row, events) {
    const digests = new Set(events.filter((each) => each.e.kind === "reviewed").map((each) => each.e.digest));
    const said = row.later ? row.later.said.filter((each) => each.sure || (digests.size ? digests.has(each.digest) : each.last)) : [];
    return await Promise.all(said.map(async ({ review, block, place }) => ({ ...JSON.parse((await this.lines(block))[place])[0], review: this.manifest.reviews[review] })));
  }

  static async open(manifest) {
    const all = (name, count, read) => Promise.all(Array.from({ length: count }, async (_, number) => read(await unpack(name + number))));
    const lines = (text) => JSON.parse("[" + text.replaceAll("\n", ",") + "]");
    const [told, later] = await Promise.all([all("index-", manifest.indexes, JSON.parse), all("later-", manifest.later, lines)]);
    return new Trace(manifest, told.flatMap((columns) => Array.from(columns[0], (_, place) => new Row(columns, place))), later.flat());
  }

  // Rows by key, actions by their place in a plan, and the numbers of rows that quote an event: made when first asked for.
  get byKey() {
    return (this.keys ||= groupBy(this.rows.filter((row) => row.key), (row) => row.key));
  }

  get byNode() {
    return (this.nodes ||= groupBy(this.rows.filter((row) => row.kind === "action" && row.plan), (row) => row.plan + "\n" + row.node));
  }

  get citedBy() {
    if (!this.cited) {
      this.cited = new Map();
      for (const row of this.rows) for (const seq of row.cites || []) push(this.cited, seq, row.number);
    }
    return this.cited;
  }

  rowAt(seq) {
    return this.rows[this.rowOf[seq]];
  }

  // What a source of provenance names, if that is a move: `step:2/0/1`, `action:0`, `answer:3`.
  rowOfSource(source, before) {
    const [, kind, key] = /^(step|action|answer):(.*)$/s.exec(source) || [];
    const rows = (kind && this.byKey.get(key)) || [];
    return rows.filter((row) => row.seq < before).pop() || rows[0];
  }

  // Rows of oversight that were asked for a row: their keys go on from its own with a mark.
  askedFor(row) {
    if (!row.key) return [];
    this.overseeing ||= groupBy(this.rows.filter((each) => each.ledger === "oversight" && each.key.includes("!")), (each) => each.key.slice(0, each.key.lastIndexOf("!")));
    return this.overseeing.get(row.key) || [];
  }

  async lines(block) {
    let lines = this.blocks.get(block);
    if (!lines) {
      lines = unpack("block-" + block).then((text) => text.split("\n"));
      if (this.blocks.size >= KEPT_BLOCKS) this.blocks.delete(this.blocks.keys().next().value);
    } else this.blocks.delete(block);
    this.blocks.set(block, lines);
    return await lines;
  }

  async events(row) {
    return JSON.parse((await this.lines(row.block))[row.nth], digits);
  }

  // Rows whose content holds a text, block by block; `found` is called with each block's, and says whether to go on.
  async search(text, found) {
    const wanted = JSON.stringify(text).slice(1, -1).toLowerCase();
    const byBlock = groupBy(this.rows, (row) => row.block);
    let done = 0;
    for (const [block, rows] of byBlock) {
      const lines = (await unpack("block-" + block)).toLowerCase().split("\n");
      const held = rows.filter((row) => lines[row.nth].includes(wanted) && holds(JSON.parse(lines[row.nth]), text));
      if (!found(held, ++done, byBlock.size)) return;
    }
  }
}

// A whole number that a browser's own numbers cannot hold stays what was written.
const digits = (_name, value, context) => (typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source) && JSON.rawJSON ? JSON.rawJSON(context.source) : value);

// Whether a text stands in a value, names of fields aside.
function holds(value, text) {
  if (typeof value === "string") return value.includes(text);
  return Boolean(value) && typeof value === "object" && Object.values(value).some((each) => holds(each, text));
}

function push(map, key, value) {
  const known = map.get(key);
  if (known) known.push(value);
  else map.set(key, [value]);
}

function groupBy(values, keyOf) {
  const groups = new Map();
  for (const value of values) push(groups, keyOf(value), value);
  return groups;
}
