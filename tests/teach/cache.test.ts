// A teacher's cache: what is read is what was written, whatever became of the process that wrote it; damage is seen at every offset.
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { Random } from "../../src/support/random.js";
import { TeacherCache, type TeachingFacts, type TeachRows } from "../../src/teach/index.js";

const facts: TeachingFacts = {
  ...{ teacher: "a", adapter: null, tokenizer: "b", template: "c", rows: "d", texts: null },
  ...{ top_k: 3, tail: "sample", temperature: 1, precision: "f32", engine: "stillroom", hidden_width: 5 },
};
/** Without the teacher's hidden states, and with them. */
const both = [false, true];
/** 300 rows of 1 to 4 positions: three blocks. */
const counts = Array.from({ length: 300 }, (_, row) => 1 + ((row * 7) % 4));
const kind = { topK: 3, tail: "sample" as const };
const sayOf = (row: number, count: number, hidden: boolean) => ({
  ...kind,
  entries: Uint32Array.from({ length: count * 3 }, (_, index) => row * 1000 + index),
  tails: Float32Array.from({ length: count }, (_, index) => row + index / 10),
  ...(hidden && {
    hidden: { width: 5, states: Uint16Array.from({ length: count * 5 }, (_, index) => row * 100 + index) },
  }),
});
/** Of rows one after the other. */
const joined = (parts: ReturnType<typeof sayOf>[]) => ({
  ...kind,
  entries: Uint32Array.from(parts.flatMap(({ entries }) => [...entries])),
  tails: Float32Array.from(parts.flatMap(({ tails }) => [...tails])),
  ...(parts[0]?.hidden && {
    hidden: { width: 5, states: Uint16Array.from(parts.flatMap(({ hidden }) => [...hidden!.states])) },
  }),
});
/** Two rows an answer, as a batch would be. */
const say =
  (hidden: boolean): TeachRows =>
  async (first, last) => {
    const answers = [];
    for (let row = first; row < last; row += 2) {
      const own = counts.slice(row, Math.min(last, row + 2));
      answers.push({ taught: joined(own.map((count, index) => sayOf(row + index, count, hidden))), counts: own });
    }
    return answers;
  };
const folder = () => mkdtempSync(path.join(tmpdir(), "stillroom-cache-"));
const open = (place: string, change: Partial<TeachingFacts> = {}, positions = counts, hidden = false) =>
  TeacherCache.open(place, { ...facts, ...change }, positions, hidden);
async function filled(hidden = false): Promise<{ place: string; bytes: Buffer }> {
  const place = folder();
  const cache = await open(place, {}, counts, hidden);
  for await (const _ of cache.fill(say(hidden)));
  expect(cache.complete).toBe(true);
  await cache.close();
  return { place, bytes: readFileSync(path.join(place, "rows.bin")) };
}

test.each(both)("what is read is what was said, in any order; hidden states: %s", async (hidden) => {
  const { place } = await filled(hidden);
  const cache = await open(place);
  const rows = new Random(1).shuffle(Int32Array.from(counts.keys()));
  for (let from = 0; from < rows.length; from += 7) {
    const some = rows.subarray(from, from + 7);
    const said = (states: boolean) => joined([...some].map((row) => sayOf(row, counts[row]!, states)));
    expect(cache.read(some)).toEqual(said(false));
    expect(cache.read(some, true)).toEqual(said(hidden));
  }
  await cache.close();
});

const remedy = "in another folder stillroom teach --out FOLDER, or distill --cache FOLDER, makes one that fits";

test("an entry takes 4 bytes, and so does the tail; a value of a hidden state 2", async () => {
  const { place, bytes } = await filled();
  const positions = counts.reduce((sum, count) => sum + count, 0);
  expect(bytes.length).toBe(positions * 4 * 4 + 3 * 32);
  expect(statSync(path.join(place, "cache.json")).size).toBeLessThan(500);
  expect((await filled(true)).bytes.length).toBe(positions * (4 * 4 + 2 * 5) + 3 * 32);
});

test("a cache with hidden states serves who needs them and who does not; one without is refused to who does", async () => {
  const { place } = await filled(true);
  for (const hidden of both) {
    const cache = await open(place, {}, counts, hidden);
    expect(cache).toMatchObject({ complete: true, hidden: true });
    await cache.close();
  }
  const refused = (change: Partial<TeachingFacts>, hidden: boolean) =>
    expect(open(place, change, counts, hidden)).rejects;
  for (const hidden of both) {
    await refused({ hidden_width: 6 }, hidden).toThrow(/made with other hidden_width \(5 there, 6 here\)/);
    await refused({ rows: "x" }, hidden).toThrow(/made with other rows \("d" there, "x" here\)/);
  }
  const plain = (await filled()).place;
  const message = `the teacher's cache ${plain} keeps no hidden states; make another one, in another folder, with stillroom teach --hidden`;
  await expect(open(plain, {}, counts, true)).rejects.toMatchObject({ code: "input", message });
  await expect(open(plain, { rows: "x" }, counts, true)).rejects.toThrow(/made with other rows/);
});

test.each(both)("cut off anywhere, it is filled again to the same bytes; hidden states: %s", async (hidden) => {
  const { place, bytes } = await filled(hidden);
  const file = path.join(place, "rows.bin");
  const random = new Random(3);
  for (let cut = 0; cut < 200; cut++) {
    writeFileSync(file, bytes.subarray(0, random.below(bytes.length)));
    const cache = await open(place);
    expect(cache.complete).toBe(false);
    for await (const _ of cache.fill(say(cache.hidden)));
    await cache.close();
    expect(readFileSync(file).equals(bytes)).toBe(true);
  }
});

test.each(both)("a flipped bit anywhere is seen, told, and asked again; hidden states: %s", async (hidden) => {
  const { place, bytes } = await filled(hidden);
  const file = path.join(place, "rows.bin");
  const random = new Random(4);
  for (let flip = 0; flip < 200; flip++) {
    const at = random.below(bytes.length);
    const bad = Buffer.from(bytes);
    bad[at]! ^= 1 << random.below(8);
    writeFileSync(file, bad);
    const cache = await open(place);
    expect(cache.complete).toBe(false);
    expect(cache.damage).toMatch(/rows\.bin is damaged behind byte \d+: rows from (0|128|256) on are asked again/);
    for await (const _ of cache.fill(say(cache.hidden)));
    await cache.close();
    expect(readFileSync(file).equals(bytes)).toBe(true);
  }
});

test("blocks of another cache are not taken for its own", async () => {
  const { bytes } = await filled();
  const place = folder();
  await (await open(place, { teacher: "another" })).close();
  writeFileSync(path.join(place, "rows.bin"), bytes);
  const cache = await open(place, { teacher: "another" });
  expect(cache).toMatchObject({ whole: 0, damage: expect.stringContaining("byte 0") });
  await cache.close();
});

test.each(both)("a damaged manifest is refused, or says the same; hidden states: %s", async (hidden) => {
  const { place } = await filled(hidden);
  const file = path.join(place, "cache.json");
  const good = readFileSync(file);
  const random = new Random(5);
  for (let flip = 0; flip < 200; flip++) {
    const bad = Buffer.from(good);
    bad[random.below(bad.length)]! ^= 1 << random.below(8);
    writeFileSync(file, bad);
    await expect(open(place)).rejects.toMatchObject({ code: "input" });
  }
  for (const length of [0, 1, good.length >> 1]) {
    writeFileSync(file, good.subarray(0, length));
    await expect(open(place)).rejects.toThrow(`${file} is damaged, or no teacher's cache; ${remedy}`);
  }
});

test("values that differ are shown up to where they do", async () => {
  const [first, second] = ["0", "1"].map((end) => `${"ab".repeat(20)}${end}${"c".repeat(23)}`);
  const place = folder();
  await (await open(place, { teacher: first!, rows: "7".repeat(64) })).close();
  const parted = (end: string) => `"${"ab".repeat(20)}${end}ccc…`;
  const list = `teacher (${parted("0")} there, ${parted("1")} here), rows ("777777777777777… there, "d" here)`;
  await expect(open(place, { teacher: second! })).rejects.toThrow(
    `the teacher's cache ${place} does not fit: it was made with other ${list}; ${remedy}`,
  );
  // One is the beginning of the other.
  await expect(open(place, { teacher: first!, rows: "7".repeat(70) })).rejects.toThrow(
    `rows ("${"7".repeat(64)}" there, "${"7".repeat(68)}… here)`,
  );
});

test("every fact that differs is named", async () => {
  const { place } = await filled();
  const changes: Partial<TeachingFacts> = {
    teacher: "x",
    adapter: "x",
    tokenizer: "x",
    template: "x",
    rows: "x",
    texts: "x",
  };
  for (const [name, value] of Object.entries({
    ...changes,
    top_k: 4,
    tail: "bucket",
    temperature: 2,
    precision: "int8",
    engine: "x",
  })) {
    await expect(open(place, { [name]: value })).rejects.toThrow(new RegExp(`made with other ${name} \\(`));
  }
  await expect(open(place, { rows: "x", top_k: 4 })).rejects.toThrow(
    /rows \("d" there, "x" here\), top_k \(3 there, 4 here\)/,
  );
  await expect(open(place, {}, counts.slice(1))).rejects.toThrow(
    /made with other row_count \(300 there, 299 here\), positions/,
  );
});

test("one process at a time, and no folder of something else", async () => {
  const { place } = await filled();
  const cache = await open(place);
  await expect(open(place)).rejects.toMatchObject({
    code: "usage",
    message: expect.stringContaining(`${process.pid}`),
  });
  await cache.close();
  await cache.close();
  rmSync(path.join(place, "cache.json"));
  await expect(open(place)).rejects.toThrow(/holds no teacher's cache, but rows\.bin/);
});
