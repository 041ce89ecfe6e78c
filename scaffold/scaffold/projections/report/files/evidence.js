// Verdicts with the words they rest on, and those words marked where they stand.
"use strict";

const DECISIONS = ["halt", "block", "escalate", "revise", "resample", "flag", "allow"];
const GLYPHS = { halt: "■", block: "✕", escalate: "?", revise: "↻", resample: "↻", flag: "!", allow: "✓", "": "·" };
const SAID = { ok: "", error: "the check failed", timeout: "the check took too long", truncated: "the check was cut off", abstain: "abstained", skipped: "skipped" };
const severity = (decision) => (decision === "resample" ? severity("revise") : DECISIONS.length - (DECISIONS.indexOf(decision) + 1 || DECISIONS.length));
const lookOf = (decision) => (DECISIONS.includes(decision) ? decision : "unread");

// All verdicts of a row: whole where their content is there, else the facts that the spine keeps.
function verdictsOf(events) {
  const found = [];
  for (const { e: event, c: content, k: kept, review } of events) {
    if (event.kind !== "reviewed") continue;
    const whole = listOf(content && content.verdicts);
    for (const [place, fact] of (event.verdicts || []).entries()) {
      const own = whole[place] && whole[place].monitor === fact.monitor ? whole[place] : whole.find((each) => each.monitor === fact.monitor);
      found.push({ ...own, ...fact, status: fact.status || "ok", subject: event.subject, seq: event.seq, came: event.decision, waives: event.waives, review, hidden: kept === "withheld" || kept === "altered" });
    }
  }
  return found;
}

const listOf = (value) => (Array.isArray(value) ? value.filter((each) => each && typeof each === "object") : []);

// Spans of evidence with who gave them; what is said of other events is left out.
function spansIn(verdicts, seqs) {
  return verdicts.flatMap((verdict) => listOf(verdict.evidence).filter((span) => typeof span.quote === "string" && span.quote && (!span.event || seqs.includes(span.event)))
    .map((span) => ({ ...span, monitor: verdict.monitor, decision: verdict.decision })));
}

// Those that speak of one part of a move (`reasoning`, `text`, `observation`), of one sample, or do not say of which.
const about = (spans, part, sample) => spans.filter(({ path }) => {
  const [, index, named] = /^(?:samples\/(\d+)\/)?(reasoning|observation|plan|text|value)\b/.exec(path || "") || [];
  if (index !== undefined && Number(index) !== sample) return false;
  return !named || named === part || (named === "value" && part === "text");
});

// Where a span's words stand in a text: at its own place if they do, else where they first occur.
function placeOf(text, span) {
  if (span.end && text.slice(span.start || 0, span.end) === span.quote) return [span.start || 0, span.end];
  const found = text.indexOf(span.quote);
  return found < 0 ? null : [found, found + span.quote.length];
}

// A text with the words of its evidence marked; marks that overlap are one.
function marked(text, spans) {
  const places = [];
  for (const span of spans) {
    const place = placeOf(text, span);
    if (!place) continue;
    places.push({ from: place[0], to: place[1], spans: [span] });
  }
  places.sort((one, other) => one.from - other.from || other.to - one.to);
  const merged = [];
  for (const place of places) {
    const last = merged[merged.length - 1];
    if (last && place.from < last.to) {
      last.to = Math.max(last.to, place.to);
      last.spans.push(...place.spans);
    } else merged.push(place);
  }
  const parts = [];
  let done = 0;
  for (const { from, to, spans: said } of merged) {
    parts.push(document.createTextNode(plain(text.slice(done, from))));
    const worst = DECISIONS.find((decision) => said.some((span) => span.decision === decision)) || "";
    const mark = element("mark", lookOf(worst), text.slice(from, to));
    mark.title = plain(said.map((span) => span.monitor + " says " + span.decision).join(", "));
    parts.push(mark);
    done = to;
  }
  parts.push(document.createTextNode(plain(text.slice(done))));
  return parts;
}

const markedPassage = (text, spans, className) => passage(text, className, (shown) => marked(shown, spans));

function verdictCard(trace, row, verdict) {
  const made = element("div", "verdict " + lookOf(verdict.decision));
  const status = verdict.status && verdict.status !== "ok" ? SAID[verdict.status] || verdict.status : "";
  const score = typeof verdict.score === "number" ? `${verdict.property || "score"} ${verdict.score.toFixed(2)}${verdict.calibrated ? " (calibrated)" : ""}` : "";
  made.append(element("p", "head", element("b", "", verdict.monitor), " says ", element("span", "badge " + lookOf(verdict.decision), GLYPHS[verdict.decision] || "", " ", verdict.decision),
    status ? element("span", "badge unmade", status) : null));
  made.append(element("p", "faint", [verdict.subject === row.kind ? "" : "of the " + verdict.subject, score, verdict.seconds ? lasting(verdict.seconds) : "", verdict.waives ? "asked whether approval can be waived" : "",
    severity(verdict.decision) > severity(verdict.came) ? `recorded only: the review decided ${verdict.came}` : "",
    verdict.usage && (verdict.usage.input || verdict.usage.output) ? counted((verdict.usage.input || 0) + (verdict.usage.output || 0), "token") : ""].filter(Boolean).join(" · ")));
  if (verdict.rationale) made.append(element("p", "", verdict.rationale));
  if (verdict.feedback && verdict.feedback !== verdict.rationale) made.append(element("p", "", element("span", "faint", "feedback: "), verdict.feedback));
  for (const objection of listOf(verdict.objections)) made.append(element("p", "", element("span", "faint", (objection.node || "the plan") + ": "), objection.feedback));
  for (const span of listOf(verdict.evidence)) made.append(evidence(trace, span));
  if (verdict.hidden) made.append(element("p", "faint", "The rest of the verdict is withheld."));
  return made;
}

function evidence(trace, span) {
  const from = span.event ? trace.rowAt(span.event) : null;
  return element("blockquote", "", plain(span.quote || "") || "quote withheld", element("cite", "", from ? jump(from, "event " + span.event) : "", from && span.path ? " · " : "", span.path || ""));
}

const byWorst = (verdicts) => [...verdicts].sort((one, other) => severity(other.decision) - severity(one.decision));

// What was said then, and below it what was said later, when the run was read again.
function verdictColumn(trace, row, verdicts, later) {
  const made = element("div", "verdicts");
  if (!verdicts.length) made.append(element("p", "faint", later.length ? "No monitor read this during the run." : "No monitor has read this. That is not the same as clean."));
  for (const verdict of byWorst(verdicts)) made.append(verdictCard(trace, row, verdict));
  for (const [review, said] of groupBy(later, (verdict) => verdict.review)) {
    made.append(element("p", "later", "Later review", review.same ? "" : " of another state of the run", element("span", "faint", ` ${moment(review.at)} · ${review.id}`)));
    for (const verdict of byWorst(said)) made.append(verdictCard(trace, row, verdict));
  }
  for (const each of trace.askedFor(row)) made.append(element("p", "faint", "asked a model: ", jump(each, each.label.split("  ")[0] + " " + each.key.slice(each.key.lastIndexOf("!") + 1))));
  return made;
}
