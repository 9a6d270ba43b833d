// Swapped terms keep their grammar; copies and ties are found, and nothing else.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { findCopies } from "../../src/audit/duplicates.js";
import { swapTerms } from "../../src/audit/swap.js";
import { builtInTerms, mentionedGroup } from "../../src/audit/terms.js";
import { tiedMeans, tiedTerms } from "../../src/audit/ties.js";
import { meansDifference, momentsOf } from "../../src/evaluate/index.js";
import { Random } from "../../src/support/random.js";

const golden = JSON.parse(readFileSync(new URL("../golden/audit.json", import.meta.url), "utf8")) as {
  ties: { counts: number[]; log_odds: number[]; p: number }[];
};
const list = (attribute: string) => builtInTerms.find((terms) => terms.attribute === attribute)!;

describe("swapTerms", () => {
  it.each([
    ["gender", "female", "male", "She lost her keys, and they are hers.", "He lost his keys, and they are his."],
    [
      "gender",
      "female",
      "male",
      "I saw her in the garden; her sister saw her.",
      "I saw him in the garden; his brother saw him.",
    ],
    ["gender", "male", "female", "He lost his keys. They are his.", "She lost her keys. They are hers."],
    ["gender", "male", "female", "the film is his and it pleased him", "the film is hers and it pleased her"],
    ["gender", "female", "male", "AN ACTRESS and a Queen", "AN ACTOR and a King"],
    ["gender", "male", "female", "an uncle's boyish charm", "an aunt's boyish charm"],
    ["gender", "male", "female", "a king, an actor, A man", "a queen, an actress, A woman"],
    ["nationality", "american", "german", "an American film about an Indian", "a German film about an Indian"],
    ["nationality", "german", "american", "A German and the Germans", "An American and the Americans"],
    ["nationality", "american", "chinese", "an american in china", "a chinese in china"],
    ["names", "white", "black", "emily met Greg. GREG smiled", "lakisha met Jamal. JAMAL smiled"],
    ["age", "young", "old", "a teenage clerk, 25-year-old", "an elderly clerk, 75-year-old"],
  ])("%s, %s to %s: %s", (attribute, from, to, text, expected) => {
    expect(swapTerms(list(attribute), from, to)(text)).toBe(expected);
  });

  it("leaves a text alone that names no one, and words that hold a term", () => {
    expect(swapTerms(list("gender"), "male", "female")("mankind heard the theme")).toBeNull();
  });

  it("has a counterpart for every term, and comes back where words are one to one", () => {
    for (const { attribute, groups } of builtInTerms) {
      const lengths = Object.values(groups).map((terms) => terms.length);
      expect(new Set(lengths).size, attribute).toBe(1);
    }
    const there = swapTerms(list("names"), "white", "black")("Anne and Brad are an item")!;
    expect(swapTerms(list("names"), "black", "white")(there)).toBe("Anne and Brad are an item");
  });

  it("tells a text's group only where it names one", () => {
    const group = mentionedGroup(list("gender"));
    expect([group("her son"), group("the son"), group("HER mother"), group("human")]).toEqual([
      null,
      "male",
      "female",
      null,
    ]);
  });
});

describe("findCopies", () => {
  const row = (text: string, answer: string, line: number, split = "train") => ({ text, answer, split, line });
  const long = Array.from({ length: 42 }, (_, at) => `word${at}`).join(" ");

  it("finds exact and near copies, across splits and with other answers", () => {
    const found = findCopies([
      row("A good film.", "yes", 1),
      row(long, "yes", 2),
      row("something else entirely, with words of its own, and of no other row here", "no", 3),
      row("a GOOD film", "no", 4, "test"),
      row(long.replace("word9 ", "other "), "yes", 5, "test"),
    ]);
    expect(found).toMatchObject({ exact: 1, near: 1, contradicting: 1, across_splits: 2 });
    expect(found.examples[0]).toEqual({
      split: "test",
      line: 4,
      of: { split: "train", line: 1 },
      similarity: 1,
      same_answer: false,
    });
    // Of 40 runs of three words each has 37 in common with the other's.
    expect(found.examples[1]!.similarity).toBeCloseTo(37 / 43, 12);
  });

  it("takes answers for another where they are told so", () => {
    const rows = [row(long, "3.0", 1), row(long, "3.2", 2), row(long, "4.0", 3)];
    expect(findCopies(rows).contradicting).toBe(2);
    expect(findCopies(rows, (one, other) => Math.abs(+one - +other) <= 0.5).contradicting).toBe(1);
  });

  it("lets rows be that share less than four fifths", () => {
    const other = long.split(" ").slice(0, 30).join(" ");
    expect(findCopies([row(long, "a", 1), row(other, "a", 2)])).toMatchObject({ exact: 0, near: 0 });
  });
});

describe("tiedTerms", () => {
  const rows = Array.from({ length: 400 }, (_, at) => ({
    text: `${at % 4 === 0 ? "Emily" : "Greg"} says word${at % 7} and more${at % 3}`,
    labels: [(at % 4 === 0) === (at % 20 !== 0) ? "yes" : "no"],
  }));

  it("finds the planted tie with its interval clear of 0, and no other", () => {
    const { terms, looked_at } = tiedTerms(rows, (term) => (term === "emily" ? "names: white" : null));
    expect(looked_at).toBeGreaterThan(5);
    expect(terms.map(({ term, label, group }) => [term, label, group])).toEqual([
      ["emily", "yes", "names: white"],
      ["greg", "no", null],
    ]);
    for (const { log_odds, p_holm } of terms) {
      expect(log_odds.low).toBeGreaterThan(0);
      expect(p_holm).toBeLessThan(1e-6);
    }
    expect(terms[0]).toMatchObject({ rows: 100, share: 0.8, share_others: 0 });
  });

  it.each(golden.ties)("gives the log-odds of $counts as statsmodels does", ({ counts, log_odds: expected, p }) => {
    const [hits, held, total, all] = counts as [number, number, number, number];
    const given = Array.from({ length: all }, (_, at) => ({
      text: at < held ? "word" : `other${at}`,
      labels: [at < hits || (at >= held && at < held + total - hits) ? "yes" : "no"],
    }));
    const { looked_at, terms } = tiedTerms(given, () => null);
    const { log_odds, p_holm } = terms[0]!;
    expect([looked_at, terms.length, terms[0]!.rows]).toEqual([1, 1, held]);
    for (const [place, value] of [log_odds.value, log_odds.low, log_odds.high].entries())
      expect(value).toBeCloseTo(expected[place]!, 12);
    expect(p_holm / p).toBeCloseTo(1, 9);
  });

  it("accuses no word of balanced rows", () => {
    const balanced = rows.map(({ text }, at) => ({ text, labels: [at % 8 < 4 ? "yes" : "no"] }));
    expect(tiedTerms(balanced, () => null).terms).toEqual([]);
  });
});

describe("tiedTerms of sets", () => {
  it("looks at each label by itself: a word may be tied to both, or to the empty set", () => {
    const rows = Array.from({ length: 200 }, (_, at) => ({
      text: at % 2 === 0 ? "Emily says" : "Greg says",
      labels: at % 2 === 0 ? ["fast", "good"] : [],
    }));
    const { looked_at, terms } = tiedTerms(rows, () => null, true);
    expect(looked_at).toBe(4);
    expect(terms.map(({ term, label }) => `${term} ${label}`).sort()).toEqual(["emily fast", "emily good"]);
  });
});

describe("tiedMeans", () => {
  const random = new Random(3);
  const rows = Array.from({ length: 300 }, (_, at) => ({
    text: `${at % 3 === 0 ? "Emily" : "Greg"} says word${random.below(12)} and more${at % 2}`,
    number: 1000 + random.below(100) / 10 + (at % 3 === 0 ? 5 : 0),
  }));

  it("finds the planted tie with its interval clear of 0, and no other", () => {
    const { looked_at, means } = tiedMeans(rows, (term) => (term === "emily" ? "names: white" : null));
    expect(looked_at).toBeGreaterThan(12);
    expect(means.map(({ term, group, rows: held }) => [term, group, held])).toEqual([
      ["emily", "names: white", 100],
      ["greg", null, 200],
    ]);
    const [emily, greg] = means;
    const own = (name: string) =>
      momentsOf(rows.filter(({ text }) => text.startsWith(name)).map(({ number }) => number));
    expect(emily!.mean).toBeCloseTo(own("Emily").mean, 9);
    expect(emily!.mean_others).toBeCloseTo(own("Greg").mean, 9);
    const whole = meansDifference(own("Emily"), own("Greg"));
    for (const end of ["value", "low", "high"] as const)
      expect(emily!.difference[end], end).toBeCloseTo(whole[end]!, 9);
    expect(emily!.difference.low).toBeGreaterThan(3);
    expect(greg!.difference.high).toBeLessThan(-3);
    expect(emily!.p_holm).toBeLessThan(1e-10);
  });

  it("accuses no word of ten rows that happen to be alike", () => {
    // Two numbers, as often: by chance ten of one kind stand at one word of five hundred, and sixty were looked at.
    const even = Array.from({ length: 800 }, (_, at) => ({
      text: at < 10 ? "Emily" : `word${at % 60}`,
      number: at < 10 ? 0 : random.below(2),
    }));
    expect(tiedMeans(even, () => null)).toEqual({ looked_at: 61, means: [] });
    expect(tiedMeans([], () => null)).toEqual({ looked_at: 0, means: [] });
  });
});
