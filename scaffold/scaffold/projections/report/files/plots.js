// Votes, discards, and how well stated confidence fitted what was seen.
"use strict";

const SIDE = 230, EDGE = 34;

function frame(title, across, up) {
  const made = drawn("svg", { class: "plot", viewBox: `0 0 ${SIDE + EDGE + 12} ${SIDE + EDGE + 12}`, role: "img", "aria-label": title });
  made.append(drawn("rect", { class: "ground", x: EDGE, y: 8, width: SIDE, height: SIDE }));
  for (const part of [0, 0.5, 1]) {
    made.append(drawn("text", { class: "tick", x: EDGE + part * SIDE, y: SIDE + 22, "text-anchor": "middle" }, String(part)));
    if (up.ticks !== false) made.append(drawn("text", { class: "tick", x: EDGE - 6, y: 12 + (1 - part) * SIDE, "text-anchor": "end" }, String(part)));
  }
  made.append(drawn("text", { class: "axis", x: EDGE + SIDE / 2, y: SIDE + 38, "text-anchor": "middle" }, across));
  made.append(drawn("text", { class: "axis", x: 12, y: 8 + SIDE / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${8 + SIDE / 2})` }, up.name));
  return made;
}

const X = (value) => EDGE + Math.min(1, Math.max(0, value)) * SIDE;
const Y = (value) => 8 + (1 - Math.min(1, Math.max(0, value))) * SIDE;

function reliability(score) {
  const made = frame(`Reliability of ${score.step} by ${score.model}: ` + score.bins.map((bin) => `stated ${bin.stated.toFixed(2)}, right ${bin.right.toFixed(2)}, ${bin.count} times`).join("; "), "confidence as stated", { name: score.measured === "key" ? "share right" : "share that agrees with most" });
  made.append(drawn("path", { class: "diagonal", d: `M${X(0)},${Y(0)} L${X(1)},${Y(1)}` }));
  made.append(drawn("path", { class: "curve", d: score.bins.map((bin, place) => `${place ? "L" : "M"}${X(bin.stated)},${Y(bin.right)}`).join(" ") }));
  const most = Math.max(...score.bins.map((bin) => bin.count));
  for (const bin of score.bins) {
    made.append(drawn("circle", { class: "point", cx: X(bin.stated), cy: Y(bin.right), r: 3 + 6 * Math.sqrt(bin.count / most) }, drawn("title", {}, `stated ${bin.stated.toFixed(2)}, right ${bin.right.toFixed(2)}, ${bin.count} times`)));
  }
  const after = score.corrected_brier === null || score.corrected_brier === undefined ? "" : ` After calibration on the other statements: Brier ${score.corrected_brier.toFixed(3)}, error ${score.corrected_error.toFixed(3)}.`;
  return element("figure", "", element("figcaption", "", element("b", "", score.step), " by " + [score.backend, score.model].filter(Boolean).join(":")), made,
    element("p", "faint", `${counted(score.count, "statement")}, ${share(score.right, 1)} right. Brier ${score.brier.toFixed(3)} (0 is perfect, 0.25 a coin), calibration error ${score.error.toFixed(3)}.${after}`));
}

function agreement(name, group) {
  const most = Math.max(...group.agreement);
  const made = frame(`Agreement of votes in ${name}: ` + group.agreement.map((count, bin) => (count ? `${bin / 10} to ${(bin + 1) / 10}: ${count}` : "")).filter(Boolean).join("; "), "share of votes for the winner", { name: "steps", ticks: false });
  group.agreement.forEach((count, bin) => {
    if (!count) return;
    const height = SIDE * count / most;
    made.append(drawn("rect", { class: "column", x: X(bin / 10) + 2, y: 8 + SIDE - height, width: SIDE / 10 - 4, height }, drawn("title", {}, `${bin / 10} to ${(bin + 1) / 10}: ${counted(count, "step")}`)));
  });
  made.append(drawn("text", { class: "tick", x: EDGE - 6, y: 18, "text-anchor": "end" }, number(most)));
  return element("figure", "", element("figcaption", "", element("b", "", name)), made, element("p", "faint", `${counted(group.voted, "step")} with more than one vote.`));
}

function showSureness(manifest) {
  const { groups, confidence } = manifest.figures;
  const rows = groups.map(([ledger, step, backend, model, group]) => [`${step}, ${[backend, model].filter(Boolean).join(":")}${ledger === "oversight" ? " (oversight)" : ""}`, number(group.steps), number(group.samples), group.steps ? (group.samples / group.steps).toFixed(1) : "–", number(group.discarded), share(group.discarded, group.samples), number(group.failed), number(group.cut)]);
  at("votes").replaceChildren(rows.length ? table("Votes count samples in the order they were requested. Discarded samples were flagged; they cost the same.", ["", "steps", "samples", "per step", "discarded", "share", "failed", "stopped"], rows) : element("p", "note", "This run has no steps."));
  const voted = groups.filter(([, , , , group]) => group.voted);
  const parts = [];
  if (voted.length) parts.push(element("h3", "", "Agreement of votes"), element("div", "plots", voted.map(([ledger, step, , model, group]) => agreement(`${step}, ${model}${ledger === "oversight" ? " (oversight)" : ""}`, group))));
  parts.push(element("h3", "", "Calibration of stated confidence"));
  parts.push(confidence.length ? element("div", "plots", confidence.map(reliability)) : element("p", "note", "No step of this run stated a confidence that can be checked. A stated confidence is compared with the other samples or, with --answers, with a run that counts as right."));
  parts.push(element("p", "faint", "Agreement is not truth: samples of one model make the same errors. Schema-valid is not correct."));
  at("plots").replaceChildren(...parts);
}
