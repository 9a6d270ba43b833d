// One side of a trial as a child process: its answers in turn, and what is said when it fails.
import { afterEach, expect, test } from "vitest";
import { Side } from "../../bench/side.js";

const sides: Side[] = [];
afterEach(() => {
  for (const side of sides.splice(0)) side.close();
});

function sideOf(program: string): Side {
  const side = new Side("child", process.execPath, ["-e", program]);
  sides.push(side);
  return side;
}

test("answers come one a line, a step only after its turn", async () => {
  const side = sideOf(`
    const say = (line) => console.log(JSON.stringify(line));
    say({ event: "ready", versions: {} });
    process.stdin.on("data", () => say({ event: "step", loss: 2 }));
    process.stdin.on("end", () => say({ event: "done", peak_memory_bytes: 3 }));
  `);
  expect(await side.ready()).toEqual({ event: "ready", versions: {} });
  expect((await side.step()).loss).toBe(2);
  expect((await side.done()).peak_memory_bytes).toBe(3);
});

test("a side that dies is named with its complaint", async () => {
  const side = sideOf(`console.error("out of rows"); process.exit(3);`);
  await expect(side.ready()).rejects.toThrow(/child ended before "ready":\nout of rows/);
});

test("a side that cannot be started is named", async () => {
  const side = new Side("python", "/nonexistent/python", []);
  await expect(side.ready()).rejects.toThrow(/python ended before "ready":[\s\S]*ENOENT/);
});

test("an answer out of turn is an error", async () => {
  const side = sideOf(`console.log(JSON.stringify({ event: "done" }));`);
  await expect(side.ready()).rejects.toThrow("child said done in place of ready");
});
