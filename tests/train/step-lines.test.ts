// Files of step lines: what a resume keeps, what it leaves out, and that it says so.
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { beforeEach, expect, test } from "vitest";
import { StepLines } from "../../src/train/step-lines.js";

let file: string;
beforeEach(() => {
  file = path.join(mkdtempSync(path.join(tmpdir(), "stillroom-lines-")), "metrics.jsonl");
});

const line = (step: number) => JSON.stringify({ step, loss: 1 });
const rest = "charts and reports go without, what was learnt is in the checkpoint";

/** What a resume at a step makes of lines, each step having had one. */
async function rewound(text: string, step: number, every = true) {
  writeFileSync(file, text);
  const { lastStep, damaged } = await new StepLines(file, every).rewind(step);
  expect(readFileSync(file, "utf8")).toMatch(/^(.+\n)*$/);
  const steps = [...readFileSync(file, "utf8").matchAll(/"step":(\d+)/g)].map(([, found]) => Number(found));
  return { lastStep, steps, told: damaged.map((message) => message.replace(`${file}: `, "")) };
}

test("what a killed run leaves is nothing to tell of", async () => {
  const text = `${line(1)}\n${line(2)}\n${line(3)}\n`;
  expect(await rewound(text, 3)).toEqual({ lastStep: 3, steps: [1, 2, 3], told: [] });
  expect(await rewound(`${text}{"step":4,"lo`, 3)).toEqual({ lastStep: 3, steps: [1, 2, 3], told: [] });
  expect(await rewound(text, 2)).toEqual({ lastStep: 3, steps: [1, 2], told: [] });
  expect(await rewound("", 0)).toEqual({ lastStep: 0, steps: [], told: [] });
  // A whole last line without its line end is one.
  expect(await rewound(text.trimEnd(), 3)).toEqual({ lastStep: 3, steps: [1, 2, 3], told: [] });
});

test("a damaged line before the checkpoint is named, with the steps that no line tells of", async () => {
  expect(await rewound(`${line(1)}\n{"st\n${line(3)}\n`, 3)).toEqual({
    ...{ lastStep: 3, steps: [1, 3] },
    told: [`line 2 is damaged and left out; no line tells of step 2; ${rest}`],
  });
  // Cut off, and the checkpoint stands beyond it.
  expect(await rewound(`${line(1)}\n{"step":2,"lo`, 4)).toEqual({
    ...{ lastStep: 1, steps: [1] },
    told: [`line 2 is damaged and left out; no line tells of steps 2–4; ${rest}`],
  });
  for (const other of ["null", "[]", '{"loss":1}', '{"step":"2"}', "\0\0\0"]) {
    const { told } = await rewound(`${line(1)}\n${other}\n${line(3)}\n`, 3);
    expect(told, other).toEqual([`line 2 is damaged and left out; no line tells of step 2; ${rest}`]);
  }
});

test("steps without a line are missing where each has one, and only there", async () => {
  expect((await rewound(`${line(2)}\n${line(5)}\n`, 5)).told).toEqual([`no line tells of steps 1, 3–4; ${rest}`]);
  expect((await rewound(`${line(2)}\n${line(5)}\n`, 5, false)).told).toEqual([]);
  expect((await rewound(`${line(2)}\n?\n${line(5)}\n`, 5, false)).told).toEqual([
    `line 2 is damaged and left out; ${rest}`,
  ]);
});

test("damaged lines behind the checkpoint are written again with their steps", async () => {
  expect(await rewound(`${line(1)}\n${line(2)}\n?\n${line(4)}\n`, 2)).toEqual({
    ...{ lastStep: 4, steps: [1, 2] },
    told: ["line 3 is damaged; its step is taken and written again"],
  });
  expect((await rewound(`?\n?\n${line(3)}\n`, 0)).told).toEqual([
    "lines 1–2 are damaged; their steps are taken and written again",
  ]);
});

test("a file that cannot be read is an error, and is left as it is", async () => {
  mkdirSync(file);
  await expect(new StepLines(file, true).rewind(2)).rejects.toMatchObject({
    code: "io",
    message: `cannot read ${file}: it is a folder, and a file is expected`,
  });
});
