// The lock file works on every platform and names no registry.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { completed, platformOf } from "../../bin/setup/lock.mjs";
import { root } from "./sources.js";

const lock = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8"));

test("names no registry", () => {
  expect(Object.values<{ resolved?: string }>(lock.packages).filter((entry) => entry.resolved)).toEqual([]);
});

test("holds the packages of every platform (npm run lock)", () => {
  expect(Object.keys(completed(lock).packages)).toEqual(Object.keys(lock.packages));
});

test("a lock that lost a platform is completed", () => {
  const parent = {
    version: "1.0.0",
    license: "MIT",
    dev: true,
    optionalDependencies: { "@a/tool-linux-arm64-musl": "1.0.0" },
  };
  expect(
    completed({ packages: { "node_modules/@a/tool": parent } }).packages["node_modules/@a/tool-linux-arm64-musl"],
  ).toEqual({
    version: "1.0.0",
    cpu: ["arm64"],
    dev: true,
    libc: ["musl"],
    license: "MIT",
    optional: true,
    os: ["linux"],
  });
});

test.each([
  ["@biomejs/cli-win32-x64", ["win32"], ["x64"], undefined],
  ["@node-llama-cpp/mac-arm64-metal", ["darwin"], ["arm64"], undefined],
  ["@oxc-parser/binding-linux-arm-gnueabihf", ["linux"], ["arm"], ["glibc"]],
])("%s says its platform", (name, os, cpu, libc) => {
  expect(platformOf(name)).toEqual({ os, cpu, libc });
});
