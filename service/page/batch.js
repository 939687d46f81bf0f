// What the page says about a batch.

import { number } from "./words.js";

const MAX_FAILURES = 20;

/** 1200 -> "1,200 files" */
export function files(count) {
  return `${number(count)} ${count === 1 ? "file" : "files"}`;
}

/** What has become of the files of a batch. */
export function counts({ tasks, mismatched }) {
  const parts = [`${number(tasks.done)} of ${number(tasks.total)} done`];
  if (tasks.failed) parts.push(`${number(tasks.failed)} failed`);
  if (mismatched) parts.push(`${number(mismatched)} not as expected`);
  return `${parts.join(", ")}.`;
}

/** The first of `count` failed tasks of a batch, as the service describes them. Reads no further. */
export async function firstFailures(id, count) {
  const wanted = Math.min(count, MAX_FAILURES);
  const stopping = new AbortController();
  const failures = [];
  try {
    const path = `export?id=${encodeURIComponent(id)}&format=ndjson`;
    const response = await fetch(path, { signal: stopping.signal });
    if (!response.ok) return failures;
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return failures;
      const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = lines.pop();
      for (const task of lines.map((line) => JSON.parse(line))) {
        if (task.status === "failed" && failures.push(task) === wanted) {
          stopping.abort();
          return failures;
        }
      }
    }
  } catch {
    return failures; // the results can still be downloaded
  }
}
