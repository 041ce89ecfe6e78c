// Shows one move in full: a step, a plan, an action, a question, or an event of the run.
"use strict";

const eventOf = (events, kind) => events.findLast((each) => each.e.kind === kind);
const said = (each) => (each && each.c && typeof each.c === "object" ? each.c : {});
const GONE = { withheld: "The content is withheld: deleted, encrypted, or left out of this report.", altered: "The content was altered after it was recorded, so it is not shown." };

function goneFrom(events) {
  const kept = ["altered", "withheld"].find((kind) => events.some((each) => each.k === kind));
  return kept ? element("p", "note " + (kept === "altered" ? "bad" : ""), GONE[kept]) : null;
}

async function moveOf(trace, row) {
  const events = await trace.events(row);
  const [cited, planned, later] = await Promise.all([citing(trace, row), plannedFor(trace, row), trace.saidLater(row, events)]);
  const show = { step: showStep, plan: showPlan, action: showAction, question: showQuestion, review: showReview }[row.kind] || showEvent;
  const made = element("div", "move " + row.kind);
  made.append(heading(row), goneFrom(events) || "", ...tried(() => show(trace, row, events, { cited, planned, later: verdictsOf(later) })));
  made.append(unfolding("All " + counted(events.length, "event") + " as recorded", () => events.map((each) => json(each.c === null ? each.e : { ...each.e, content: each.c }, "raw"))));
  return made;
}

// Whoever wrote a trace can have put anything into it: what has no shape that we know is shown as it is recorded.
function tried(show) {
  try {
    return [show()].flat(Infinity).filter(Boolean);
  } catch (error) {
    return [element("p", "note warn", "The content has an unexpected form (" + error.message + "): see the recorded events below.")];
  }
}

// Verdicts of other rows that quote from this one.
async function citing(trace, row) {
  const numbers = new Set(row.seqs.flatMap((seq) => trace.citedBy.get(seq) || []));
  const found = [];
  for (const place of [...numbers].slice(0, 50)) {
    const from = trace.rows[place];
    for (const verdict of verdictsOf(await trace.events(from))) {
      for (const span of listOf(verdict.evidence)) if (row.seqs.includes(span.event) && span.quote) found.push({ ...span, monitor: verdict.monitor, decision: verdict.decision, from });
    }
  }
  return found;
}

// The call of a plan that an action carries out, as it stood in the plan.
async function plannedFor(trace, row) {
  const plan = row.plan ? planOf(trace, row) : null;
  if (!plan) return null;
  return listOf(said((await trace.events(plan))[0]).calls).find((call) => call.id === row.node);
}

const planOf = (trace, row) => (trace.byKey.get(row.plan) || []).filter((each) => each.kind === "plan" && each.seq < row.seq).pop();

function heading(row) {
  const [name, ...rest] = row.label.split("  ");
  return element("header", "", element("p", "faint", `${row.kind}${row.key ? " " + row.key : ""} · ${row.seqs.length > 1 ? `events ${row.seq} to ${row.seqs[row.seqs.length - 1]}` : "event " + row.seq}`),
    element("h3", "", name, rest.length ? element("small", "", " " + rest.join("  ")) : null),
    element("p", "badges", row.status ? element("span", "badge status-" + row.status.replace(/\W/g, ""), row.status) : null,
      row.worst || READ.has(row.kind) ? element("span", "badge " + lookOf(row.worst), GLYPHS[row.worst] ?? "", " ", row.worst || "not read by any monitor") : null,
      row.marks.includes("f") ? element("span", "badge unmade", "a check was not made") : null,
      row.ledger === "oversight" ? element("span", "badge", "oversight") : null));
}

const section = (title, ...inside) => element("section", "part", element("h4", "", title), inside);

// --- steps

function showStep(trace, row, events, { cited, later }) {
  const asked = eventOf(events, "step.asked"), end = eventOf(events, "step.answered") || eventOf(events, "step.cut");
  const content = said(end), answer = end ? end.e : {};
  const samples = listOf(content.samples);
  const winner = samples.find((sample) => sample.index === answer.winner) || samples[answer.winner] || samples[0];
  const verdicts = verdictsOf(events);
  const spans = [...spansIn([...verdicts, ...later], row.seqs), ...cited];
  return [
    stepFacts(asked.e, answer),
    element("div", "three",
      section("Reasoning", reasoning(answer, winner, spans)),
      section("Output", output(content, winner, spans, end)),
      section("Verdicts", verdictColumn(trace, row, verdicts, later), cited.map((span) => element("p", "faint", "quoted by ", jump(span.from, span.monitor + " at event " + span.from.seq))))),
    samples.length > 1 || (samples.length && samples[0].flag) ? section("Samples: votes and discards", samples.map((sample) => sampleOf(sample, sample === winner, spans))) : null,
    reviewEnd(events),
    unfolding("Prompt", () => prompt(said(asked))),
    provenance(trace, row, "Sources", [...(answer.sources || []), ...(said(asked).provenance || []).flatMap((each) => (each && each.sources) || [])], answer.tainted),
  ];
}

function stepFacts(asked, answer) {
  const usage = answer.usage || {};
  return facts([
    ["model", [asked.backend, asked.model].filter(Boolean).join(":")],
    ["sampling", asked.sampling],
    ["samples", answer.samples > 1 || answer.discarded ? `${answer.samples ?? 1}, ${answer.votes ?? 1} for the winner, ${answer.discarded || 0} discarded, agreement ${share(answer.confidence ?? 1, 1)}` : ""],
    ["tokens", `${usage.guessed ? "about " : ""}${number(usage.input || 0)} in, ${number(usage.output || 0)} out${usage.reasoning ? ", of these " + number(usage.reasoning) + " reasoning" : ""}${usage.cached ? ", " + number(usage.cached) + " cached" : ""}`],
    ["cost", usage.usd === 0 || usage.usd === undefined ? "" : dollars(usage.usd)],
    ["time", answer.seconds ? lasting(answer.seconds) : ""],
    ["when", moment(asked.at)],
  ]);
}

function reasoning(answer, sample, spans) {
  const shown = answer.reasoning;
  if (sample && sample.reasoning) {
    const note = shown === "summary" ? "A summary by another model, not the reasoning itself." : shown === "redacted" ? "Partly redacted." : "";
    return [note ? element("p", "note", note) : null, markedPassage(sample.reasoning, about(spans, "reasoning", sample.index), "text")];
  }
  const billed = (answer.usage && answer.usage.reasoning) || 0;
  if (billed || shown === "absent" || shown === "redacted") return element("p", "note", `Hidden: ${billed ? counted(billed, "reasoning token") + " billed, " : ""}none readable.`);
  return element("p", "note", "None reported. What the model computed is not known; that does not mean that it is clean.");
}

function output(content, sample, spans, end) {
  if (!end) return element("p", "note", "No answer: the run stopped while the step was under way.");
  const parts = [];
  if (content.error) parts.push(element("p", "note bad", typeof content.error === "string" ? content.error : content.error.message || readable(content.error)));
  if (end.e.kind === "step.cut") parts.push(element("p", "note", content.reason ? "Stopped: " + readable(content.reason) : "Stopped before it was complete."));
  const text = sample ? sample.text || "" : "";
  if (text) parts.push(markedPassage(text, about(spans, "text", sample.index), "text"));
  if ("value" in content && readable(content.value).trim() !== text.trim()) parts.push(element("p", "faint", "parsed as"), json(content.value));
  return parts.length ? parts : element("p", "note", "Nothing.");
}

function sampleOf(sample, won, spans) {
  const first = String(sample.text || "").split("\n")[0];
  const title = element("span", "", element("span", "badge " + (won ? "good" : sample.flag ? "bad" : ""), won ? "winner" : sample.flag ? "discarded" : "vote"), ` ${sample.index} `, element("span", "faint", first.length > 80 ? first.slice(0, 80) + "…" : first));
  return unfolding(title, () => [
    facts([["discarded because", sample.flag], ["ended", sample.finish && sample.finish !== "stop" ? sample.finish : ""], ["log-probability", sample.logprob?.toFixed?.(3)],
      ["inner state", sample.signals && Object.keys(sample.signals).length ? JSON.stringify(sample.signals) : ""], ["given by", sample.origin ? JSON.stringify(sample.origin) : ""], ["way", sample.way || ""]]),
    sample.reasoning ? markedPassage(sample.reasoning, about(spans, "reasoning", sample.index), "text reasoning") : null, markedPassage(String(sample.text || ""), about(spans, "text", sample.index), "text")].filter(Boolean));
}

function prompt(content) {
  const messages = listOf(content.messages).map((message) => element("div", "message", element("p", "faint", message.role), passage(String(message.content ?? ""), "text")));
  return messages.length ? messages : element("p", "note", "Not in this report.");
}

function reviewEnd(events) {
  const released = eventOf(events, "released");
  return released && released.e.ok === false ? section("Withheld from the planner", element("p", "", said(released).feedback || "Not released.")) : null;
}

function provenance(trace, row, title, sources, tainted) {
  const unique = [...new Set(sources)].filter((source) => typeof source === "string");
  if (!unique.length) return null;
  const links = unique.slice(0, 40).map((source) => {
    const from = trace.rowOfSource(source, row.seq);
    return element("li", "", from ? jump(from, source) : source);
  });
  return section(title, tainted ? element("p", "note warn", "Some of it is untrusted.") : null, element("ul", "sources", links));
}

// --- plans and actions

function showPlan(trace, row, events, { later = [] } = {}) {
  const proposed = said(eventOf(events, "plan.proposed")), decided = eventOf(events, "plan.decided");
  const calls = listOf(proposed.calls), objections = listOf(said(decided).objections), allowed = Boolean(decided && decided.e.allowed);
  return [
    facts([["reason", proposed.reason], ["decided", decided ? (allowed ? "allowed" : "refused") + " (" + decided.e.decision + ")" : "not yet"], ["when", moment(events[0].e.at)]]),
    calls.length ? planGraph(trace, row, calls, objections, allowed) : null,
    objections.length ? section("Objections", objections.map((each) => element("p", "", element("b", "", each.node || "the plan"), ": ", each.feedback))) : null,
    calls.length ? section("Calls, as planned and what became of them", element("div", "calls", calls.map((call) => plannedCall(trace, row, call, objections, allowed)))) : null,
    people(events),
    section("Verdicts", verdictColumn(trace, row, verdictsOf(events), later)),
  ];
}

function plannedCall(trace, row, call, objections, allowed) {
  const fate = fateOf(trace, row, call, objections, allowed);
  const why = objections.filter((each) => each.node === call.id || each.node === "").map((each) => each.feedback).join("; ");
  return element("div", "planned " + fate.look, element("p", "", element("b", "", call.id), " ", call.id === call.action ? "" : call.action, " ", element("span", "badge " + fate.look, fate.said), fate.action ? jump(fate.action, "see it") : null),
    why ? element("p", "note bad", why) : null, json(call.arguments ?? {}, "call"), call.predicted !== undefined && call.predicted !== null ? element("p", "faint", "predicted: " + readable(call.predicted)) : null);
}

function showAction(trace, row, events, { cited, planned, later }) {
  const proposed = eventOf(events, "action.proposed"), call = said(proposed).call || {};
  const last = events.findLast((each) => ["action.intent", "action.withdrawn"].includes(each.e.kind)), intent = last && last.e.kind === "action.intent" ? last : null;
  const outcome = eventOf(events, "action.outcome"), refused = eventOf(events, "action.refused"), cleared = eventOf(events, "action.cleared");
  const verdicts = verdictsOf(events), spans = [...spansIn([...verdicts, ...later], row.seqs), ...cited];
  const opening = proposed.e;
  const result = said(outcome);
  return [
    facts([["effect", opening.effect], ["declared cost", opening.cost ? dollars(opening.cost) : ""], ["cleared", cleared ? cleared.e.decision + (cleared.e.observed ? ", monitors only observed" : "") : ""],
      ["digest", opening.digest ? opening.digest + "…" : ""], ["undoes", opening.compensates], ["time", outcome && outcome.e.seconds ? lasting(outcome.e.seconds) : ""], ["when", moment(opening.at)]]),
    element("div", "three",
      section("As proposed", element("p", "faint", opening.plan ? planLink(trace, row) : "on its own"), json(call.arguments ?? {}, "call"), asPlanned(planned, call)),
      section("As executed", executed(trace, intent, refused, opening, verdicts)),
      section("Result", outcome ? ["value" in result ? markedPassage(readable(result.value), about(spans, "observation"), "value") : null, result.reason ? element("p", "note bad", readable(result.reason)) : null, outcome.e.tainted !== false ? element("p", "faint", "untrusted") : null] : element("p", "note", intent ? "No outcome is recorded: the action may have happened." : "None: the action was not started."))),
    reviewEnd(events),
    people(events),
    section("Verdicts", verdictColumn(trace, row, verdicts, later)),
    provenance(trace, row, "Arguments come from", Object.values(call.provenance || {}).flatMap((each) => (each && each.sources) || []), Object.values(call.provenance || {}).some((each) => each && each.tainted)),
  ];
}

function planLink(trace, row) {
  const plan = planOf(trace, row);
  return element("span", "", "as ", element("b", "", row.node), " of ", plan ? jump(plan, "the plan at " + row.plan) : "the plan at " + row.plan);
}

// What was not known yet when the plan was made stands there as a reference; anything else that differs is a deviation.
function asPlanned(planned, call) {
  if (!planned || !call.arguments) return null;
  const same = JSON.stringify(sorted(planned.arguments)) === JSON.stringify(sorted(call.arguments));
  return same ? element("p", "faint", "as planned") : [element("p", "faint", "planned arguments"), json(planned.arguments, "call")];
}

const sorted = (value) => (value && typeof value === "object" && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).sort().map(([name, each]) => [name, sorted(each)])) : Array.isArray(value) ? value.map(sorted) : value);

function executed(trace, intent, refused, opening, verdicts) {
  const foreign = trace.manifest.frame.started.foreign;
  if (foreign) return element("p", "note warn", `As reported by another agent (${foreign}): not reviewed or cleared beforehand.`);
  if (refused) return [element("p", "note bad", "Refused (" + refused.e.decision + "): nothing happened."), said(refused).feedback ? element("p", "", said(refused).feedback) : null];
  if (!intent) return element("p", "note", "Not started.");
  if (intent.e.digest !== opening.digest) return element("p", "note bad", "The intent is for a different call than the one proposed; its digest is " + intent.e.digest + "…");
  return [element("p", "note " + (verdicts.length ? "good" : ""), `Exactly what was proposed${verdicts.length ? " and reviewed" : ", not read by any monitor"}: the digests are equal.`), facts([["attempt", intent.e.attempt || 1], ["idempotency key", intent.e.idempotency], ["started", moment(intent.e.at)]])];
}

function people(events) {
  const asked = events.filter((each) => each.e.kind === "approval.asked");
  if (!asked.length) return null;
  return section("People", asked.map((each) => {
    const given = events.findLast((other) => other.e.kind === "approval.given" && other.e.id === each.e.id);
    const by = given ? [given.e.by || "someone", ...(given.e.beside || [])].join(", ") : "";
    return element("div", "verdict " + (given ? (given.e.granted ? "allow" : "block") : "escalate"),
      element("p", "head", given ? (given.e.granted ? "Approved by " : "Denied by ") + by : "Not answered", given && given.e.scope ? ", with all calls of the plan" : ""),
      facts([["asked", moment(each.e.at)], ["answered", given ? moment(given.e.at) : ""], ["open until", each.e.expires < 1e12 ? moment(each.e.expires) : ""], ["may approve", (each.e.approvers || []).join(", ")], ["needs", each.e.needs > 1 ? each.e.needs + " people" : ""], ["comment", said(given).comment]]),
      [said(each).reasons || []].flat().map((reason) => element("p", "", readable(reason))));
  }));
}

// --- the rest

function showQuestion(trace, row, events) {
  const asked = eventOf(events, "question.asked"), answered = eventOf(events, "question.answered");
  return [section("Asked", json(said(asked).asked ?? "")), section("Answered", answered ? [element("p", "faint", "by " + (answered.e.by || "someone")), json(said(answered).value ?? "")] : element("p", "note", "Not yet."))];
}

const showReview = (trace, row, events, { later }) => [section("Verdicts", verdictColumn(trace, row, verdictsOf(events), later))];

function showEvent(trace, row, events, { later }) {
  const recorded = events.map(({ e: event, c: content }) => {
    const { kind, seq, at: when, t, key, ...rest } = event;
    return element("div", "", facts([["when", moment(when)], ...Object.entries(rest).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)])]),
      Object.entries(content || {}).map(([name, value]) => section(name, json(value))));
  });
  return [...recorded, later.length ? section("Verdicts", verdictColumn(trace, row, [], later)) : null];
}
