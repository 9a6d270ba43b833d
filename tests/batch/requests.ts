// Inputs of batches for tests: files of requests in OpenAI's format, and tasks of many rows.
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Random } from "../../src/support/random.js";

export function freshFolder(): string {
  return mkdtempSync(path.join(tmpdir(), "stillroom-batch-"));
}

export function completion(custom_id: string, prompt: string, body: Record<string, unknown> = {}): object {
  return {
    custom_id,
    method: "POST",
    url: "/v1/completions",
    body: { model: "gpt", prompt, max_tokens: 4, temperature: 0, ...body },
  };
}

export function chat(custom_id: string, text: string, body: Record<string, unknown> = {}): object {
  const messages = [{ role: "user", content: text }];
  return {
    custom_id,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "gpt", messages, max_tokens: 4, temperature: 0, ...body },
  };
}

export function embedding(custom_id: string, input: unknown, body: Record<string, unknown> = {}): object {
  return { custom_id, method: "POST", url: "/v1/embeddings", body: { model: "gpt", input, ...body } };
}

export function writeLines(lines: readonly (object | string)[], folder = freshFolder()): string {
  const file = path.join(folder, "requests.jsonl");
  writeFileSync(file, `${lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n")}\n`);
  return file;
}

/** Completions of which about a tenth are equal to another, some are drawn, and every hundredth is wrong. */
export function manyRequests(count: number, seed = 1): object[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, number) => {
    if (number % 100 === 99) return completion(`row ${number}`, "a", { n: 2 });
    const prompt = `${["Fruit", "Herb", "Tree"][random.below(3)]} ${random.below(count * 5)}:`;
    const drawn = random.below(3) === 0 ? { temperature: 1, seed: random.below(5) } : {};
    return completion(`row ${number}`, prompt, { max_tokens: 1 + random.below(3), ...drawn });
  });
}

/** A task without answers in its rows: what is its half of the alphabet? Some rows begin alike, beyond what all have in common. */
export function writeOpenTask(kind: "classify" | "generate", count: number): string {
  const folder = freshFolder();
  const random = new Random(9);
  const letters = () =>
    Array.from({ length: 2 + random.below(8) }, () => String.fromCharCode(97 + random.below(26))).join("");
  const families = Array.from({ length: 20 }, () => letters() + letters() + letters() + letters());
  writeFileSync(
    path.join(folder, "rows.jsonl"),
    Array.from({ length: count }, () => `${JSON.stringify({ text: families[random.below(20)] + letters() })}\n`).join(
      "",
    ),
  );
  const answer =
    kind === "classify" ? ["answer: { field: half, labels: { early: early, late: the late one } }"] : ["maxTokens: 4"];
  const lines = [
    "name: halves",
    `kind: ${kind}`,
    "data: { test: { path: rows.jsonl } }",
    'prompt: { instruction: "Early or late in the alphabet?", template: "{{ text }}:" }',
  ];
  writeFileSync(path.join(folder, "task.yaml"), `${[...lines, ...answer].join("\n")}\n`);
  return path.join(folder, "task.yaml");
}
