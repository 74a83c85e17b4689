"use strict";
// The status page: it reads the API and the metrics of the node that served it.

const every = 2000; // milliseconds between two looks
const kept = 60; // looks in the chart
const el = (id) => document.getElementById(id);

let before = null; // counters at the last look
let series = []; // {in, out} messages a second
let after = ""; // page of clients
let token = ""; // kept nowhere else: gone with the page

function put(id, value) { el(id).textContent = value; }

function row(cells, numeric = []) {
  const tr = document.createElement("tr");
  cells.forEach((text, i) => {
    const td = document.createElement("td");
    td.textContent = text ?? "";
    td.title = td.textContent;
    if (numeric.includes(i)) td.className = "n";
    tr.append(td);
  });
  return tr;
}

// sums adds up the samples of each metric over its labels.
function sums(text) {
  const all = {};
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const name = line.split(/[{ ]/, 1)[0];
    all[name] = (all[name] ?? 0) + Number(line.slice(line.lastIndexOf(" ") + 1));
  }
  return all;
}

function round(rate) { return rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString(); }

function figures(m) {
  const now = { at: performance.now(), in: m.dunlin_messages_received_total ?? 0, out: m.dunlin_messages_sent_total ?? 0 };
  put("connections", (m.dunlin_connections ?? 0).toLocaleString());
  put("subscriptions", (m.dunlin_subscriptions ?? 0).toLocaleString());
  put("dropped", (m.dunlin_deliveries_dropped_total ?? 0).toLocaleString());
  if (before && now.in >= before.in) {
    const seconds = (now.at - before.at) / 1000;
    const rate = { in: (now.in - before.in) / seconds, out: (now.out - before.out) / seconds };
    series = [...series, rate].slice(-kept);
    put("in", round(rate.in));
    put("out", round(rate.out));
    chart();
  }
  before = now;
}

function chart() {
  const top = Math.max(1, ...series.map((s) => Math.max(s.in, s.out)));
  for (const key of ["in", "out"]) {
    const points = series.map((s, i) => `${600 - (series.length - 1 - i) * 600 / (kept - 1)},${118 - 114 * s[key] / top}`);
    el("line-" + key).setAttribute("points", points.join(" "));
  }
  put("scale", `top: ${round(top)}/s`);
}

function nodes(list) {
  put("version", list.version);
  put("name", list.nodes.find((n) => n.self)?.name ?? "");
  el("nodes").replaceChildren(...list.nodes.map((n) => {
    const tr = row([n.name + (n.self ? " (this one)" : ""), n.state, n.addresses?.mqtt, n.addresses?.http]);
    tr.children[1].className = n.state === "alive" ? "good" : "bad";
    return tr;
  }));
}

function clients(page) {
  el("clients").replaceChildren(...page.clients.map((c) => row(
    [c.client_id, c.username, c.remote, c.version, new Date(c.connected).toLocaleString(), c.subscriptions, c.inflight, c.queued], [5, 6, 7])));
  el("first").hidden = after === "";
  el("next").hidden = !page.next;
  el("next").onclick = () => { after = page.next; look(); };
}

// ask asks with the token, if there is one, and for one if it is wanted.
async function ask(path) {
  const answer = await fetch(path, token === "" ? {} : { headers: { Authorization: `Bearer ${token}` } });
  if (answer.status === 401) {
    if (token !== "") put("why", "This token is unknown, revoked or expired.");
    token = "";
    el("access").hidden = false;
  }
  return answer;
}

async function get(path) {
  const answer = await ask(path);
  if (!answer.ok) throw new Error(answer.status === 401 ? "a token is wanted" : `${path}: ${answer.status}`);
  return answer;
}

async function look() {
  try {
    const ready = await ask("health/ready");
    put("health", (await ready.text()).trim());
    el("health").className = ready.ok ? "good" : "bad";
    figures(sums(await (await get("metrics")).text()));
    nodes(await (await get("api/v1/nodes")).json());
    clients(await (await get(`api/v1/clients?limit=50&after=${encodeURIComponent(after)}`)).json());
  } catch (err) {
    put("health", `no answer: ${err.message}`);
    el("health").className = "bad";
  }
}

async function run() {
  if (!document.hidden && el("access").hidden) await look();
  setTimeout(run, every);
}

function enter() {
  token = el("token").value.trim();
  el("token").value = "";
  put("why", "");
  el("access").hidden = true;
  look();
}

el("enter").onclick = enter;
el("token").onkeydown = (event) => { if (event.key === "Enter") enter(); };

el("first").onclick = () => { after = ""; look(); };
run();
