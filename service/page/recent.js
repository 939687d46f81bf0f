// The tasks of this browser, newest first: { id, url, total?, expected?, end? }. `total` is the number
// of URLs of a batch, `end` the last answer.

const KEY = "md5-light.tasks";
const LIMIT = 50;

export function recent() {
  try {
    return parse(localStorage.getItem(KEY));
  } catch {
    return []; // not kept by this browser
  }
}

function parse(text) {
  try {
    const tasks = JSON.parse(text ?? "[]");
    return tasks.filter((task) => typeof task?.id === "string" && typeof task.url === "string");
  } catch {
    return []; // not written by this page
  }
}

/** Keep a task: at its place if it is known, else as the newest. */
export function remember(task) {
  const tasks = recent(); // read again: another tab may have written
  const place = tasks.findIndex(({ id }) => id === task.id);
  if (place < 0) tasks.unshift(task);
  else tasks[place] = task;
  write(tasks.slice(0, LIMIT));
}

export function forget(id) {
  write(recent().filter((task) => task.id !== id));
}

/**
 * Call back whenever another tab has changed the list, with the tasks that it has removed: null if
 * the storage was cleared.
 */
export function onChange(callback) {
  addEventListener("storage", ({ key, oldValue, newValue }) => {
    if (key === null) callback(null);
    if (key !== KEY) return;
    const ids = new Set(parse(newValue).map(({ id }) => id));
    callback(parse(oldValue).filter(({ id }) => !ids.has(id)));
  });
}

function write(tasks) {
  try {
    localStorage.setItem(KEY, JSON.stringify(tasks));
  } catch {
    // Switched off, or full: the list lasts as long as the page.
  }
}
