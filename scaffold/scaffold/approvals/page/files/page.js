// The page of what waits. Everything shown is set as text, never as markup: a trace may hold anything.
"use strict";

const at = (id) => document.getElementById(id);
const state = { items: [], from: 0, found: 0, chosen: null, shown: null, drawn: null, granting: true, turning: false };

// As on the terminal: nothing that a model or tool wrote is invisible, turns what stands beside it around, or passes
// for a Latin letter among Latin letters.
const ALIKE = /[\u0370-\u058f\u13a0-\u13ff\u1c80-\u1c8f\u1f00-\u1fff\u2160-\u217f\u2c80-\u2dff\ua4d0-\ua4ff\ua640-\ua69f\uab70-\uabbf\uff10-\uff5a]/gu;
const escaped = (letter) => "\\u{" + letter.codePointAt(0).toString(16) + "}";

function plain(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text
    .replace(/[\p{L}\p{N}_]+/gu, (word) => /[A-Za-z]/.test(word) ? word.replace(ALIKE, escaped) : word)
    .replace(/[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800\u{1d400}-\u{1d7ff}]/gu, (letter) => letter === "\n" || letter === "\t" || letter === " " ? letter : escaped(letter));
}

// Lines as parts of a sentence, as on the terminal, without marks under them: no line that somebody quotes stands like one of ours.
const sentence = (text) => text.split("\n").map((line) => line.trim()).filter((line) => line.replaceAll("^", "")).join("; ");

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children) {
    if (child === null || child === undefined) continue;
    made.append(child instanceof Node ? child : document.createTextNode(plain(child)));
  }
  return made;
}

function left(expires) {
  if (expires === null) return "";
  const seconds = expires - Date.now() / 1000;
  if (seconds <= 0) return "expired";
  if (seconds >= 172800) return Math.floor(seconds / 86400) + " days left";
  if (seconds >= 7200) return Math.floor(seconds / 3600) + " h left";
  if (seconds >= 600) return Math.floor(seconds / 60) + " min left";
  const whole = Math.floor(seconds);
  return Math.floor(whole / 60) + ":" + String(whole % 60).padStart(2, "0") + " left";
}

function tick() {
  for (const each of document.querySelectorAll("[data-expires]")) {
    const expires = Number(each.dataset.expires);
    const said = left(expires);
    if (each.textContent !== said) each.textContent = said;
    each.classList.toggle("soon", expires - Date.now() / 1000 < 600);
  }
  const shown = state.shown;
  if (shown && shown.expires !== null && shown.expires <= Date.now() / 1000 && shown.state !== "expired" && !shown.settled) {
    shown.state = "expired";
    tooLate("Expired, which means no.");
    render(shown);
  }
}

function countdown(tag, className, expires) {
  const made = element(tag, className, left(expires));
  if (expires !== null) made.dataset.expires = String(expires);
  return made;
}

async function ask(path, options) {
  const reply = await fetch(path, options).catch(() => {
    throw new Error("No answer: is `scaffold approvals serve` still running?");
  });
  const type = reply.headers.get("content-type") || "";
  const said = type.startsWith("application/json") ? await reply.json() : { error: await reply.text() };
  if (!reply.ok) throw new Error(said.error || "status " + reply.status);
  return said;
}

const place = (item) => item.run + "/" + item.id;

// --- the list

let asked = 0; // an answer that comes after that to a later question is out of date

// The list as it is now; where it cannot be had, that is said in its place.
async function load() {
  try {
    await loadList();
  } catch (problem) {
    live(false);
    showFaults([problem.message]);
  }
}

async function loadList() {
  const mine = ++asked;
  const find = encodeURIComponent(at("find").value.trim());
  const said = await ask("/api/queue?from=" + state.from + "&find=" + find);
  if (mine !== asked) return;
  if (said.items.length === 0 && state.from > 0) {
    state.from = 0;
    return loadList();
  }
  live(news.readyState === EventSource.OPEN);
  Object.assign(state, { items: said.items, found: said.found });
  at("who").textContent = plain("as " + said.person);
  at("count").textContent = said.all === 0 ? "nothing waiting" : said.all + " waiting";
  document.title = (said.all ? "(" + said.all + ") " : "") + "Approvals";
  showFaults(Object.entries(said.faults).map(([run, fault]) => "run " + run + ": " + fault));
  showList(said);
  if (state.shown === null && state.chosen === null) showNothing(said.all);
  else if (state.chosen !== null) await freshen();
}

function showFaults(faults) {
  const lines = faults.map((fault) => element("p", "", fault));
  at("faults").replaceChildren(...lines);
  at("faults").hidden = lines.length === 0;
}

function showList(said) {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.place : undefined;
  const rows = said.items.map((item, number) => {
    const button = element("button", "", element("span", "what", item.what), countdown("span", "left", item.expires),
      element("span", "run", item.kind + " · " + item.run), element("span", "state", item.said && !item.settled ? "you answered" : item.state === "open" ? "" : item.state));
    button.type = "button";
    button.dataset.place = place(item);
    button.setAttribute("aria-current", String(place(item) === state.chosen));
    button.addEventListener("click", () => choose(number));
    return element("li", "", button);
  });
  at("list").replaceChildren(...rows);
  if (focused) buttonOf(focused)?.focus();
  const last = said.from + said.items.length;
  at("pages").hidden = said.found <= said.items.length;
  at("range").textContent = said.found ? (said.from + 1) + " to " + last + " of " + said.found : "";
  at("previous").disabled = said.from === 0;
  at("next").disabled = last >= said.found;
}

const buttonOf = (where) => [...at("list").querySelectorAll("button")].find((each) => each.dataset.place === where);

async function choose(number) {
  const item = state.items[number];
  if (!item) return;
  state.chosen = place(item);
  state.shown = null;
  for (const each of at("list").querySelectorAll("button")) each.setAttribute("aria-current", String(each.dataset.place === state.chosen));
  const button = buttonOf(state.chosen);
  button.focus();
  button.scrollIntoView({ block: "nearest" });
  await show(item);
}

async function move(step) {
  if (state.turning) return; // a key that is held down does not run ahead of the list
  const now = state.items.findIndex((item) => place(item) === state.chosen);
  const next = now < 0 ? 0 : now + step;
  if (next >= state.items.length && !at("next").disabled) return turn(1, 0);
  if (next < 0 && !at("previous").disabled) return turn(-1, 49);
  await choose(Math.max(0, Math.min(state.items.length - 1, next)));
}

async function turn(direction, number) {
  if (state.turning || at(direction > 0 ? "next" : "previous").disabled) return;
  state.from = Math.max(0, state.from + direction * 50);
  state.turning = true;
  await load();
  state.turning = false;
  if (number !== undefined) await choose(Math.min(number, state.items.length - 1));
}

// --- one question

let reading = null; // one question at a time: a key that is held down has those that it passes over read by nobody

async function show(item) {
  const wanted = place(item);
  while (reading) {
    await reading;
    if (state.chosen !== wanted) return;
  }
  reading = showNow(item, wanted);
  await reading;
}

async function showNow(item, wanted) {
  try {
    const said = await ask("/api/runs/" + encodeURIComponent(item.run) + "/" + encodeURIComponent(item.id));
    if (state.chosen !== wanted) return;
    const known = JSON.stringify(state.shown) === JSON.stringify(said);
    state.shown = said;
    if (!known) render(said);
  } catch (problem) {
    if (state.chosen === wanted) showGone(problem.message);
  } finally {
    reading = null;
  }
}

async function freshen() {
  const [run, id] = state.chosen.split("/");
  const wanted = state.chosen;
  const item = state.items.find((each) => place(each) === state.chosen);
  if (item && state.shown && item.state === state.shown.state) return;
  if (item || state.shown) await show({ run, id });
  else if (state.chosen === wanted) showGone("This no longer waits for an answer.");
}

function showNothing(all) {
  at("detail").replaceChildren(element("p", "empty", all ? "Choose an item: press j, or click one." : "Nothing is waiting for a person."));
}

function showGone(why) {
  state.shown = null;
  tooLate(why);
  state.drawn = null;
  at("detail").replaceChildren(element("p", "empty", why));
}

function render(said) {
  const { detail, shown } = said;
  const again = state.drawn === place(said); // then whoever reads stays where they are
  const top = at("detail").scrollTop, button = at("detail").querySelector(".actions button:focus");
  const parts = [element("p", "kind", { plan: "Approval of a plan", action: "Approval of an action", observation: "Release of a result", question: "A question" }[said.kind] || said.kind),
    element("h2", "", said.title), facts(said), buttons(said)];
  const section = (title, ...inside) => { if (inside.length) parts.push(element("h3", "", title), ...inside); };
  section("Why you are asked", ...(detail.reasons || []).map((reason) => element("p", "", sentence(reason))));
  section(shown.calls.length > 1 ? "The exact calls" : "The exact call", ...shown.calls.flatMap(call));
  if ("value" in shown) section("What it returned", element("pre", "call", shown.value));
  if ("error" in shown) section("Its error message", element("pre", "call", shown.error));
  if (detail.about && detail.about.length) section("About", element("pre", "call", shown.about));
  if (detail.form) section("Form", element("pre", "call", shown.form));
  if (said.dossier.reason) section("Reason given by the planner", element("p", "", said.dossier.reason));
  if (said.dossier.change) section("Compared with " + said.dossier.change.since, difference(said.dossier.change.lines));
  section("Verdicts", ...said.dossier.verdicts.map(verdict));
  section("Steps that led to it", ...said.dossier.thoughts.slice().reverse().map(thought));
  at("detail").replaceChildren(...parts);
  at("detail").scrollTop = again ? top : 0;
  if (again && button) at("detail").querySelector(".actions ." + button.className)?.focus({ preventScroll: true });
  state.drawn = place(said);
}

function facts(said) {
  const list = element("dl", "facts");
  const add = (name, value) => list.append(element("dt", "", name), value instanceof Node ? value : element("dd", "", value));
  add("run", said.run);
  if (said.digest) add("digest", element("dd", "code", said.digest.slice(0, 16) + "…"));
  if (said.expires !== null) add("expires", countdown("dd", "", said.expires));
  if (said.approvers.length) add("may approve", said.approvers.join(", "));
  if (said.needs > 1) add("needs", said.needs + " people");
  for (const answer of said.answers) add(answer.granted ? "approved by" : said.kind === "question" ? "answered by" : "denied by", (answer.by || "someone") + (answer.comment ? ": " + answer.comment : ""));
  return list;
}

function buttons(said) {
  const row = element("div", "actions");
  if (said.settled) row.append(element("p", "note", "Answered. The run uses the answer now if it is waiting, else when it is resumed."));
  else if (said.state === "expired") row.append(element("p", "note", "Expired, which means no."));
  else if (!said.may) row.append(element("p", "note", "You may not answer this."));
  else if (said.wants_key && !said.signs) row.append(element("p", "note", "Your key is needed: start the page with --as NAME=KEY."));
  else if (said.said) row.append(element("p", "note", "You have answered. Other people must answer too."));
  else {
    const make = (label, className, granted) => {
      const button = element("button", className, label);
      button.type = "button";
      button.addEventListener("click", () => confirm(granted));
      row.append(button);
    };
    if (said.kind === "question") make("Answer", "yes", true);
    else { make("Approve", "yes", true); make("Deny", "no", false); }
  }
  return row;
}

const call = (each) => [element("pre", "call", element("b", "", each.action), " " + each.arguments),
  ...(each.would === null ? [] : [element("p", "note", "Preview:"), element("pre", "call", each.would)])];

function difference(lines) {
  const made = element("div", "diff");
  for (const [mark, line] of lines) {
    const row = element("div", mark === "+" ? "added" : mark === "-" ? "gone" : "", line);
    row.dataset.mark = mark;
    made.append(row);
  }
  return made;
}

function verdict(each) {
  const status = each.status && each.status !== "ok" ? " (" + each.status + ")" : "";
  const score = each.score === undefined || each.score === null ? "" : ", " + (each.property || "score") + " " + each.score.toFixed(2);
  const made = element("div", "verdict " + (/^[a-z]+$/.test(each.decision) ? each.decision : ""),
    element("p", "head", each.monitor, element("span", "", " says " + each.decision + status + score)));
  if (each.rationale || each.feedback) made.append(element("p", "", sentence(each.rationale || each.feedback)));
  for (const evidence of each.evidence || []) {
    made.append(element("blockquote", "", evidence.quote, element("cite", "", (evidence.event ? "event " + evidence.event + " " : "") + (evidence.path || ""))));
  }
  return made;
}

function thought(each) {
  const first = plain(each.text || each.reasoning).split("\n")[0];
  const made = element("details", "", element("summary", "", each.step, element("span", "", " " + (first.length > 90 ? first.slice(0, 90) + "…" : first))));
  made.append(element("pre", "", each.text));
  if (each.reasoning) made.append(element("pre", "reasoning", each.reasoning));
  return made;
}

// --- answering

function confirm(granted) {
  const said = state.shown;
  if (!said || !at("detail").querySelector(".actions button")) return;
  const isQuestion = said.kind === "question";
  if (isQuestion && !granted) return;
  state.granting = granted;
  const calls = said.shown.calls;
  at("confirm-title").textContent = isQuestion ? "Answer" : (granted ? "Approve exactly " : "Deny ") + (calls.length > 1 ? "these " + calls.length + " calls?" : "this?");
  const lines = calls.map((each) => each.action + " " + each.line);
  at("confirm-what").textContent = plain(lines.length ? lines.join("\n") : said.what);
  at("scope-row").hidden = !(granted && said.kind === "plan");
  at("value-row").hidden = !isQuestion;
  at("scope").checked = false;
  at("value").value = at("comment").value = at("problem").textContent = "";
  at("sure").textContent = isQuestion ? "Answer" : granted ? "Approve" : "Deny";
  at("sure").className = granted ? "yes" : "no";
  at("sure").disabled = false;
  at("confirm").showModal();
  at(isQuestion ? "value" : "comment").focus();
}

// The dialog stays, and takes what is still being typed: as keys of the page it might answer another question.
function tooLate(why) {
  if (!at("confirm").open || at("sure").disabled) return;
  at("problem").textContent = plain(why);
  at("sure").disabled = true;
}

async function send(event) {
  event.preventDefault();
  const said = state.shown;
  if (!said || at("sure").disabled) return;
  at("sure").disabled = true;
  const isQuestion = said.kind === "question";
  const body = { digest: said.digest, granted: state.granting && !isQuestion, value: at("value").value, comment: at("comment").value, scope: at("scope").checked };
  try {
    await ask("/api/runs/" + encodeURIComponent(said.run) + "/" + encodeURIComponent(said.id),
      { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    at("confirm").close();
    state.shown = null;
    await show(said);
    await load();
  } catch (problem) {
    at("problem").textContent = plain(problem.message);
    at("sure").disabled = false;
  }
}

// --- from outside

const KEYS = {
  j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
  a: () => confirm(true), d: () => confirm(false), n: () => turn(1), p: () => turn(-1), "/": () => at("find").focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || at("confirm").open) return;
  if (event.target === at("find")) {
    if (event.key === "Escape" || event.key === "Enter") at("find").blur();
    return;
  }
  const act = KEYS[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});

at("confirm-form").addEventListener("submit", send);
at("cancel").addEventListener("click", () => at("confirm").close());
at("previous").addEventListener("click", () => turn(-1));
at("next").addEventListener("click", () => turn(1));
at("find").addEventListener("input", () => { state.from = 0; load(); });
setInterval(tick, 1000);

const news = new EventSource("/api/news");
const live = (on) => { at("live").textContent = on ? "live" : "not connected"; at("live").classList.toggle("off", !on); };
news.addEventListener("open", () => live(true));
news.addEventListener("error", () => {
  live(false);
  if (news.readyState === EventSource.CLOSED) load(); // it does not try again: why not is said with the list
});
news.addEventListener("change", load);
