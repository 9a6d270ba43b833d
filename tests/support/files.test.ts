// Folders that are made, found and refused.
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { reasonOf } from "../../src/support/errors.js";
import { makeFolder, requireWritable } from "../../src/support/files.js";

const folder = mkdtempSync(path.join(os.tmpdir(), "stillroom-files-"));

test("a folder is made with those above it, twice as well as once", async () => {
  const deep = path.join(folder, "a/b c/ü");
  await Promise.all([makeFolder(deep), makeFolder(deep)]);
  await makeFolder(deep);
  expect(existsSync(deep)).toBe(true);
});

test("what cannot be made is named, and the call ends", async () => {
  const file = path.join(folder, "file");
  writeFileSync(file, "");
  await expect(makeFolder(file)).rejects.toMatchObject({ code: "io", message: expect.stringContaining(file) });
  writeFileSync(file, "");
  const remedy = "is there and is no folder; move it away, or choose another name";
  await expect(makeFolder(file)).rejects.toMatchObject({ code: "io", message: expect.stringContaining(remedy) });
  await expect(makeFolder(path.join(file, "below"))).rejects.toMatchObject({ code: "io" });
  if (process.platform === "linux") {
    await expect(makeFolder("/proc/stillroom/run")).rejects.toMatchObject({ code: "io" });
  }
});

test("a file in a folder that is not there is an error that names the folder", async () => {
  const nowhere = path.join(folder, "nowhere");
  await expect(requireWritable(path.join(nowhere, "a.jsonl"))).rejects.toMatchObject({
    code: "io",
    message: `cannot write ${nowhere}/a.jsonl: there is no folder ${nowhere}`,
  });
});

test("the reason of the system names no path that the message names, and one that it does not", async () => {
  const long = path.join(folder, "n".repeat(300));
  await expect(requireWritable(long)).rejects.toMatchObject({
    code: "io",
    message: `cannot write ${long}: ENAMETOOLONG: name too long`,
  });
  const refused = await open(long).catch((error: unknown) => error);
  expect(reasonOf(refused, folder)).toBe(`ENAMETOOLONG: name too long, open '${long}'`);
  expect(reasonOf(new Error("it is a folder"), folder)).toBe("it is a folder");
});
