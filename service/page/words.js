// Numbers and states in words.

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];
const threeDigits = new Intl.NumberFormat("en", {
  minimumSignificantDigits: 3,
  maximumSignificantDigits: 3,
});
const exact = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

const watch = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

const MAIL = {
  pending: "The mail is on its way. If its server is unreachable, it is retried for about a day.",
  sending: "The mail is on its way.",
  delayed: "This address or its domain has reached its limit of mails per hour. This one goes out later.",
  sent: "The mail has been sent.",
  refused: "The mail was not sent or could not be delivered.",
};

/** 1234567 -> "1.23 MB", which no line break parts */
export function bytes(count) {
  if (count < 1000) return `${Math.round(count)}\u00a0${Math.round(count) === 1 ? "byte" : "bytes"}`;
  let power = 0;
  while (count >= 999.5 && power < UNITS.length - 1) {
    count /= 1000;
    power += 1;
  }
  return `${threeDigits.format(count)}\u00a0${UNITS[power]}`;
}

/** 1234567 -> "1.23 MB (1,234,567 bytes)" */
export function exactBytes(count) {
  return count < 1000 ? bytes(count) : `${bytes(count)} (${exact.format(count)} bytes)`;
}

/** 1234567 -> "1,234,567" */
export function number(count) {
  return exact.format(count);
}

/** 200 -> "4 min", rounded up */
export function duration(seconds) {
  if (seconds <= 60) return `${Math.max(1, Math.ceil(seconds))}\u00a0s`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes <= 60) return `${minutes}\u00a0min`;
  if (minutes > 24 * 60) return "more than a day";
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

export function moment(iso) {
  return clock.format(new Date(iso));
}

/** The time of day, to the second */
export function time(iso) {
  return watch.format(new Date(iso));
}

/** "sha256" -> "SHA-256", and "size" stays as it is */
export function digestName(name) {
  return name === "size" ? name : name.toUpperCase().replace(/^SHA(?=\d)/, "SHA-");
}

/** What becomes of the mail; undefined for a task without one. */
export function mail(status) {
  return MAIL[status];
}

/** A URL in its parts; undefined for what is not one. */
export function parseUrl(text) {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

/** A short name for a file: the last part of its path, or its host. */
export function shortName(url) {
  const parsed = parseUrl(url);
  if (!parsed) return url;
  const name = parsed.pathname.split("/").filter(Boolean).pop() ?? parsed.host;
  return name.length > 60 ? `${name.slice(0, 59)}…` : name;
}
