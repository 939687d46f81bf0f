// The page: its form, the list of recent tasks, and the link to one of them.

import { Card } from "./card.js";
import { ask, follow, isEnd, isTrouble, isUnsettled } from "./follow.js";
import { forget, onChange, recent, remember } from "./recent.js";
import { duration } from "./words.js";

const MAX_NEWS = 5;
const NO_ANSWER = "The service did not answer. Please try again.";
const LABELS = { url: "The URL", urls: "The list", email: "The address", md5: "The MD5", digests: "The digests" };

const form = document.getElementById("form");
const list = document.getElementById("tasks");
const news = document.getElementById("news");
const underWay = new Set(); // what is being submitted
const keys = new Map(); // what was submitted without an answer -> its Idempotency-Key
const shown = new Map(); // id -> { card, stop }

// The form

async function submit() {
  const fields = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  const body = new FormData(); // not percent-encoded, which may triple the size of a list
  for (const [name, value] of fields) if (value) body.append(name, value);
  const order = String(new URLSearchParams(fields));
  if (underWay.has(order)) return;
  clearErrors();
  underWay.add(order);
  showBusy();
  const key = keys.get(order) ?? newKey();
  const headers = { "Idempotency-Key": `"${key}"` };
  const answer = await ask("submit", { method: "POST", body, headers });
  underWay.delete(order);
  showBusy();
  // The task may be there although no answer says so: with the same key it will be the same one.
  if (isTrouble(answer)) keys.set(order, key);
  else keys.delete(order);
  if (answer.status !== 202) {
    showErrors(answer);
    return;
  }
  const { url, urls, md5 } = Object.fromEntries(fields);
  const { id, total } = answer.body;
  const task = { id, url, total, expected: md5 || undefined };
  remember(task);
  const card = add(task);
  announce(`${card.name}: started.`);
  card.element.scrollIntoView({ block: "nearest" });
  clearForm(url, urls);
  history.replaceState(null, "", location.pathname);
}

function showBusy() {
  form.setAttribute("aria-busy", String(underWay.size > 0));
}

function newKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

/** Make room for the next URL, unless it is there already; the address is most often the same. */
function clearForm(url, urls) {
  if (form.elements.urls.value.trim() === urls) form.elements.urls.value = "";
  if (form.elements.url.value.trim() === url) {
    form.elements.url.value = form.elements.md5.value = "";
  }
}

/** Show each error at its field, those of other fields at the button, and go to the first one. */
function showErrors({ status, body, retryAfter }) {
  const others = [];
  for (const { field, rule, message } of body.errors ?? [body.error ?? { message: NO_ANSWER }]) {
    if (Object.keys(LABELS).includes(field)) {
      form.elements[field].setAttribute("aria-invalid", "true");
      errorOf(field).textContent = rule ? `${LABELS[field]} ${rule}` : message;
      if (field === "urls") document.getElementById("list").open = true;
    } else others.push(message);
  }
  if (status === 429 && retryAfter) others.push(`Please try again in ${duration(retryAfter)}.`);
  errorOf("form").textContent = others.join(" ");
  form.querySelector("[aria-invalid]")?.focus();
}

function errorOf(name) {
  return document.getElementById(`${name}-error`);
}

function clearErrors(names = [...Object.keys(LABELS), "form"]) {
  for (const name of names) {
    errorOf(name).textContent = "";
    form.elements[name]?.removeAttribute("aria-invalid");
  }
}

// The list

/** A card for the task, at the top, which follows it until its end. */
function add(task) {
  const card = new Card(task, { remove, cancel, retry, announce, numberOf });
  const entry = { card, stop() {}, look() {} };
  if (!task.end || isUnsettled(task.end)) {
    Object.assign(
      entry,
      follow(task.id, (answer) => {
        task = learn(task, answer, card);
      }),
    );
  }
  shown.set(task.id, entry);
  list.prepend(card.element);
  showList();
  return card;
}

/** The next number among the cards with the same short name, by which their names differ. */
function numberOf(shortName) {
  const cards = [...shown.values()].map(({ card }) => card);
  const same = cards.filter((card) => card.shortName === shortName);
  return 1 + Math.max(0, ...same.map(({ number }) => number));
}

/** Store and show the task with what the answer says about it. */
function learn(task, answer, card) {
  const hadEnded = Boolean(task.end);
  if (hadEnded && !isEnd(answer)) return task; // nothing new of its mail
  const { url = "" } = answer.body;
  const total = answer.body.tasks?.total;
  const isNews = (url && url !== task.url) || (total && total !== task.total);
  if (isEnd(answer) || isNews) {
    task = { ...task, url, total, end: isEnd(answer) ? answer : undefined };
    remember(task);
    card.update(task);
  }
  card.show(answer);
  if (!hadEnded && answer.status !== 202 && !isTrouble(answer)) announce(card.summary(answer));
  return task;
}

function remove({ id }) {
  const { element } = shown.get(id).card;
  const next = element.nextElementSibling ?? element.previousElementSibling;
  forget(id);
  drop(id);
  (next?.querySelector(".remove") ?? form.elements.url).focus();
}

function drop(id) {
  const { card, stop } = shown.get(id);
  stop();
  card.element.remove();
  shown.delete(id);
  showList();
}

async function cancel({ id }) {
  const { card, look } = shown.get(id);
  if (!confirm(`Cancel ${card.name}?`)) return;
  const answer = await ask(`check?id=${encodeURIComponent(id)}`, { method: "DELETE" });
  if (isTrouble(answer)) alert(`${card.name} could not be cancelled. Please try again.`);
  else look();
  card.focus();
}

function retry({ url, expected }) {
  form.elements.url.value = url;
  form.elements.md5.value = expected ?? "";
  submit();
}

function showList() {
  document.getElementById("recent").hidden = shown.size === 0;
}

/** Say something to those who listen to the page: a begin or an end, never each percent. */
function announce(text) {
  const paragraph = document.createElement("p");
  paragraph.textContent = text;
  news.append(paragraph);
  while (news.children.length > MAX_NEWS) news.firstElementChild.remove();
}

/** Take over what another tab has added or removed. */
function synchronize(removed = []) {
  for (const task of recent().reverse()) if (!shown.has(task.id)) add(task);
  const ids = removed?.map(({ id }) => id) ?? [...shown.keys()];
  for (const id of ids) if (shown.has(id)) drop(id);
}

function openLink() {
  const id = new URLSearchParams(location.search).get("id")?.trim();
  if (!id) return;
  const card = shown.get(id)?.card ?? add({ id });
  list.prepend(card.element);
  card.focus();
}

async function readList(file) {
  document.getElementById("list").open = true;
  form.elements.urls.value = await file.text();
  clearErrors(["urls", "form"]);
}

form.elements.file.addEventListener("change", async ({ target }) => {
  const [file] = target.files;
  if (file) await readList(file);
  target.value = ""; // so that the same file can be chosen again
});
form.addEventListener("dragover", (event) => {
  // Otherwise a browser would leave the page for a file that is dropped.
  if (event.dataTransfer.types.includes("Files")) event.preventDefault();
});
form.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (!file) return; // text goes where it is dropped
  event.preventDefault();
  readList(file);
});
document.getElementById("picker").hidden = false; // it reads the file here, and sends none
form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
form.querySelector("button").addEventListener("click", (event) => {
  if (event.detail > 1) event.preventDefault(); // the second of a double click
});
form.addEventListener("input", ({ target }) => clearErrors(target.name ? [target.name, "form"] : ["form"]));
onChange(synchronize);
synchronize();
openLink();
