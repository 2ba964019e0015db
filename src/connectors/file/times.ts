/** A date or timestamp in the form of the port: ISO 8601, `T` between, seconds present, offset as `+hh:mm` or `Z`. */
export interface Time {
  readonly type: "date" | "timestamp" | "timestamptz";
  readonly text: string;
}

const DATE_TIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2})(?::(\d{2})(\.\d{1,9})?)?(?: ?(Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?$/;

const TIME_OF_DAY = /^(\d{2}):(\d{2})(?::(\d{2})(\.\d{1,9})?)?$/;

/**
 * Reads the usual ways to write a date or timestamp: `2024-01-31`, `2024-01-31 10:00`, `2024-01-31T10:00:00.5Z`,
 * `2024-01-31 10:00:00+0100`. The offset is kept as it is. Undefined for anything else and for days that do not exist.
 */
export function parseTime(text: string): Time | undefined {
  if (text.length < 10 || text.length > 40) return undefined;
  const match = DATE_TIME.exec(text);
  if (match === null) return undefined;
  const [, year = "", month = "", day = "", hour, minute = "", second = "00", fraction = "", zone] = match;
  if (!isDay(Number(year), Number(month), Number(day))) return undefined;
  const date = `${year}-${month}-${day}`;
  if (hour === undefined) return { type: "date", text: date };
  if (!isTimeOfDay(hour, minute, second)) return undefined;
  const local = `${date}T${hour}:${minute}:${second}${fraction}`;
  if (zone === undefined) return { type: "timestamp", text: local };
  const offset = isoOffset(zone);
  return offset === undefined ? undefined : { type: "timestamptz", text: local + offset };
}

/** Reads a time of day: `10:00`, `10:00:00.5`. */
export function parseTimeOfDay(text: string): string | undefined {
  const match = TIME_OF_DAY.exec(text);
  if (match === null) return undefined;
  const [, hour = "", minute = "", second = "00", fraction = ""] = match;
  return isTimeOfDay(hour, minute, second) ? `${hour}:${minute}:${second}${fraction}` : undefined;
}

function isDay(year: number, month: number, day: number): boolean {
  if (year < 1 || month < 1 || month > 12 || day < 1) return false;
  const leap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  const days =
    month === 2 ? (leap ? 29 : 28) : month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
  return day <= days;
}

function isTimeOfDay(hour: string, minute: string, second: string): boolean {
  return Number(hour) < 24 && Number(minute) < 60 && Number(second) < 60;
}

function isoOffset(zone: string): string | undefined {
  if (zone === "Z" || zone === "UTC") return "Z";
  const hours = zone.slice(1, 3);
  const minutes = zone.length > 3 ? zone.slice(-2) : "00";
  return Number(hours) < 16 && Number(minutes) < 60 ? `${zone.charAt(0)}${hours}:${minutes}` : undefined;
}
