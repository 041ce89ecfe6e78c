// The trace as it lies in this file: an index of moves, unpacked at once, and blocks of events, unpacked when looked at.
"use strict";

const COLUMNS = ["seqs", "kind", "key", "label", "worst", "status", "marks", "t", "seconds", "tokens", "ledger", "plan", "node", "cites", "more", "block", "place"];
const KEPT_BLOCKS = 12;

async function unpack(id) {
  const packed = document.getElementById(id).textContent;
  const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(packed) : Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return await new Response(stream).text();
}

class Trace {
  constructor(manifest) {
    this.manifest = manifest;
    this.rows = [];
    this.byKey = new Map();
    this.byNode = new Map();
    this.citedBy = new Map();
    this.rowOf = new Int32Array(manifest.events + 2).fill(-1);
    this.blocks = new Map();
  }

  static async open() {
    const trace = new Trace(JSON.parse(await unpack("manifest-0")));
    const packed = await Promise.all(Array.from({ length: trace.manifest.indexes }, (_, number) => unpack("index-" + number)));
    for (const text of packed) {
      for (const line of JSON.parse("[" + text.replaceAll("\n", ",") + "]")) {
        const row = {};
        for (let column = 0; column < COLUMNS.length; column++) row[COLUMNS[column]] = line[column];
        row.seq = row.seqs[0];
        trace.rows.push(row);
      }
    }
    trace.rows.sort((one, other) => one.seq - other.seq);
    trace.rows.forEach((row, number) => trace.enter(row, number));
    return trace;
  }

  enter(row, number) {
    row.number = number;
    for (const seq of row.seqs) this.rowOf[seq] = number;
    for (const seq of row.cites) push(this.citedBy, seq, number);
    if (row.key) push(this.byKey, row.key, row);
    if (row.kind === "action" && row.plan) push(this.byNode, row.plan + "\n" + row.node, row);
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
    return JSON.parse((await this.lines(row.block))[row.place]);
  }

  // Rows whose content holds a text, block by block; `found` is called with each block's, and says whether to go on.
  async search(text, found) {
    const wanted = JSON.stringify(text).slice(1, -1).toLowerCase();
    const byBlock = groupBy(this.rows, (row) => row.block);
    for (const [block, rows] of byBlock) {
      const lines = (await unpack("block-" + block)).toLowerCase().split("\n");
      if (!found(rows.filter((row) => lines[row.place].includes(wanted)), block + 1, byBlock.size)) return;
    }
  }
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
