// One task on the page.

import { Bar } from "./bar.js";
import { counts, files, firstFailures } from "./batch.js";
import { isTrouble } from "./follow.js";
import { describe, Speed } from "./progress.js";
import { digestName, exactBytes, mail, moment, number, parseUrl, shortName } from "./words.js";

const COPIED_MS = 2000;
const NOT_FOUND =
  "No such task. The link may be incomplete, or the result has expired: " +
  "results are kept for a limited time.";

export class Card {
  #task;
  #speed = new Speed();
  #bar;
  #numberOf;

  /**
   * `actions`: remove, cancel and retry, called with the task, announce, called with a text, and
   * numberOf, called with a new short name.
   */
  constructor(task, actions) {
    const template = document.getElementById("task");
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#bar = new Bar(this.#part("progress"));
    this.#numberOf = actions.numberOf;
    this.#part(".link").href = `?id=${encodeURIComponent(task.id)}`;
    this.#part(".remove").addEventListener("click", () => actions.remove(this.#task));
    this.#part(".again").addEventListener("click", () => actions.retry(this.#task));
    this.#part(".cancel").addEventListener("click", () => actions.cancel(this.#task));
    this.#part(".copy").addEventListener("click", () => this.#copy(actions.announce));
    this.#part(".pace").textContent = "Checking status…";
    this.update(task);
    if (task.end) this.show(task.end);
  }

  /** The task has got a URL, or its end. */
  update(task) {
    this.#task = task;
    const short = nameOf(task);
    if (short !== this.shortName) {
      this.shortName = undefined; // it is not one of the others
      this.number = this.#numberOf(short);
      this.shortName = short;
    }
    this.#showTitle();
    for (const link of this.element.querySelectorAll(".exports a")) {
      link.href = `export?id=${encodeURIComponent(task.id)}&format=${link.dataset.format}`;
      link.setAttribute("aria-label", `${link.textContent}: results of ${this.name}`);
    }
    const names = {
      ".remove": `Remove ${this.name} from this list`,
      ".copy": `Copy the MD5 of ${this.name}`,
      ".cancel": `Cancel ${this.name}`,
      ".again": `Try again: ${this.name}`,
      ".link": `Link to this task: ${this.name}`,
      progress: `Download of ${this.name}`,
    };
    for (const part of Object.keys(names)) this.#part(part).setAttribute("aria-label", names[part]);
  }

  /** What the task is called. No two cards have the same name. */
  get name() {
    return this.number > 1 ? `${this.shortName}, number ${this.number}` : this.shortName;
  }

  #showTitle() {
    const { id, url, total } = this.#task;
    const title = linkTo(url) ?? (total ? files(total) : `Task ${id.slice(0, 100)}`);
    const number = document.createElement("span");
    if (this.number > 1) {
      number.textContent = ` (number ${this.number})`;
      // A long link may hide its end, so the number stands beside it.
      if (title.href) {
        title.setAttribute("aria-label", url + number.textContent);
        number.setAttribute("aria-hidden", "true");
      }
    }
    this.#part("h3").replaceChildren(title, number);
  }

  focus() {
    this.element.scrollIntoView();
    this.#part("h3").focus({ preventScroll: true });
  }

  /** Show an answer of the service about this task. */
  show(answer) {
    const { status, body } = answer;
    if (isTrouble(answer)) {
      this.#note(["The service is unreachable. Trying again."]);
      return;
    }
    this.#note([]);
    if (body.tasks) this.#showBatch(body);
    else if (status === 202) this.#showRunning(body);
    else if (status === 200) this.#showDone(body);
    else this.#showFailed(answer);
  }

  /** The end in a sentence, for those who listen. */
  summary({ status, body }) {
    if (body.tasks) return `${this.name}: ${counts(body)}`;
    if (status !== 200) return `${this.name}: ${this.#part(".failure").textContent}`;
    return `${this.name}: the MD5 is ${body.md5}. ${this.#part(".verdict").textContent}`;
  }

  #showRunning(body) {
    const { text, part } = describe(body, this.#speed, performance.now());
    this.#bar.show(part, text);
    this.#part(".pace").textContent = text;
    this.#switchTo(".running");
  }

  #showBatch(body) {
    const { total, running } = body.tasks;
    if (body.status === "running") {
      this.#bar.show((total - running) / total, counts(body));
      this.#part(".pace").textContent = counts(body);
      this.#switchTo(".running");
      return;
    }
    this.#part(".counts").textContent = counts(body);
    this.#part(".fact").textContent = `${exactBytes(body.bytes_done)} · ${moment(body.finished_at)}`;
    this.#note([mail(body.mail_status)]);
    this.#switchTo(".batch");
    if (body.tasks.failed && !this.#part(".failures").hasChildNodes()) {
      this.#showFailures(body.tasks.failed);
    }
  }

  /** List the first failures of a batch. */
  async #showFailures(count) {
    const found = await firstFailures(this.#task.id, count);
    const items = found.map(({ url, error }) => {
      const item = document.createElement("li");
      item.append(linkTo(url), `: ${error.message}`);
      return item;
    });
    if (count > found.length && found.length) {
      const item = document.createElement("li");
      item.textContent = `and ${number(count - found.length)} more, see the results`;
      items.push(item);
    }
    this.#part(".failures").replaceChildren(...items);
  }

  #showDone(body) {
    this.#part(".digest").replaceChildren(...inHalves(body.md5));
    this.#part(".digests").replaceChildren(...otherDigests(body));
    this.#showVerdict(body);
    this.#part(".fact").textContent = `${exactBytes(body.size)} · ${moment(body.finished_at)}`;
    this.#note([
      body.final_url !== body.url && `Redirected to ${body.final_url}`,
      body.length_verified === false &&
        "The server did not state the length of the file, so truncation could not be detected.",
      ...declarations(body),
      mail(body.mail_status),
    ]);
    this.#switchTo(".done");
  }

  #showVerdict({ verified, mismatches }) {
    const verdict = this.#part(".verdict");
    verdict.hidden = verified === undefined;
    if (verdict.hidden) return;
    verdict.className = `verdict ${verified ? "good" : "bad"}`;
    const what = this.#task.expected ? "the MD5 you expected" : "what was expected";
    if (verified) {
      verdict.textContent = `It is ${what}.`;
    } else if (this.#task.expected) {
      const expected = document.createElement("code");
      expected.append(...inHalves(this.#task.expected.toLowerCase()));
      verdict.replaceChildren(`It is not ${what}, `, expected);
    } else {
      verdict.textContent = `It is not ${what}: ${mismatches.map(digestName).join(", ")}.`;
    }
  }

  #showFailed({ status, body }) {
    const reason = body.error?.message ?? "The service gave no reason.";
    this.#part(".failure").textContent = status === 404 ? NOT_FOUND : reason;
    if (status === 424) {
      this.#part(".failure").prepend("Failed: ");
      this.#part(".fact").textContent = moment(body.finished_at);
      this.#note([mail(body.mail_status)]);
      this.#part(".again").hidden = false;
    }
    this.#switchTo(".failure");
  }

  #switchTo(shown) {
    for (const part of [".running", ".done", ".batch", ".failure"]) this.#part(part).hidden = part !== shown;
    this.#part(".cancel").hidden = shown !== ".running";
  }

  #note(texts) {
    const notes = texts.filter(Boolean).map((text) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = text;
      return paragraph;
    });
    this.#part(".notes").replaceChildren(...notes);
  }

  async #copy(announce) {
    const digest = this.#part(".digest");
    try {
      await navigator.clipboard.writeText(digest.textContent);
    } catch {
      // Not there over plain HTTP: mark it, and copy what is marked, the old way.
      getSelection().selectAllChildren(digest);
      if (!document.execCommand("copy")) return;
    }
    const button = this.#part(".copy");
    button.textContent = "Copied";
    announce("Copied.");
    setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
  }

  #part(selector) {
    return this.element.querySelector(selector);
  }
}

/** A short name, which other tasks may have as well. */
function nameOf({ url, total }) {
  if (url) return shortName(url);
  return total ? `the list of ${files(total)}` : "this task";
}

/** What the origin declares about the digests, in sentences. */
function declarations(body) {
  return Object.entries(body)
    .filter(([name, value]) => name.startsWith("origin_") && typeof value === "string")
    .map(([name, value]) => {
      const digest = name.slice("origin_".length);
      const declared = digestName(digest);
      if (body[digest] === value) return `The server of the file declares the same ${declared}.`;
      return `The server of the file declares another ${declared}, ${value}.`;
    });
}

/** The digests besides the MD5, each with its name. */
function otherDigests(body) {
  return Object.entries(body)
    .filter(([name, value]) => !/^md5$|^origin_/.test(name) && /^[0-9a-f]{32,}$/.test(value))
    .flatMap(([name, value]) => {
      const [term, shown] = [document.createElement("dt"), document.createElement("dd")];
      const digest = document.createElement("code");
      digest.textContent = value;
      term.textContent = digestName(name);
      shown.append(digest);
      return [term, shown];
    });
}

/** A digest that breaks in the middle where the line is too short; what is copied has no break. */
function inHalves(md5) {
  return [md5.slice(0, md5.length / 2), document.createElement("wbr"), md5.slice(md5.length / 2)];
}

/** Return a link, or plain text if the text is not a web address, or undefined if it is empty. */
function linkTo(url) {
  if (!url) return undefined;
  if (!/^https?:$/.test(parseUrl(url)?.protocol)) return url;
  const link = document.createElement("a");
  link.href = url;
  link.rel = "noopener noreferrer nofollow";
  link.title = url;
  link.textContent = url;
  return link;
}
