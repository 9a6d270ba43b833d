// Rounding and colours of what people read.
import { afterEach, describe, expect, it, vi } from "vitest";
import { size } from "../../bin/options.js";
import { clock, colours, fileSize, number } from "../../bin/print.js";
import { Progress } from "../../bin/print-progress.js";

afterEach(() => vi.unstubAllEnvs());

describe("print", () => {
  it("writes sizes, times and losses", () => {
    expect([0, 999, 1000, 98362432, 2e15].map(fileSize)).toEqual(["0 B", "999 B", "1.0 kB", "98.4 MB", "2000.0 TB"]);
    expect([0, 59.6, 65, 7384].map(clock)).toEqual(["0:00", "1:00", "1:05", "2:03:04"]);
    expect([1.23456, null].map(number)).toEqual(["1.2346", "–"]);
  });

  it("reads sizes in powers of 1024", () => {
    expect(["1000", "2G", "512M", "1.5GiB", "3kb"].map(size)).toEqual([1000, 2 ** 31, 2 ** 29, 1.5 * 2 ** 30, 3072]);
    expect(() => size("big")).toThrow(/such as 2G/);
  });

  it.each([
    [{ NO_COLOR: "1", FORCE_COLOR: "" }, true, false],
    [{ NO_COLOR: "1", FORCE_COLOR: "1" }, true, false],
    [{ NO_COLOR: "", FORCE_COLOR: "1" }, false, true],
    [{ NO_COLOR: "", FORCE_COLOR: "", TERM: "xterm" }, true, true],
    [{ NO_COLOR: "", FORCE_COLOR: "", TERM: "dumb" }, true, false],
    [{ NO_COLOR: "", FORCE_COLOR: "", TERM: "xterm" }, false, false],
  ])("colours with %j, terminal %s: %s", (environment, isTTY, coloured) => {
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    const text = colours({ isTTY } as NodeJS.WriteStream).red("x");
    expect(text.includes("\u001b")).toBe(coloured);
  });
});

describe("Progress without a terminal", () => {
  it("writes a line where a phase begins and ends, counts warnings past the twentieth", () => {
    let text = "";
    const stream = { isTTY: false, write: (part: string) => (text += part) } as unknown as NodeJS.WriteStream;
    const progress = new Progress(stream);
    for (let done = 0; done <= 100; done++) progress.update("scoring", done, 100, `${done} rows`);
    progress.update("checking", 1, 2);
    expect(text).toBe("scoring 0% 0 rows\nscoring 100% 100 rows\nchecking 50%\n");
    text = "";
    for (let row = 0; row < 23; row++) progress.warn(`row ${row}`);
    progress.end();
    expect(text.trim().split("\n")).toHaveLength(21);
    expect(text).toMatch(/… and 3 more warnings\n$/);
  });
});
