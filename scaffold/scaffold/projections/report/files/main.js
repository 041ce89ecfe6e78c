// Opens the trace, shows all of it, and listens to the keyboard.
"use strict";

function follow(walk, hash, enter) {
  const [, seq] = /^#e(\d+)$/.exec(hash) || [];
  if (!seq || !walk.goTo(Number(seq), { enter })) return false;
  at("walk").scrollIntoView({ block: "start" });
  return true;
}

function listen(walk) {
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#e"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    follow(walk, link.getAttribute("href"), true);
  });
  window.addEventListener("hashchange", () => follow(walk, location.hash, true));
  const keys = {
    j: () => walk.move(1), k: () => walk.move(-1), n: () => walk.objection(1), p: () => walk.objection(-1),
    "/": () => at("find").focus(), g: () => at("goto").focus(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select")) {
      if (event.key === "Escape" || (event.key === "Enter" && event.target === at("find"))) at("list").focus();
      return;
    }
    if (event.key === "Escape" && at("detail").contains(event.target)) return at("list").focus();
    if (keys[event.key]) {
      event.preventDefault();
      keys[event.key]();
    }
  });
}

async function begin() {
  const manifest = JSON.parse(await unpack("manifest-0"));
  showTop(manifest);
  showIntegrity(manifest);
  showTiles(manifest);
  showLegibility(manifest);
  const trace = await Trace.open(manifest);
  const walk = new Walk(trace);
  listen(walk);
  walk.actions = showActions(trace);
  showLedgers(manifest);
  showSureness(manifest);
  at("promise").textContent = `Written by scaffold ${manifest.frame.started.scaffold || ""} from ${number(manifest.events)} events. It loads nothing from the network and sends nothing.`;
  new Plans(trace);
  drawing = true;
  walk.fold();
  walk.actions.render(true);
  if (!follow(walk, location.hash, false) && trace.rows.length) {
    const first = trace.rows.findIndex((row) => OBJECTS.has(row.worst));
    walk.choose(first >= 0 ? first : 0);
  }
  await walk.detail;
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

begin().catch((error) => {
  at("integrity").className = "banner bad";
  at("integrity").replaceChildren(element("p", "", element("strong", "", "This report cannot be shown. "), String(error)));
});
