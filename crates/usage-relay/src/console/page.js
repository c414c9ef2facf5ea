// The console's page: shows each state as it comes, and asks for what its buttons say.
//
// Every text goes in as text and never as HTML: uids and accounts are written by strangers. Elements are kept and changed,
// so that focus stays where it is while numbers run.
"use strict";

const WORD = document.querySelector('meta[name="console-word"]').content;
const RETRY_MS = 2000; // after an answer that an event stream does not try again by itself
const STALE_MS = 3000; // how much later than announced a look may come before the page says how old its numbers are

const one = (selector, of = document) => of.querySelector(selector);
const all = (selector, of = document) => [...of.querySelectorAll(selector)];
const grouped = new Intl.NumberFormat("en");
const number = (value) => grouped.format(value);
const time = (ms) => new Date(ms).toLocaleTimeString("en-GB");

function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const minutes = Math.floor(ms / 60_000);
  return minutes < 60 ? `${minutes} min ${Math.floor((ms % 60_000) / 1000)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The same with what stands between backticks as code. */
function putWithCode(element, text) {
  if (element.dataset.text === text) return;
  element.dataset.text = text;
  const parts = text.split("`");
  const isCode = (index) => index % 2 === 1 && index < parts.length - 1;
  element.replaceChildren(...parts.map((part, index) => (isCode(index) ? make("code", "", part) : document.createTextNode(part))));
}

function make(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

/** Makes `list` hold one child for each of `items`; `build` makes one, `fill` writes into it. */
function fillList(list, items, build, fill) {
  while (list.children.length > items.length) list.lastElementChild.remove();
  while (list.children.length < items.length) list.append(build());
  items.forEach((item, index) => fill(list.children[index], item));
}

// The books.

const PLACES = ["ingested", "dropped", "rejected", "quarantined", "waiting"];

function showBooks(state) {
  const { books, m3ter } = state;
  const isTold = m3ter !== null;
  const hints = {
    sent: "measurements, from here and elsewhere",
    ingested: isTold ? "counted by m3ter, once each" : "by m3ter, and not rejected since",
    dropped: "copies of what m3ter has",
    rejected: isTold && m3ter.unfetched > 0 ? `${number(m3ter.unfetched)} to be fetched from m3ter` : "by m3ter, after it accepted them",
    quarantined: "kept, with the reason",
    waiting: books.waiting > 0 ? `the oldest for ${duration(books.oldest_waiting_ms)}` : "on their way",
  };
  for (const term of all("[data-term]")) {
    const name = term.dataset.term;
    put(one("dd", term), number(books[name]));
    put(one(".hint", term), hints[name]);
  }
  put(one('[data-term="ingested"] dt'), isTold ? "ingested" : "accepted");
  for (const place of PLACES) one(`[data-share="${place}"]`).style.flexGrow = String(books[place]);
  put(one("#since"), `what was sent here, and what the store has since ${time(state.since_ms).slice(0, 5)}`);
  const [mood, text] = verdict(state);
  const shown = one("#verdict");
  shown.dataset.mood = mood;
  put(one("span", shown), text);
  // Said aloud when it is about something else, not with each number.
  announce(mood, text);
}

function verdict({ books, m3ter, switches, behind, unreadable }) {
  const isTroubled = switches.some((each) => each.is_on);
  const rest = [];
  if (behind > 0) rest.push(`${number(behind)} objects of the store are still to be read.`);
  if (unreadable > 0) rest.push(`${number(unreadable)} objects of the store cannot be read: something may be missing.`);
  if (books.untracked > 0) rest.push(`${number(books.untracked)} more passed than the books can follow: start the console anew.`);
  const say = (mood, text) => [mood, [text, ...rest].join(" ")];
  if (books.nowhere > 0) {
    return say("bad", `${number(books.nowhere)} have no place, and the queue is empty: look at the dead-letter queue and the relay's log.`);
  }
  if (books.waiting > 0) {
    const trouble = isTroubled ? " m3ter is in trouble; nothing is lost, what waits comes back." : "";
    return say("busy", `${number(books.waiting)} on their way.${trouble}`);
  }
  if (books.sent === 0) return say("quiet", "Nothing was sent yet.");
  if (m3ter && m3ter.agrees === false) {
    const told = `${number(m3ter.ingested)} ingested, ${number(m3ter.rejected)} rejected`;
    return say("busy", `Each measurement has one place, but m3ter's own count says otherwise: ${told}. Was anything sent past the relay?`);
  }
  const agrees = m3ter && m3ter.agrees ? ", and m3ter's own count agrees" : "";
  return say("good", `The books balance: each measurement has one place${agrees}. Nothing is lost.`);
}

let announced = "";
function announce(mood, text) {
  if (mood === announced) return;
  announced = mood;
  put(one("#announcement"), text);
}

// The flow.

let before = null;
function showFlow(state) {
  const { queue, books, m3ter } = state;
  const shown = {
    sent: books.sent,
    visible: queue.visible + queue.delayed,
    in_flight: queue.in_flight,
    batches: state.batches_in_all,
    again: state.delivered_again,
    requests: m3ter ? m3ter.requests : "–",
    met: m3ter ? Object.values(m3ter.met).reduce((sum, each) => sum + each, 0) : "–",
    quarantined: books.quarantined,
    rejected: books.rejected - (m3ter ? m3ter.unfetched : 0),
  };
  for (const element of all("[data-flow]")) {
    const value = shown[element.dataset.flow];
    put(element, typeof value === "number" ? number(value) : value);
  }
  const flow = one(".flow");
  const moved = JSON.stringify([queue, state.batches_in_all, shown.requests]);
  const isBusy = queue.visible + queue.in_flight + queue.delayed > 0;
  flow.toggleAttribute("data-moving", isBusy || (before !== null && before !== moved));
  flow.toggleAttribute("data-troubled", state.switches.some((each) => each.is_on));
  before = moved;
}

// Batches, lag, counts.

function showBatches(state) {
  const build = () => {
    const item = document.createElement("li");
    const bar = make("span", "bar");
    bar.append(document.createElement("span"));
    item.append(make("span", "when"), bar, make("span", "told"));
    return item;
  };
  fillList(one("#batches"), state.batches, build, (item, batch) => {
    item.dataset.answered = String(batch.is_answered);
    put(one(".when", item), time(batch.at_ms));
    one(".bar span", item).style.width = `${Math.min(100, (100 * batch.measurements) / batch.of)}%`;
    const more = [];
    if (!batch.is_answered) more.push("no answer");
    if (batch.attempts > 1) more.push(`${batch.attempts} attempts`);
    if (batch.receives > 1) more.push(`delivery ${batch.receives}`);
    put(one(".told", item), [number(batch.measurements), ...more].join(" · "));
  });
  const fill = state.batches.reduce((sum, batch) => sum + batch.measurements / batch.of, 0) / Math.max(1, state.batches.length);
  put(one("#batches-told"), state.batches.length > 0 ? `${Math.round(100 * fill)} % full on average` : "");
  one("#no-batches").hidden = state.batches.length > 0;
}

function showLag({ lag_ms: lags }) {
  const most = Math.max(1, ...lags);
  put(one("#lag"), duration(lags.at(-1) ?? 0));
  put(one("#lag-most"), lags.length > 1 ? `at most ${duration(Math.max(...lags))} in the last ${lags.length} looks` : "");
  const width = 240, height = 60, top = 4;
  const x = (index) => (lags.length > 1 ? (index * width) / (lags.length - 1) : width);
  const y = (lag) => height - ((height - top) * lag) / most;
  const points = lags.map((lag, index) => `${x(index).toFixed(1)} ${y(lag).toFixed(1)}`);
  const line = points.length > 1 ? `M${points.join("L")}` : "";
  one("#spark .line").setAttribute("d", line);
  one("#spark .area").setAttribute("d", line ? `${line}L${width} ${height}L0 ${height}Z` : "");
}

function showCounts({ m3ter }) {
  one("#no-count").hidden = m3ter !== null;
  const rows = m3ter === null ? [] : [
    ["ingested", m3ter.ingested],
    ["copies dropped", m3ter.duplicates],
    ["rejected", m3ter.rejected],
    ["not checked yet", m3ter.pending],
    ["requests", m3ter.requests],
    ["tokens given", m3ter.tokens],
  ];
  const isAhead = m3ter !== null && m3ter.ahead > 0;
  put(one("#ahead"), isAhead ? `${number(m3ter.ahead)} it has, and its answer is lost or just coming. What comes again under the same uid it drops.` : "");
  const build = () => {
    const row = document.createElement("div");
    row.append(document.createElement("dt"), document.createElement("dd"));
    return row;
  };
  fillList(one("#counts"), rows, build, (row, [name, value]) => {
    put(one("dt", row), name);
    put(one("dd", row), number(value));
  });
}

// The quarantine.

function showReasons({ reasons }) {
  const build = () => {
    const item = document.createElement("li");
    const name = make("div", "name");
    name.append(make("span", "count"), make("span", "reason"), make("span", "from"));
    item.append(name, make("p", "detail"), make("p", "which"), make("p", "mend"));
    return item;
  };
  fillList(one("#reasons"), reasons, build, (item, { reason, is_later: isLater, entries, mend, example }) => {
    put(one(".count", item), number(entries));
    put(one(".reason", item), reason);
    put(one(".from", item), isLater ? "m3ter, later" : "the relay");
    putWithCode(one(".detail", item), example.detail);
    const named = [["uid", example.uid], ["account", example.account], ["meter", example.meter]].filter(([, value]) => value);
    put(one(".which", item), named.map(([what, value]) => `${what} ${value}`).join(" · ") || `entry ${example.qid}`);
    putWithCode(one(".mend", item), mend);
  });
  one("#no-reasons").hidden = reasons.length > 0;
}

// Switches.

function showSwitches({ switches, m3ter }) {
  one("#acts").hidden = m3ter === null;
  one("#no-sandbox").hidden = m3ter !== null;
  for (const { trouble, is_on: isOn, met } of switches) {
    const button = one(`[data-trouble="${trouble}"]`);
    button.setAttribute("aria-pressed", String(isOn));
    put(one(".met", button), isOn && met > 0 ? `${number(met)} ${met === 1 ? "request" : "requests"}` : "");
  }
}

function show(state) {
  for (const part of [showBooks, showFlow, showBatches, showLag, showCounts, showReasons, showSwitches]) part(state);
}

// The connection.

let last = null;
function showConnection() {
  const pill = one("#connection span");
  const isFailing = last !== null && last.state.failure !== null;
  const connection = stream.readyState === EventSource.OPEN ? (isFailing ? "failing" : last ? "live" : "connecting") : last ? "lost" : "connecting";
  document.body.dataset.connection = connection;
  const ageMs = last ? Date.now() - last.at : 0;
  const isLate = last !== null && ageMs > last.state.pause_ms + STALE_MS;
  const texts = {
    connecting: "connecting",
    lost: "connection lost: trying again",
    failing: `${last?.state.failure}: numbers of ${time(last?.state.at_ms ?? 0)}`,
    live: isLate ? `live, last look ${duration(Math.floor(ageMs / 1000) * 1000)} ago` : "live",
  };
  put(pill, texts[connection]);
  if (connection === "lost" || connection === "failing") announce(connection, texts[connection]);
}

let stream = null;
function connect() {
  stream = new EventSource("/events");
  stream.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    // After a failed look the numbers are those of the one before.
    last = { state, at: Date.now() };
    show(state);
    showConnection();
  });
  stream.addEventListener("open", showConnection);
  stream.addEventListener("error", () => {
    showConnection();
    // Where the answer was no stream, the browser leaves it at that.
    if (stream.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  });
}

// The buttons.

async function ask(path, content) {
  const headers = { "content-type": "application/json", "x-console-word": WORD };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(content) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error ?? `HTTP ${answer.status}`);
  return said;
}

function say(text, mood = "") {
  const said = one("#said");
  said.dataset.mood = mood;
  put(said, text);
}

async function act(button, work) {
  // Not disabled, which would take the focus away.
  if (button.getAttribute("aria-busy") === "true") return;
  button.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    say(error instanceof TypeError ? "The console does not answer." : error.message, "bad");
  } finally {
    button.removeAttribute("aria-busy");
  }
}

for (const button of all("[data-send]")) {
  button.addEventListener("click", () => act(button, async () => {
    say("Sending…");
    const { measurements, messages } = await ask("/send", JSON.parse(button.dataset.send));
    say(`${number(measurements)} measurements in ${number(messages)} messages are on the queue.`);
  }));
}

for (const button of all("[data-trouble]")) {
  button.addEventListener("click", () => act(button, async () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    await ask("/trouble", { trouble: button.dataset.trouble, on });
    button.setAttribute("aria-pressed", String(on));
  }));
}

connect();
setInterval(showConnection, 1000);
