// What the run came to: the top of the page, plans, actions, ledgers, monitors.
"use strict";

const STANDS = {
  verified: ["good", "Verified"], running: ["warn", "Still being written"], "cut off": ["warn", "Cut off"], "torn tail": ["warn", "Torn at its end"], unsigned: ["warn", "Not signed to its end"],
  foreign: ["warn", "Imported"], misconduct: ["bad", "The gate was passed"], "wrong key": ["bad", "Not signed by the given key"], "rolled back": ["bad", "Rolled back"], "content altered": ["bad", "Content altered"],
  altered: ["bad", "Altered"], "newer format": ["warn", "Of a newer format"],
};

function showIntegrity(manifest) {
  const found = manifest.verification, foreign = manifest.frame.started.foreign || "";
  const [look, words] = STANDS[found.state] || ["bad", found.state];
  const notes = [];
  if (foreign) notes.push(`It was imported from ${foreign}: somebody else's agent did all this, without a gate, and the trace says no more than what that one reported.`);
  for (const finding of found.findings || []) if (finding.state !== found.state) notes.push("Also " + finding.state + ": " + finding.said + ".");
  for (const repaired of found.repaired || []) notes.push("A resume mended it: " + repaired + ".");
  if (manifest.stopped) notes.push(`This report shows the ${number(manifest.events)} events before that place, and nothing after it: ${manifest.stopped}.`);
  if (!manifest.content) notes.push("This report was written without content: prompts, reasoning, arguments and outputs are left out.");
  if (!found.signed_by_key && !foreign && found.events) notes.push(found.heads ? "Heads are signed; with the key (--key) it can be told by whom." : "Unsigned: whoever could write the folder could have written all of it anew.");
  notes.push("A verified chain shows that nothing was changed. It does not say that the run was wise.");
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
  const parts = [task.prompt ? element("p", "prompt", task.prompt) : element("p", "note", "What was asked is withheld.")];
  const goals = listOf(task.goals);
  if (goals.length) parts.push(unfolding("Goals and limits", () => element("ul", "goals", goals.map((goal) => element("li", "", element("span", "badge", goal.kind), " ", goal.statement, goal.rule ? element("code", "", goal.rule) : null))), goals.length < 6));
  if (closing.reason) parts.push(element("p", "note warn", `${frame.ended ? "Ended" : "Paused"}: ${readable(closing.reason)}`));
  if (answer !== undefined && answer !== null) parts.push(element("h3", "", "answer" in closing ? "Answer" : "What it had so far"), json(answer));
  parts.push(facts([["planner", frame.started.planner], ["begun", moment(frame.at[0])], ["last event", moment(frame.at[1])], ["resumed", frame.resumed ? counted(frame.resumed, "time") : ""], ["scaffold", frame.started.scaffold]]));
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
    tile("Steps", number(model.steps), [model.failed ? number(model.failed) + " failed" : "", model.discarded ? counted(model.discarded, "sample") + " discarded" : "", model.open ? number(model.open) + " without an end, charged at worst" : "", oversight.steps ? number(oversight.steps) + " more for oversight" : ""].filter(Boolean).join(", ")),
    tile("Actions performed", number(actions.performed || 0), ["failed", "unknown", "begun, no outcome", "not begun"].filter((status) => actions[status]).map((status) => `${number(actions[status])} ${status}`).join(", ")),
    tile("Refused", number(refused), saved.actions ? `${counted(saved.actions, "call")} spared, worth ${saved.usd ? dollars(saved.usd) : saved.unknown === saved.actions ? "an unknown cost" : "$0 by their own declaration"}${saved.unknown && saved.unknown !== saved.actions ? ", of some the cost is unknown" : ""}` : actions["plans refused"] ? counted(actions["plans refused"], "plan") + " refused" : "nothing was refused"),
    tile("Tokens", number(spent[0] + spent[1]), `oversight's share ${share(spent[1], spent[0] + spent[1])}`),
    tile("Money for models", dollars(total), [figures.actions_usd ? "actions cost " + dollars(figures.actions_usd) + " by their declaration" : "", total ? "oversight's share " + share(money[1], total) : ""].filter(Boolean).join("; ")),
    tile("Time active", lasting(frame.active), [`monitors read for ${lasting(read)}`, frame.at[1] - frame.at[0] - frame.active > 1 ? "stood still for " + lasting(frame.at[1] - frame.at[0] - frame.active) : ""].filter(Boolean).join("; ")));
}

const VISIBLE = [["full", "shown in full", "good"], ["summary", "as a summary", "flag"], ["redacted", "redacted in part", "warn"], ["absent", "hidden", "bad"], ["none", "no sign of any", "unread"]];

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
    element("p", "faint", "Read: a monitor made its check of the step or of its stream. What cannot be read is not clean, and what was read may not be what the model computes."));
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
    const parts = await this.trace.events(row).then(show, (error) => [element("p", "note bad", "It cannot be shown: " + error.message)]);
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
  const told = foreign ? "as another agent reported it" : more ? (more.exact === true ? "executed exactly as " + (row.worst ? "reviewed" : "proposed, read by no monitor") : more.exact === false ? "executed otherwise than proposed!" : status === "refused" ? "refused, nothing happened" : "not executed") : `refused in its plan${why ? ": " + why : ""}`;
  const people = more && more.people && more.people.length ? (more.granted ? "approved by " : "denied by ") + more.people.join(", ") : more && more.scope ? "approved with its plan" : more && more.observed ? "monitors only observed" : foreign ? "" : "nobody had to approve";
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
  rows.push(["the work", ...cells(ledgers.model)], ["oversight", ...cells(ledgers.oversight)]);
  at("ledgers").replaceChildren(table("By kind of step and model; time is summed over steps, which may overlap. ~ marks tokens that were guessed, not counted.", ["", "steps", "samples", "in", "out", "reasoning", "tokens", "money", "time"], rows));
  const watchers = Object.entries(monitors).map(([name, monitor]) => [name, number(Object.values(monitor.decisions).reduce((sum, count) => sum + count, 0)),
    DECISIONS.filter((decision) => monitor.decisions[decision]).map((decision) => `${decision} ${number(monitor.decisions[decision])}`).join(", "),
    Object.entries(monitor.statuses).filter(([status]) => status !== "ok").map(([status, count]) => `${SAID[status] || status}: ${number(count)}`).join(", ") || "none",
    number((monitor.usage.input || 0) + (monitor.usage.output || 0)), dollars(monitor.usage.usd === undefined ? 0 : monitor.usage.usd), lasting(monitor.seconds)]);
  const { reviews } = manifest;
  const again = reviews.map((review) => [`${moment(review.at)}, ${review.id}`, review.monitors.join(", "), number(review.verdicts), number(review.objections),
    [review.same ? "" : "of a state of the run that is not this one", review.ended ? "" : "it did not come to its end", review.stopped].filter(Boolean).join("; ") || "the run up to event " + number(review.until)]);
  at("again").replaceChildren(reviews.length ? table("Read again later, by `scaffold audit review`: what was said then stands beside what was said at the time, and changed nothing of what the run did.", ["review", "monitors", "verdicts", "objections", "of"], again) : "");
  at("monitors").replaceChildren(watchers.length ? table("Monitors: what each said, and what it took. A check that was not made is not a pass.", ["monitor", "verdicts", "said", "not made", "tokens", "money", "time"], watchers) : element("p", "note", "No monitor read anything in this run."));
}
