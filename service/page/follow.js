// Asks the service about a task until there is nothing more to learn.

const TIMEOUT_MS = 20_000;
const MAX_PAUSE_SECONDS = 60;
const MAX_RETRY_AFTER_SECONDS = 3600;
const UNSETTLED_MAILS = ["pending", "sending", "delayed"];

/** The service's answer: its status (0: none came), its body, and the pause it asks for. */
export async function ask(path, options = {}) {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), TIMEOUT_MS);
  try {
    const response = await fetch(path, { cache: "no-store", signal: deadline.signal, ...options });
    const text = await response.text();
    return {
      status: response.status,
      body: parseObject(text),
      retryAfter: Number.parseInt(response.headers.get("Retry-After"), 10) || undefined,
    };
  } catch {
    return { status: 0, body: {} };
  } finally {
    clearTimeout(timer);
  }
}

function parseObject(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {}; // not from the service, but from something in between
  }
}

/** Whether asking again may give another answer. */
export function isTrouble({ status }) {
  return status === 0 || status === 408 || status === 425 || status === 429 || status >= 500;
}

/** Whether the task has come to its end; its mail may still be on the way. */
export function isEnd({ status }) {
  return status === 200 || status === 424;
}

export function isUnsettled(answer) {
  return isEnd(answer) && UNSETTLED_MAILS.includes(answer.body.mail_status);
}

/**
 * Report each answer about a task, at the pace that the service asks for. Slow down after errors
 * and while only the mail is missing, and pause while the page is hidden. Returns two functions:
 * `stop` ends it, and `look` asks at once.
 */
export function follow(id, tell) {
  const stopping = new AbortController();
  let dueAt = 0;
  let slowness = 0;
  let timer;
  let isAsking = false;

  function schedule() {
    clearTimeout(timer);
    if (stopping.signal.aborted || isAsking || document.hidden) return;
    timer = setTimeout(next, Math.max(0, dueAt - Date.now()));
  }

  async function next() {
    isAsking = true;
    const answer = await ask(`check?id=${encodeURIComponent(id)}`);
    isAsking = false;
    if (stopping.signal.aborted) return;
    const isSlow = isTrouble(answer) || isUnsettled(answer);
    slowness = isSlow ? slowness + 1 : 0;
    if (isSlow || answer.status === 202) {
      const pause = isSlow ? Math.min(2 ** slowness, MAX_PAUSE_SECONDS) : 1;
      dueAt = Date.now() + Math.min(answer.retryAfter ?? pause, MAX_RETRY_AFTER_SECONDS) * 1000;
      schedule();
    } else {
      stopping.abort();
    }
    tell(answer);
  }

  document.addEventListener("visibilitychange", schedule, { signal: stopping.signal });
  schedule();
  return {
    stop() {
      stopping.abort();
      clearTimeout(timer);
    },
    look() {
      dueAt = 0;
      schedule();
    },
  };
}
