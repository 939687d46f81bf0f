// The bar of a card: it moves from one report to the next, and never shows more than was reported.

const SHORTEST_MS = 300;
const LONGEST_MS = 5000;

/** A part that follows its reports in as much time as passes between them. */
export class Motion {
  #from = 0;
  #to;
  #reportedAt = 0;
  #length = 0;

  /** A new report. A lower one is of another attempt, which begins where it is. */
  report(part, now) {
    if (part === this.#to) return;
    const isAhead = part > this.#to; // not the first report, nor one after an unknown part
    this.#from = isAhead ? this.at(now) : part;
    this.#length = isAhead ? Math.min(Math.max(now - this.#reportedAt, SHORTEST_MS), LONGEST_MS) : 0;
    this.#to = part;
    this.#reportedAt = now;
  }

  /** The part to show; undefined if it is unknown. */
  at(now) {
    if (!this.isMoving(now)) return this.#to;
    return this.#from + ((this.#to - this.#from) * (now - this.#reportedAt)) / this.#length;
  }

  isMoving(now) {
    return now - this.#reportedAt < this.#length;
  }
}

export class Bar {
  #motion = new Motion();
  #element;
  #frame;

  constructor(element) {
    this.#element = element;
  }

  /** Show a part, undefined if it is unknown, and the text that describes it. */
  show(part, text) {
    this.#element.setAttribute("aria-valuetext", text);
    this.#motion.report(part, performance.now());
    this.#draw();
  }

  #draw() {
    const now = performance.now();
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const part = this.#motion.at(isStill ? Infinity : now);
    if (part === undefined) this.#element.removeAttribute("value");
    else this.#element.value = part;
    cancelAnimationFrame(this.#frame);
    if (!isStill && this.#motion.isMoving(now)) this.#frame = requestAnimationFrame(() => this.#draw());
  }
}
