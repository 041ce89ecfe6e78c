// What the run came to: the top of the page, plans, actions, ledgers, monitors.
"use strict";

const STANDS = {
  verified: ["good", "Verified"], running: ["warn", "Still being written"], "cut off": ["warn", "Cut off"], "torn tail": ["warn", "Torn tail"], unsigned: ["warn", "Not signed to the end"],
  foreign: ["warn", "Imported"], misconduct: ["bad", "The gate was bypassed"], "wrong key": ["bad", "Not signed by the given key"], "rolled back": ["bad", "Rolled back"], "content altered": ["bad", "Content altered"],
  altered: ["bad", "Altered"], "newer format": ["warn", "Newer format"],
};

function showIntegrity(manifest) {
  const found = manifest.verification, foreign = manifest.frame.started.foreign || "";
  const [look, words] = STANDS[found.state] || ["bad", found.state];
  const notes = [];
  if (foreign) notes.push(`Imported from ${foreign}: another agent did this without a gate, and the trace holds only what that agent reported.`);
  for (const finding of found.findings || []) if (finding.state !== found.state) notes.push("Also " + finding.state + ": " + finding.said + ".");
  for (const repaired of found.repaired || []) notes.push("Repaired on resume: " + repaired + ".");
  if (manifest.stopped) notes.push(`Only the first ${number(manifest.events)} events are shown: ${manifest.stopped}.`);
  if (!manifest.content) notes.push("This report was written without content: prompts, reasoning, arguments and outputs are left out.");
  if (!found.signed_by_key && !foreign && found.events) notes.push(found.heads ? "The heads are signed; give the key (--key) to check by whom." : "Unsigned: anybody who can write to the folder could have rewritten the whole trace.");
  notes.push("A verified chain shows that nothing was changed. It does not show that the run was wise.");
  at("integrity").className = "banner " + (foreign && look === "good" ? "warn" : look);
  at("integrity").replaceChildren(element("p", "", element("strong", "", words), " ", found.sentence), element("ul", "", notes.map((note) => element("li", "", note))));
}

function showTop(manifest) {
  const { frame, verification } = manifest;
  document.title = `Run ${manifest.run}: ${frame.status || verification.state}`;
  at("run").textContent = plain(manifest.run);
  at("status").textContent = plain(frame.status || (verification.state === "running" ? "running" : "cut off"));
  at("status").className = "badge status-" + (frame.status || "cutoff");
  const task = frame.task || {}, closing = frame.closing || {};
  const answer = "answer" in closing ? closing.answer : closing.partial;
  const parts = [task.prompt ? element("p", "prompt", task.prompt) : element("p", "note", "The prompt is withheld.")];
  const goals = listOf(task.goals);
  if (goals.length) parts.push(unfolding("Goals and limits", () => element("ul", "goals", goals.map((goal) => element("li", "", element("span", "badge", goal.kind), " ", goal.statement, goal.rule ? element("code", "", goal.rule) : null))), goals.length < 6));
  if (closing.reason) parts.push(element("p", "note warn", `${frame.ended ? "Ended" : "Paused"}: ${readable(closing.reason)}`));
  if (answer !== undefined && answer !== null) parts.push(element("h3", "", "answer" in closing ? "Answer" : "Partial answer"), json(answer));
  parts.push(facts([["planner", frame.started.planner], ["started", moment(frame.at[0])], ["last event", moment(frame.at[1])], ["resumed", frame.resumed ? counted(frame.resumed, "time") : ""], ["scaffold", frame.started.scaffold]]));
  parts.push(unfolding("Plug-ins and settings", () => json({ plugins: frame.started.plugins, config: frame.config })));
  at("asked").replaceChildren(...parts);
}

function showTiles(manifest) {
  const { figures, frame } = manifest, { model, oversight } = figures.ledgers;
  const tokens = (usage) => (usage.input || 0) + (usage.output || 0);
  const spent = [tokens(model.usage), tokens(oversight.usage)];
  const usd = (usage) => (usage.usd === undefined ? 0 : usage.usd);
  const money = [usd(model.usage), usd(oversight.usage)];
  const total = money.includes(null) ? null : money[0] + money[1];
  const read = Object.values(figures.monitors).reduce((sum, monitor) => sum + monitor.seconds, 0);
  const { saved, actions } = figures;
  const tile = (name, value, note) => element("div", "tile", element("p", "name", name), element("p", "figure", value), element("p", "faint", note || ""));
  const refused = (actions.refused || 0) + (actions["refused in a plan"] || 0);
  at("tiles").replaceChildren(
    tile("Steps", number(model.steps), [model.failed ? number(model.failed) + " failed" : "", model.discarded ? counted(model.discarded, "sample") + " discarded" : "", model.open ? number(model.open) + " unfinished, charged at the worst case" : "", oversight.steps ? number(oversight.steps) + " more for oversight" : ""].filter(Boolean).join(", ")),
    tile("Actions performed", number(actions.performed || 0), ["failed", "unknown", "no outcome", "not started"].filter((status) => actions[status]).map((status) => `${number(actions[status])} ${status}`).join(", ")),
    tile("Refused", number(refused), saved.actions ? `${counted(saved.actions, "call")} saved, worth ${saved.usd ? dollars(saved.usd) : saved.unknown === saved.actions ? "an unknown cost" : "$0 by their declared costs"}${saved.unknown && saved.unknown !== saved.actions ? ", some of unknown cost" : ""}` : actions["plans refused"] ? counted(actions["plans refused"], "plan") + " refused" : "nothing was refused"),
    tile("Tokens", number(spent[0] + spent[1]), `oversight's share ${share(spent[1], spent[0] + spent[1])}`),
    tile("Cost of models", dollars(total), [figures.actions_usd ? "declared cost of actions " + dollars(figures.actions_usd) : "", total ? "oversight's share " + share(money[1], total) : ""].filter(Boolean).join("; ")),
    tile("Active time", lasting(frame.active), [`monitors took ${lasting(read)}`, frame.at[1] - frame.at[0] - frame.active > 1 ? "paused for " + lasting(frame.at[1] - frame.at[0] - frame.active) : ""].filter(Boolean).join("; ")));
}

const VISIBLE = [["full", "shown in full", "good"], ["summary", "as a summary", "flag"], ["redacted", "partly redacted", "warn"], ["absent", "hidden", "bad"], ["none", "none reported", "unread"]];

function showLegibility(manifest) {
  const told = manifest.figures.reasoning;
  const bar = (counts, unit) => {
    const sum = Object.values(counts).reduce((all, count) => all + count, 0);
    if (!sum) return null;
    const parts = VISIBLE.filter(([kind]) => counts[kind]);
    const made = drawn("svg", { class: "bar", viewBox: "0 0 1000 10", preserveAspectRatio: "none", role: "img", "aria-label": parts.map(([kind, words]) => `${counted(counts[kind], unit)} ${words}`).join(", ") });
    let from = 0;
    for (const [kind, , look] of parts) {
      made.append(drawn("rect", { class: look, x: from, y: 0, width: 1000 * counts[kind] / sum, height: 10 }));
      from += 1000 * counts[kind] / sum;
    }
    return element("div", "", made, element("p", "key", parts.map(([kind, words, look]) => element("span", "", element("i", look), ` ${words}: ${counted(counts[kind], unit)} (${share(counts[kind], sum)})`))));
  };
  const read = (name) => (told.read[name] === null ? "" : `${share(told.read[name], 1)} read, ${share(told.readable[name], 1)} readable`);
  const sentence = told.sentence[0].toUpperCase() + told.sentence.slice(1) + ".";
  at("legibility").replaceChildren(element("h3", "", "How much of the reasoning was read"), element("p", "", sentence),
    facts([["by steps", read("steps")], ["by tokens", read("tokens")]]),
    ...[bar(told.steps, "step"), bar(told.tokens, "token")].filter(Boolean),
    element("p", "faint", "Read: a monitor checked the step or its stream. Unreadable reasoning is not clean, and readable reasoning may not be what the model computes."));
}

// --- plans and actions

class Plans {
  constructor(trace) {
    Object.assign(this, { trace, rows: trace.rows.filter((row) => row.kind === "plan"), place: 0 });
    const refused = this.rows.findIndex((row) => row.status === "refused");
    at("plans").hidden = !this.rows.length;
    at("plan-before").addEventListener("click", () => this.show(this.place - 1));
    at("plan-after").addEventListener("click", () => this.show(this.place + 1));
    if (this.rows.length) this.show(Math.max(0, refused));
  }

  async show(place) {
    this.place = place;
    const row = this.rows[place];
    at("plan-before").disabled = place === 0;
    at("plan-after").disabled = place === this.rows.length - 1;
    at("plan-place").replaceChildren(`${number(place + 1)} of ${number(this.rows.length)}: `, element("span", "badge " + (row.status === "refused" ? "bad" : row.status === "allowed" ? "good" : ""), row.status), " ", jump(row, "event " + row.seq));
    const show = (events) => tried(() => showPlan(this.trace, row, events));
    const parts = await this.trace.events(row).then(show, (error) => [element("p", "note bad", "Cannot be shown: " + error.message)]);
    if (this.place === place) at("plan").replaceChildren(...parts);
  }
}

// Every action that was proposed, and every call that was refused in a plan, in the order in which they were.
function showActions(trace) {
  const lines = [];
  for (const row of trace.rows) {
    if (row.kind === "action") lines.push({ row, label: row.label, status: row.status, more: row.more || {} });
    if (row.kind === "plan") for (const [, label, why] of row.more || []) lines.push({ row, label, status: "refused", why });
  }
  const counts = groupBy(lines, (line) => line.status);
  at("actions").hidden = !lines.length;
  at("actions-count").textContent = [...counts].map(([status, group]) => `${number(group.length)} ${status}`).join(", ");
  const list = new Windowed(at("actions-list"), 58, (index) => actionLine(lines[index], index, trace.manifest.frame.started.foreign));
  at("actions-list").style.height = Math.min(560, Math.max(1, lines.length) * 58 + 2) + "px";
  list.resize(lines.length);
  let chosen = -1;
  const move = (steps) => {
    chosen = Math.max(0, Math.min(lines.length - 1, chosen + steps));
    list.reveal(chosen);
    for (const each of at("actions-list").querySelectorAll("[role=option]")) each.setAttribute("aria-selected", String(each.id === "act-" + chosen));
    at("actions-list").setAttribute("aria-activedescendant", "act-" + chosen);
  };
  listKeys(at("actions-list"), () => 1, () => 8, { move, end: (last) => move(last ? Infinity : -Infinity), enter: () => { if (chosen >= 0) location.hash = "#e" + lines[chosen].row.seq; } });
  return list;
}

function actionLine({ row, label, status, more, why }, index, foreign) {
  const [name, ...rest] = label.split("  ");
  const told = foreign ? "as reported by another agent" : more ? (more.exact === true ? "executed exactly as " + (row.worst ? "reviewed" : "proposed, not read by any monitor") : more.exact === false ? "executed differently than proposed!" : status === "refused" ? "refused, nothing happened" : "not executed") : `refused in its plan${why ? ": " + why : ""}`;
  const people = more && more.people && more.people.length ? (more.granted ? "approved by " : "denied by ") + more.people.join(", ") : more && more.scope ? "approved with its plan" : more && more.observed ? "monitors only observed" : foreign || status === "open" ? "" : "no approval needed";
  const made = element("a", "line", element("span", "badge status-" + status, status), element("span", "what", element("b", "", name), " ", rest.join("  "), more && more.undoes ? " (undoes " + more.undoes + ")" : ""),
    element("span", "sub", [more ? more.effect : "", told, status === "refused" && !(more && more.people.length) ? "" : people, more && more.cost ? dollars(more.cost) : ""].filter(Boolean).join(" · ")), element("span", "seq", "#" + row.seq));
  made.href = "#e" + row.seq;
  made.id = "act-" + index;
  made.tabIndex = -1;
  made.setAttribute("role", "option");
  made.setAttribute("aria-selected", "false");
  return made;
}

// --- ledgers

function showLedgers(manifest) {
  const { groups, ledgers, monitors } = manifest.figures;
  const cells = (group) => [number(group.steps), number(group.samples), number(group.usage.input || 0), number(group.usage.output || 0), number(group.usage.reasoning || 0), (group.usage.guessed ? "~" : "") + number((group.usage.input || 0) + (group.usage.output || 0)), dollars(group.usage.usd === undefined ? 0 : group.usage.usd), lasting(group.seconds)];
  const rows = groups.map(([ledger, step, backend, model, group]) => [`${step}, ${[backend, model].filter(Boolean).join(":")}${ledger === "oversight" ? " (oversight)" : ""}`, ...cells(group)]);
  rows.push(["run", ...cells(ledgers.model)], ["oversight", ...cells(ledgers.oversight)]);
  at("ledgers").replaceChildren(table("By kind of step and model. Time is summed over steps, which may overlap. ~ marks estimated token counts.", ["", "steps", "samples", "in", "out", "reasoning", "tokens", "cost", "time"], rows));
  const watchers = Object.entries(monitors).map(([name, monitor]) => [name, number(Object.values(monitor.decisions).reduce((sum, count) => sum + count, 0)),
    DECISIONS.filter((decision) => monitor.decisions[decision]).map((decision) => `${decision} ${number(monitor.decisions[decision])}`).join(", "),
    Object.entries(monitor.statuses).filter(([status]) => status !== "ok").map(([status, count]) => `${SAID[status] || status}: ${number(count)}`).join(", ") || "none",
    number((monitor.usage.input || 0) + (monitor.usage.output || 0)), dollars(monitor.usage.usd === undefined ? 0 : monitor.usage.usd), lasting(monitor.seconds)]);
  const { reviews } = manifest;
  const again = reviews.map((review) => [`${moment(review.at)}, ${review.id}`, review.monitors.join(", "), number(review.verdicts), number(review.objections),
    [review.same ? "" : "of another state of the run", review.ended ? "" : "not finished", review.stopped].filter(Boolean).join("; ") || "the run up to event " + number(review.until)]);
  at("again").replaceChildren(reviews.length ? table("Later reviews, by `scaffold audit review`. They are shown beside the verdicts of the run and did not change it.", ["review", "monitors", "verdicts", "objections", "reviewed"], again) : "");
  at("monitors").replaceChildren(watchers.length ? table("Monitors: the verdicts and cost of each. A check that was not made is not a pass.", ["monitor", "verdicts", "decisions", "not made", "tokens", "cost", "time"], watchers) : element("p", "note", "No monitor reviewed anything in this run."));
}
