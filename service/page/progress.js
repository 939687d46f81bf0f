// How a download that is under way is described.

import { bytes, duration, time } from "./words.js";

const WINDOW_MS = 12_000; // the speed is that of this long; the service writes progress every 2 s
const STALE_MS = 6_000; // without a new byte for this long, the speed goes down

/** Estimate the speed of a download from occasional reports. */
export class Speed {
  #samples = [];

  /** Bytes per second, after one more sample; undefined while there is too little to tell. */
  sample(done, now) {
    const last = lastOf(this.#samples);
    if (last && done < last.done) this.#samples = []; // another attempt, from the beginning
    if (!last || done !== last.done || now - last.now > STALE_MS) this.#samples.push({ done, now });
    while (this.#samples.length > 2 && now - this.#samples[0].now > WINDOW_MS) {
      this.#samples.shift();
    }
    const [first, newest] = [this.#samples[0], lastOf(this.#samples)];
    return newest.now > first.now
      ? ((newest.done - first.done) * 1000) / (newest.now - first.now)
      : undefined;
  }
}

function lastOf(list) {
  return list[list.length - 1];
}

/** A running task in words, and the part that is done (undefined: unknown). */
export function describe(task, speed, now) {
  const { attempt, bytes_done: done, bytes_total: total } = task;
  const parts = [];
  let part = total && done !== undefined ? Math.min(done / total, 1) : 0;
  if (task.retry_at) {
    parts.push(`Waiting for the next attempt at ${time(task.retry_at)}`);
    parts.push(`the last one failed: ${task.error?.message ?? "for no known reason"}`);
  } else if (done === undefined) {
    parts.push(attempt ? "Asking the server for the file" : "Waiting for its turn");
  } else {
    const rate = speed.sample(done, now);
    if (!total) part = undefined;
    parts.push(total ? `${bytes(done)} of ${bytes(total)}` : `${bytes(done)}, size unknown`);
    if (rate === 0) parts.push("nothing is coming just now");
    if (rate > 0) parts.push(`${bytes(rate)}/s`);
    if (rate > 0 && total) parts.push(`about ${duration((total - done) / rate)} left`);
  }
  if (attempt > 1 && !task.retry_at) parts.push(`attempt ${attempt}`);
  return { text: parts.join("\u00a0· "), part };
}
