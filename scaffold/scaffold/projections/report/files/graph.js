// Draws a plan: its actions in layers by what has to come before them, and the thoughts they rest on in front.
"use strict";

const BOX = { width: 190, height: 54, gapX: 60, gapY: 18, pad: 12 };
const MOST_SOURCES = 6;

// `nodes`: {id, title, note, look, after, row}; edges lead from what comes first. Gives an SVG element.
function graph(nodes, title) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const before = (node) => node.after.filter((id) => byId.has(id) && id !== node.id);
  const layers = arrange(nodes, byId, before);
  const tallest = Math.max(...layers.map((layer) => layer.length));
  const width = BOX.pad * 2 + layers.length * BOX.width + (layers.length - 1) * BOX.gapX;
  const height = BOX.pad * 2 + tallest * (BOX.height + BOX.gapY) - BOX.gapY;
  layers.forEach((layer, column) => layer.forEach((node, place) => {
    node.x = BOX.pad + column * (BOX.width + BOX.gapX);
    node.y = BOX.pad + place * (BOX.height + BOX.gapY) + (tallest - layer.length) * (BOX.height + BOX.gapY) / 2;
  }));
  const made = drawn("svg", { class: "dag", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": title });
  for (const node of nodes) for (const id of before(node)) made.append(edge(byId.get(id), node));
  for (const node of nodes) made.append(box(node));
  return element("div", "scroll", made);
}

// The layer of a node is the longest way to it; in a layer, nodes stand near the middle of what leads to them.
function arrange(nodes, byId, before) {
  const depth = new Map();
  const measure = (start) => {
    const waiting = [start];
    while (waiting.length) {
      const node = waiting[waiting.length - 1];
      const open = before(node).filter((id) => !depth.has(id));
      if (open.length && !node.open) { node.open = true; waiting.push(...open.map((id) => byId.get(id))); continue; }
      depth.set(node.id, 1 + Math.max(-1, ...before(node).map((id) => depth.get(id) ?? -1)));
      waiting.pop();
    }
  };
  nodes.forEach(measure);
  const layers = [];
  for (const node of nodes) (layers[depth.get(node.id)] ||= []).push(node);
  const kept = layers.filter(Boolean);
  kept.forEach((layer, column) => {
    if (column) for (const node of layer) {
      const places = before(node).map((id) => byId.get(id).place ?? 0);
      node.wish = places.length ? places.reduce((sum, place) => sum + place, 0) / places.length : 0;
    }
    if (column) layer.sort((one, other) => one.wish - other.wish);
    layer.forEach((node, place) => { node.place = place + (1 - layer.length) / 2; });
  });
  return kept;
}

function edge(from, to) {
  const [x1, y1, x2, y2] = [from.x + BOX.width, from.y + BOX.height / 2, to.x, to.y + BOX.height / 2];
  const bend = Math.max(20, (x2 - x1) / 2);
  return drawn("path", { class: from.look === "thought" ? "edge faint" : "edge", d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2 - 5},${y2} m-5,-4 l5,4 l-5,4` });
}

function box(node) {
  const clipped = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);
  const made = drawn(node.row ? "a" : "g", { class: "node " + node.look, ...(node.row ? { href: "#e" + node.row.seq } : {}) },
    drawn("title", {}, node.title + (node.note ? ": " + node.note : "")),
    drawn("rect", { x: node.x, y: node.y, width: BOX.width, height: BOX.height, rx: node.look === "thought" ? 27 : 8 }),
    drawn("text", { x: node.x + 14, y: node.y + 23, class: "name" }, clipped(node.title, 23)),
    drawn("text", { x: node.x + 14, y: node.y + 41, class: "sub" }, clipped(node.note, 27)));
  return made;
}

// --- plans

const LOOKS = { performed: "good", refused: "bad", failed: "bad", unknown: "warn", begun: "warn", withheld: "warn" };

// What became of one call of a plan: refused in it, proposed as an action and how that ended, or never proposed.
function fateOf(trace, row, call, objections, allowed) {
  const actions = trace.byNode.get(row.key + "\n" + call.id) || [];
  const action = actions[actions.length - 1];
  if (action) return { action, look: LOOKS[action.status] || "", said: action.status };
  if (allowed) return { look: "", said: "not started" };
  const named = objections.some((each) => each.node === call.id || each.node === "");
  return named || !objections.length ? { look: "bad", said: "refused" } : { look: "", said: "not run: plan refused" };
}

function planGraph(trace, row, calls, objections, allowed) {
  const rest = calls.map((call) => restsOn(trace, row, call));
  const apart = new Set(rest.flatMap((groups) => [...groups.values()].map((rows) => rows[0].seq + "\n" + rows.length)));
  const thoughts = new Map();
  const nodes = calls.map((call, place) => {
    const fate = fateOf(trace, row, call, objections, allowed);
    const own = [...rest[place]].map(([name, rows]) => thoughtOf(thoughts, name, rows, apart.size <= MOST_SOURCES));
    return { id: "a:" + call.id, title: call.id === call.action ? call.action : `${call.action} ${call.id}`, note: fate.said, look: fate.look,
      after: [...(call.after || []).map((id) => "a:" + id), ...own], row: fate.action };
  });
  const sources = [...thoughts.values()].map(({ rows, name, id }) => {
    const [first] = rows;
    return { id, title: name, note: rows.size > 1 ? counted(rows.size, "result") : first.label.split("  ").slice(1).join(" ") || first.key, look: "thought", after: [], row: first };
  });
  return graph([...sources, ...nodes], `plan of ${calls.length} actions`);
}

// What a call rests on of what came before, by the names of steps and actions.
function restsOn(trace, row, call) {
  const sources = new Set([...(call.because || []), ...Object.values(call.provenance || {}).flatMap((each) => (each && each.sources) || [])]);
  const rows = [...sources].map((source) => trace.rowOfSource(String(source), row.seq)).filter((from) => from && from.seq < row.seq);
  return groupBy(rows, (from) => from.label.split("  ")[0]);
}

// Few sources are drawn each by itself; many in one node for all of a name, whichever call they are for.
function thoughtOf(thoughts, name, rows, few) {
  const id = "s:" + name + (few ? "\n" + rows[0].seq + "\n" + rows.length : "");
  if (!thoughts.has(id)) thoughts.set(id, { id, name, rows: new Set() });
  for (const each of rows) thoughts.get(id).rows.add(each);
  return id;
}
