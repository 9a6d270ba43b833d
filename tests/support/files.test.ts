// Folders that are made, found and refused.
import { existsSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { open, readdir, readFile, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { cannot, isAbsent, reasonOf } from "../../src/support/errors.js";
import { isFolder, makeFolder, requireWritable } from "../../src/support/files.js";

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
    message: `cannot write ${long}: the name is too long; choose a shorter one`,
  });
  const refused = await open(long).catch((error: unknown) => error);
  expect(reasonOf(refused, folder)).toBe(`the name is too long; choose a shorter one (${long})`);
  const unknown = Object.assign(new Error(`EIO: i/o error, read '${long}'`), { syscall: "read", path: long });
  expect(reasonOf(unknown, folder)).toBe(`EIO: i/o error, read '${long}'`);
  expect(reasonOf(unknown, long)).toBe("EIO: i/o error");
  expect(reasonOf(new Error("it is a folder"), folder)).toBe("it is a folder");
});

test.each([
  ["readFile", "none", "there is no such file or folder"],
  ["readFile", "plain/none", "a file stands where a folder is expected"],
  ["readFile", ".", "it is a folder, and a file is expected"],
  ["readdir", "none", "there is no such file or folder"],
  ["readdir", "plain", "a file stands where a folder is expected"],
] as const)("%s of %s is refused in plain words", async (call, name, words) => {
  writeFileSync(path.join(folder, "plain"), "");
  const file = path.join(folder, name);
  const error = await (call === "readFile" ? readFile(file) : readdir(file)).catch((thrown: unknown) => thrown);
  expect(cannot("read", file, error).message).toBe(`cannot read ${file}: ${words}`);
  expect(isAbsent(error)).toBe(words !== "it is a folder, and a file is expected");
  expect(isFolder(file)).toBe(name === ".");
});

test("links in a circle, and a folder where a file is to be removed, are told in plain words", async () => {
  const [circle, taken] = [path.join(folder, "circle"), path.join(folder, "taken")];
  symlinkSync(circle, circle);
  mkdirSync(taken);
  const said = async (file: string, call: Promise<unknown>) =>
    cannot("use", file, await call.catch((thrown: unknown) => thrown)).message;
  const around = "its symbolic links lead in a circle; let one of them lead to what is meant";
  expect(await said(circle, readFile(circle))).toBe(`cannot use ${circle}: ${around}`);
  expect(await said(taken, rm(taken, { force: true }))).toMatch(/: it is a folder, and a file is expected$/);
});

test("what this user may not and what the disk does not hold is said with the remedy", () => {
  const of = (code: string) => reasonOf(Object.assign(new Error(`${code}: x`), { code, path: "/a" }), "/a");
  for (const code of ["EACCES", "EPERM"])
    expect(of(code)).toBe("this user has no right to it; chmod or chown gives it");
  for (const code of ["EROFS", "ENOSPC", "EDQUOT"]) expect(of(code)).toMatch(/disk .*; .*choose another place$/);
});
