// What work grew the process by: the same whatever was done before it.
import { expect, test } from "vitest";
import { watchMemory } from "../../src/support/memory.js";

const mebibyte = 2 ** 20;

/** Small pieces: malloc keeps those that were freed. */
function filled(bytes: number): Buffer[] {
  const piece = 2 ** 15;
  return Array.from({ length: bytes / piece }, () => Buffer.from(new ArrayBuffer(piece)).fill(1));
}

async function growth(): Promise<number | null> {
  const memory = await watchMemory();
  const held = filled(40 * mebibyte);
  const grown = memory();
  expect(held.at(-1)![0]).toBe(1);
  return grown;
}

test.runIf(process.platform === "linux")("memory that earlier work has left is not taken again unseen", async () => {
  for (const before of [0, 25, 200]) {
    expect(filled(before * mebibyte)).toHaveLength(before * 32);
    const grown = await growth();
    expect(grown! / mebibyte).toBeGreaterThan(38);
    expect(grown! / mebibyte).toBeLessThan(50);
  }
});
