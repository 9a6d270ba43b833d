// The guard before llama.cpp: once a file, in a child whose death costs a sentence.
import { appendFileSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { firstOpen } from "../../src/model/first-open.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-first-open-"));
let count = 0;
let file = "";
let log = "";

beforeEach(() => {
  count++;
  vi.stubEnv("XDG_CACHE_HOME", path.join(folder, `cache-${count}`));
  file = path.join(folder, `model-${count}.gguf`);
  log = path.join(folder, `log-${count}`);
  writeFileSync(file, "a model");
});

/** A child that notes that it ran, then does what is asked. */
const program = (then = "") => `require("fs").appendFileSync(${JSON.stringify(log)}, "x"); ${then}`;
const runs = () => (existsSync(log) ? readFileSync(log, "utf8").length : 0);

describe("firstOpen", () => {
  it("starts a child once a file, and again when the file has changed", async () => {
    await firstOpen(file, undefined, program());
    await firstOpen(file, undefined, program());
    expect(runs()).toBe(1);
    appendFileSync(file, "!");
    await firstOpen(file, undefined, program());
    expect(runs()).toBe(2);
  });

  it("shares one child among openings at the same time", async () => {
    await Promise.all([1, 2, 3].map(() => firstOpen(file, undefined, program("setTimeout(() => {}, 200)"))));
    expect(runs()).toBe(1);
  });

  it("turns an abort into an error with the assert in it, and tries again the next time", async () => {
    const crash = program('console.error("GGML_ASSERT(n > 0) failed"); console.error("more"); process.abort()');
    const error = expect.objectContaining({
      code: "input",
      message: expect.stringMatching(
        /model-\d+\.gguf: the process that tried ended with SIGABRT: GGML_ASSERT\(n > 0\) failed/,
      ),
    });
    await expect(firstOpen(file, undefined, crash)).rejects.toEqual(error);
    await expect(firstOpen(file, undefined, crash)).rejects.toEqual(error);
    expect(runs()).toBe(2);
  });

  it("passes on the message of a child that failed cleanly", async () => {
    const failing = program('console.error("unknown tokenizer"); process.exit(3)');
    await expect(firstOpen(file, undefined, failing)).rejects.toMatchObject({
      code: "input",
      message: expect.stringMatching(/^llama\.cpp cannot open .*: unknown tokenizer$/),
    });
  });

  it("kills the child on abort, but not while another opening waits for it", async () => {
    const controller = new AbortController();
    const slow = program("setTimeout(() => {}, 1000)");
    const first = firstOpen(file, controller.signal, slow);
    const second = firstOpen(file, undefined, slow);
    setTimeout(() => controller.abort(), 200);
    await expect(first).rejects.toMatchObject({ code: "cancelled" });
    await second;
    expect(runs()).toBe(1);
  });

  it("does nothing with a signal that is aborted already", async () => {
    await expect(firstOpen(file, AbortSignal.abort(), program())).rejects.toMatchObject({ code: "cancelled" });
    expect(runs()).toBe(0);
  });

  it("checks again where its list cannot be kept", async () => {
    vi.stubEnv("XDG_CACHE_HOME", "/dev/null");
    await firstOpen(file, undefined, program());
    await firstOpen(file, undefined, program());
    expect(runs()).toBe(2);
  });
});
