// Writes customers.csv and orders.jsonl beside this file, the same at every run: node examples/generate.mjs
import { writeFileSync } from "node:fs";

let state = 20_240_229;

/** mulberry32: small, seeded, good enough for examples. */
function random() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const below = (n) => Math.floor(random() * n);
const pick = (list) => list[below(list.length)];
const chance = (p) => random() < p;
const instant = (from, to) => new Date(Date.parse(from) + below(Date.parse(to) - Date.parse(from)));
const iso = (date) => `${date.toISOString().slice(0, 19)}Z`;
const plain = (name) =>
  name
    .normalize("NFD")
    .replaceAll("ß", "ss")
    .replaceAll("ł", "l")
    .replaceAll("ø", "o")
    .replace(/[^A-Za-z]/g, "")
    .toLowerCase();

const first =
  "Ada Ben Chloé Daan Elif Fatima Gökhan Hana Ivan Jürgen Katarzyna Léa María Nia Óscar Priya Quentin Rosa Søren Tomás Uma Víctor Wei Ximena Yusuf Zoë".split(
    " ",
  );
const last =
  "Andersen|Bakker|Çelik|D'Amico|Dubois|García|Hansen|Ivanova|Jansen|Kowalski|Lindqvist|Müller|Nguyen|O'Brien|Petrović|Quispe|Rossi|Smith|Strauß|Tanaka|Usman|van der Berg|Wójcik|Young|Zieliński".split(
    "|",
  );
const places = [
  ["Boston, MA", "US", () => `0${2108 + below(92)}`],
  ["San Juan", "US", () => `00${901 + below(30)}`],
  ["New York", "US", () => String(10_001 + below(270))],
  ["Dresden", "DE", () => `0${1067 + below(250)}`],
  ["Köln", "DE", () => String(50_667 + below(250))],
  ["Nice", "FR", () => `0${6000 + below(300)}`],
  ["Madrid", "ES", () => String(28_001 + below(55))],
  ["Oslo", "NO", () => String(below(1_295)).padStart(4, "0")],
  ["Kraków", "PL", () => `30-${String(below(900)).padStart(3, "0")}`],
  ["东京", "JP", () => `100-${String(below(9_000)).padStart(4, "0")}`],
];

function csv(value) {
  return /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

function customer(id) {
  const name = pick(first);
  const family = pick(last);
  const [city, country, zip] = pick(places);
  return [
    String(id),
    chance(0.02) ? `${name} "${name.slice(0, 2)}"` : name,
    family,
    chance(0.04) ? "" : `${plain(name)}.${plain(family)}${id}@example.com`,
    city,
    zip(),
    country,
    iso(instant("2019-01-01", "2025-01-01")),
    chance(0.05) ? "" : (random() ** 3 * 9_000).toFixed(2),
    String(chance(0.6)),
  ];
}

function order(id) {
  const items = Array.from({ length: 1 + below(2) }, () => ({
    sku: `A-${String(below(400)).padStart(4, "0")}`,
    qty: 1 + below(3),
  }));
  return {
    id,
    customer_id: 1 + below(5_000),
    ordered_at: iso(instant("2024-01-01", "2025-06-01")),
    status: pick(["paid", "paid", "shipped", "shipped", "returned", "open"]),
    total: Math.round(random() ** 2 * 50_000) / 100,
    items,
    note: chance(0.05)
      ? pick(["gift", 'sign the card "Mum"', "ring twice\nthen wait", "schönen Gruß"])
      : null,
  };
}

const header = "id,first_name,last_name,email,city,zip,country,signed_up_at,lifetime_value,newsletter";
const customers = Array.from({ length: 5_000 }, (_, i) =>
  customer(i + 1)
    .map(csv)
    .join(","),
);
writeFileSync(new URL("customers.csv", import.meta.url), `${[header, ...customers].join("\n")}\n`);

const orders = Array.from({ length: 3_000 }, (_, i) => JSON.stringify(order(i + 1)));
writeFileSync(new URL("orders.jsonl", import.meta.url), `${orders.join("\n")}\n`);
